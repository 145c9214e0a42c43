import { MeshError } from '../../../../src/base/errors.ts';
import { DaemonConnection, type DaemonApi } from '../../../../src/front/mcp/daemon-connection.ts';
import { OutputFiles } from '../../../../src/front/mcp/output-files.ts';
import type { ToolParts } from '../../../../src/front/mcp/tool-parts.ts';
import type { ToolContext } from '../../../../src/front/mcp/tool.ts';
import { WorkingDirectory } from '../../../../src/front/mcp/working-directory.ts';
import type { JobHandle, JobIo, LogsIo, LogsRequest } from '../../../../src/node/api-client.ts';
import type { ApiResults, JobRecord, JobSpec, RunObject } from '../../../../src/node/api-types.ts';
import { outcomeOf, OUTSIDE_GIT } from './fixtures.ts';

const SETTINGS = {
  name: 'desk',
  listen: '',
  peers: [],
  mdns: false,
  slots: 1,
  labels: {},
  mcp: { timeout_s: 7, wait_s: 0, roots: [] },
};

export const ENDED = { ...outcomeOf().run, job_id: 'JOB' } as RunObject;
export const RUNNING = {
  ...ENDED,
  state: 'running',
  return_code: null,
  success: null,
  reason: null,
} as RunObject;

type Answers = { readonly [M in keyof ApiResults]?: (params: never) => ApiResults[M] | Promise<ApiResults[M]> };
type Submitted = (spec: JobSpec, io: JobIo) => Promise<RunObject>;

/** A daemon that answers as it is told; every submitted job is handed to `onSubmit`. */
export class FakeDaemon implements DaemonApi {
  closed = false;
  whenClosed: Promise<string> = new Promise(() => undefined);
  readonly specs: JobSpec[] = [];
  readonly calls: { readonly method: string; readonly params: unknown }[] = [];
  readonly #onSubmit: Submitted;
  readonly #answers: Answers;
  /** Settles the result of the jobs that wait when they are detached. */
  readonly onDetach: ((job: string) => void)[] = [];
  cancelled = 0;
  detached = 0;
  reads: LogsRequest[] = [];
  onLogs: (request: LogsRequest, io: LogsIo) => Promise<ApiResults['logs']> = () =>
    Promise.reject(new MeshError('job_unknown', 'no such job'));

  constructor(onSubmit: Submitted = () => Promise.resolve(ENDED), answers: Answers = {}) {
    this.#onSubmit = onSubmit;
    this.#answers = answers;
  }

  call = (async (method: keyof ApiResults, params: never) => {
    this.calls.push({ method, params });
    if (method === 'settings') return SETTINGS;
    if (method === 'estimate') throw new MeshError('later_stage', 'nobody knows');
    const answer = this.#answers[method];
    if (answer === undefined) throw new MeshError('lost', 'gone');
    return answer(params);
  }) as DaemonApi['call'];

  submit(spec: JobSpec, io: JobIo): JobHandle {
    this.specs.push(spec);
    const job = `JOB${this.specs.length}`;
    io.onEvent?.({ kind: 'accepted', job });
    return {
      result: this.#onSubmit(spec, io),
      job: Promise.resolve(job),
      cancel: () => void (this.cancelled += 1),
      detach: () => {
        this.detached += 1;
        for (const detached of this.onDetach) detached(job);
        return Promise.resolve(true);
      },
      resize: () => undefined,
    };
  }

  logs(request: LogsRequest, io: LogsIo): Promise<ApiResults['logs']> {
    this.reads.push(request);
    return this.onLogs(request, io);
  }

  close(): void {
    this.closed = true;
  }
}

/** A log of one stream, as the daemon reads it out: in chunks, until the reader stops. */
export function logOf(bytes: Uint8Array, options: { ended: boolean; from?: number; chunkBytes?: number }) {
  return async (request: LogsRequest, io: LogsIo): Promise<ApiResults['logs']> => {
    const from = Math.max(request.offset, options.from ?? 0);
    let at = from;
    while (at < bytes.byteLength && io.signal?.aborted !== true) {
      const chunk = bytes.subarray(at, at + (options.chunkBytes ?? 1000));
      at += chunk.byteLength;
      await io.onBytes(chunk);
    }
    if (from > request.offset) io.onGap?.(request.offset, from);
    const ended = options.ended && at === bytes.byteLength;
    if (request.follow && !ended && io.signal !== undefined) await aborted(io.signal);
    return { job: request.job, attempt: 1, run_again: null, from, next_offset: at, ended };
  };
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve());
  });

export const recordOf = (fields: Partial<JobRecord> = {}): JobRecord => ({
  job: '01JOB000000000000000000000' as JobRecord['job'],
  origin_id: 'origin' as JobRecord['origin_id'],
  origin: 'desk',
  command: 'make',
  background: true,
  submitted_ms: 0,
  finished_ms: null,
  state: 'running',
  detail: 'runs',
  queue_position: null,
  return_code: null,
  signal: null,
  reason: null,
  late: false,
  error: null,
  notices: [],
  executed_on: 'tower',
  executed_on_id: 'tower' as JobRecord['executed_on_id'],
  os: 'linux',
  arch: 'x64',
  tools: {},
  attempt: 1,
  attempts: 1,
  cwd: '/work',
  route: 'tower: most idle',
  auto_routed: true,
  stdout_bytes: 0,
  stderr_bytes: 0,
  truncated: false,
  changes: null,
  sync_ms: 0,
  queue_ms: 1,
  dispatch_ms: 2,
  duration_ms: 3,
  ...fields,
});
export const FINISHED = { state: 'finished', return_code: 3, reason: 'exited' } as const;

export function partsOf(open: () => Promise<DaemonApi>): ToolParts {
  return {
    connection: new DaemonConnection(open),
    directory: new WorkingDirectory(OUTSIDE_GIT, '/nobody'),
    files: new OutputFiles('/nonexistent/never'),
    env: {},
    warn: () => undefined,
  };
}
export const of = (daemon: FakeDaemon): ToolParts => partsOf(() => Promise.resolve(daemon));
export const quiet = (signal = new AbortController().signal): ToolContext => ({
  signal,
  progress: () => undefined,
  client: 'test',
});
