import { MeshError } from '../../base/errors.ts';
import type { ApiClient, JobHandle } from '../../node/api-client.ts';
import type { JobSpec, RunObject } from '../../node/api-types.ts';
import type { Waiting } from './map-lineup.ts';
import type { Ended, Sink } from './map-printer.ts';
import { HeldOutput, type Spool } from './spool.ts';

export type BatchApi = Pick<ApiClient, 'submit' | 'call' | 'closed'>;

/** One execution that was asked for: the job of an argument, or its second copy. */
export interface Copy {
  readonly handle: JobHandle;
  readonly stdout: HeldOutput;
  readonly stderr: HeldOutput;
  job: string | null;
  /** Where it runs, once it does. */
  node: string | null;
  /** performance.now() when it began to run; null while it waits for a slot. */
  runningSinceMs: number | null;
}

/** An argument that was started. */
export interface MapJob {
  readonly waiting: Waiting;
  /** As one line: what the joblog says. */
  readonly command: string;
  readonly spec: JobSpec | null;
  readonly startedMs: number;
  readonly copies: Copy[];
  /** Set where its output is written through: then no second copy is made. */
  live: { readonly sink: Sink; readonly flushed: Promise<unknown> } | null;
  /** Set once it has ended. */
  ended: { readonly outputs: Copy | null; readonly what: Ended } | null;
  /** A second copy was tried: there is no third. */
  copied: boolean;
}

/** Submits one execution; `onEnd` is called once, `onRunning` whenever it begins to run somewhere. */
export function submitCopy(
  api: BatchApi,
  spool: Spool,
  spec: JobSpec,
  heard: {
    readonly onRunning: () => void;
    readonly onEnd: (copy: Copy, result: RunObject | MeshError) => void;
  },
): Copy {
  const stdout = new HeldOutput(spool);
  const stderr = new HeldOutput(spool);
  const seen: Pick<Copy, 'job' | 'node' | 'runningSinceMs'> = { job: null, node: null, runningSinceMs: null };
  const handle = api.submit(spec, {
    stdin: null,
    onStdout: (bytes) => stdout.push(bytes),
    onStderr: (bytes) => stderr.push(bytes),
    onEvent: (event) => {
      if (event.kind === 'accepted') seen.job = event.job;
      else if (event.state === 'running') {
        seen.node = event.node ?? seen.node;
        seen.runningSinceMs ??= performance.now();
        heard.onRunning();
      } else seen.runningSinceMs = null;
    },
  });
  const copy: Copy = Object.assign(seen, { handle, stdout, stderr });
  handle.result.then(
    (result) => heard.onEnd(copy, result),
    (error: unknown) => {
      heard.onEnd(copy, error instanceof MeshError ? error : new MeshError('internal', String(error), error));
    },
  );
  return copy;
}

/** True where the command itself ended: another copy cannot end it better. */
export function isOutcome(result: RunObject | MeshError): result is RunObject {
  if (result instanceof MeshError) return false;
  return result.reason === 'exited' || result.reason === 'signaled' || result.reason === 'timeout';
}
