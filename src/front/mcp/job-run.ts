import { MeshError, messageOf } from '../../base/errors.ts';
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

export interface JobRunOptions extends Pick<ToolContext, 'signal' | 'progress'> {
  readonly keptBytesMax: number;
  /** Makes the file of a stream that is longer than is kept; null where it gets none. */
  readonly openFile: (name: string) => OutputFile | null;
  /** Aborted where the caller waits no longer: the job is handed out then and goes on without it. */
  readonly handOut: AbortSignal;
}

/**
 * Runs one job to its end, or until it is handed out: then its run is unfinished. A cancelled one is waited for until its
 * processes are gone.
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
      // Of one that runs, its last line says more than why it runs there.
      const where = event.node === null ? '' : ` on ${event.node}`;
      doing = event.state === 'running' || event.detail === '' ? `${event.state}${where}` : event.detail;
    },
  });
  const cancel = (): void => handle.cancel();
  const notices: string[] = [];
  const detach = (): void => {
    handle.detach().catch((error: unknown) => {
      // Then it is waited for after all; one whose daemon is lost has its error in the result, too.
      doing = `it could not be left in the background: ${messageOf(error)}`;
      notices.push(doing);
    });
  };
  options.signal.addEventListener('abort', cancel, { once: true });
  // A durable one is answered at once.
  if (!spec.durable) options.handOut.addEventListener('abort', detach, { once: true });
  if (!spec.durable && options.handOut.aborted) detach();
  try {
    const run = await handle.result;
    if (run.state === 'finished') return outcome({ ...run, notices: [...run.notices, ...notices] });
    // What is behind these bytes is read by job_output.
    return outcome({ ...run, stdout_bytes: stdout.totalBytes, stderr_bytes: stderr.totalBytes });
  } catch (error) {
    const run = refusalReport(error, spec.cwd);
    return outcome({ ...run, job_id: job, stdout_bytes: stdout.totalBytes, stderr_bytes: stderr.totalBytes });
  } finally {
    options.signal.removeEventListener('abort', cancel);
    options.handOut.removeEventListener('abort', detach);
  }
}

/** Closes the files of an outcome, once nothing more is read of it. */
export function closeOutcome({ run, stdout, stderr }: JobOutcome): void {
  for (const capture of [stdout, stderr]) {
    if (run.state === 'finished') capture.close();
    else capture.discardFile();
  }
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
