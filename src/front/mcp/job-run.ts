import { MeshError } from '../../base/errors.ts';
import { refusalReport, type RunReport } from '../../node/api-refusal.ts';
import type { JobSpec } from '../../node/api-types.ts';
import type { DaemonApi } from './daemon-connection.ts';
import { OutputCapture } from './output-capture.ts';
import type { OutputFile } from './output-files.ts';
import type { ToolContext } from './tool.ts';

export interface JobOutcome {
  /** `stdout` and `stderr` are empty here: see the captures. */
  readonly run: RunReport;
  readonly stdout: OutputCapture;
  readonly stderr: OutputCapture;
}

export interface JobRunOptions extends ToolContext {
  readonly keptBytesMax: number;
  /** Makes the file of a stream that is longer than is kept; null where it gets none. */
  readonly openFile: (name: string) => OutputFile | null;
}

/**
 * Runs one job to its end. A cancelled one is waited for until its processes are gone.
 *
 * @returns its outcome, whatever it is: nothing is thrown for refusals or a lost daemon
 */
export async function runJob(api: DaemonApi, spec: JobSpec, options: JobRunOptions): Promise<JobOutcome> {
  let job: string | null = null;
  let doing = 'submitted';
  const captureOf = (stream: 'stdout' | 'stderr'): OutputCapture =>
    new OutputCapture(options.keptBytesMax, () => options.openFile(`${job ?? 'job'}.${stream}`));
  const stdout = captureOf('stdout');
  const stderr = captureOf('stderr');
  const outcome = (run: RunReport): JobOutcome => ({ run, stdout, stderr });
  const cancelled = new MeshError('cancelled', 'cancelled before it was submitted; nothing was run');
  if (options.signal.aborted) return outcome(refusalReport(cancelled, spec.cwd));
  let latest = stdout;
  const take = (capture: OutputCapture) => (bytes: Uint8Array) => {
    capture.push(bytes);
    latest = capture;
  };
  options.progress(() => {
    const line = latest.lastLine();
    return line === '' ? doing : `${doing}: ${line}`;
  });
  const handle = api.submit(spec, {
    stdin: null,
    onStdout: take(stdout),
    onStderr: take(stderr),
    onEvent: (event) => {
      if (event.kind === 'accepted') {
        job = event.job;
        return;
      }
      const where = event.node === null ? '' : ` on ${event.node}`;
      doing = event.detail === '' ? `${event.state}${where}` : event.detail;
    },
  });
  const cancel = (): void => handle.cancel();
  options.signal.addEventListener('abort', cancel, { once: true });
  try {
    return outcome(await handle.result);
  } catch (error) {
    const run = refusalReport(error, spec.cwd);
    return outcome({ ...run, job_id: job, stdout_bytes: stdout.totalBytes, stderr_bytes: stderr.totalBytes });
  } finally {
    options.signal.removeEventListener('abort', cancel);
  }
}

/** Closes the files of an outcome, once nothing more is read of it. */
export function closeOutcome(outcome: JobOutcome): void {
  outcome.stdout.close();
  outcome.stderr.close();
}

/** meshwork failed or refused, or cannot know; a command's own failure and its time limit are not that. */
export function meshworkFailed(run: RunReport): boolean {
  return (
    run.error !== undefined ||
    run.reason === 'refused' ||
    run.reason === 'lost' ||
    run.reason === 'unknown' ||
    run.reason === 'cancelled'
  );
}
