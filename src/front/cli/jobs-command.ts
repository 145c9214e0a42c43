import { MeshError } from '../../base/errors.ts';
import { escapeControls } from '../../base/escape.ts';
import type { ApiClient } from '../../node/api-client.ts';
import { runObjectOf } from '../../node/api-run-object.ts';
import type { JobRecord, RunObject } from '../../node/api-types.ts';
import { addChanges, NOTHING_SEEN, printChanges } from './changes-view.ts';
import { shownFolder } from '../../node/api-current-folder.ts';
import { exitCodeOf } from './exit-code.ts';
import { jobsView } from './jobs-view.ts';
import { colourWanted, JsonOutput, printError, printJson, printLine, terminalColumns, withOutput } from './output.ts';
import { standingOf } from './record-view.ts';
import { reportCancellation, reportEnd } from './run-report.ts';

type Connect = () => Promise<ApiClient>;

/** `jobs`: those of the whole mesh; unfinished ones, and the last few that have ended or all that are kept. */
export async function jobsCommand(connect: Connect, all: boolean, json: boolean): Promise<number> {
  const api = await connect();
  try {
    const report = await api.call('jobs', { all });
    if (json) printJson({ ...report, jobs: report.jobs.map(({ job, ...facts }) => ({ job_id: job, ...facts })) });
    else printLine(jobsView(report, Date.now(), terminalColumns(), colourWanted()));
    return 0;
  } finally {
    api.close();
  }
}

/** `wait`: until the job has ended; its exit code as `run` would have had it. Ctrl-C leaves the job alone. */
export async function waitCommand(connect: Connect, job: string, json: boolean): Promise<number> {
  const api = await connect();
  try {
    const result = runObjectOf(await api.call('wait', { job, wait_ms: null }));
    if (json) printJson(await withLogs(api, result));
    else {
      reportEnd(result);
      reportCancellation(result);
      printChanges(addChanges(NOTHING_SEEN, result.changes, result.executed_on), shownFolder(), null);
    }
    return exitCodeOf(result);
  } finally {
    api.close();
  }
}

/** The run object with the output that is kept of the job. */
async function withLogs(api: ApiClient, result: RunObject): Promise<RunObject> {
  if (result.attempts === 0) return result;
  const [stdout, stderr] = [new JsonOutput(), new JsonOutput()];
  let dropped = false;
  const read = (stream: 'stdout' | 'stderr', output: JsonOutput) =>
    api.logs(
      { job: result.job_id, stream, offset: 0, follow: false },
      {
        onBytes: (bytes) => output.push(bytes),
        onGap: () => {
          dropped = true;
        },
      },
    );
  try {
    await Promise.all([read('stdout', stdout), read('stderr', stderr)]);
    const whole = withOutput(result, stdout, stderr);
    return { ...whole, truncated: whole.truncated || dropped };
  } catch (error) {
    // How it ended is known, and is what was asked for.
    if (!(error instanceof MeshError)) throw error;
    return {
      ...result,
      notices: [...result.notices, `its output could not be read: ${error.message} [${error.code}]`],
    };
  }
}

/** `cancel`: returns once the job's process tree is gone. */
export async function cancelCommand(connect: Connect, job: string, json: boolean): Promise<number> {
  const api = await connect();
  try {
    const { job: whole } = await api.call('cancel', { job });
    const record = await api.call('wait', { job: whole, wait_ms: null });
    const result = runObjectOf(record);
    if (json) printJson(result);
    else reportCancelled(record);
    return record.reason === 'unknown' || record.reason === 'lost' ? exitCodeOf(result) : 0;
  } finally {
    api.close();
  }
}

function reportCancelled(record: JobRecord): void {
  const { job, executed_on: node } = record;
  if (record.reason !== 'cancelled') {
    // It ended by itself at the same moment, or its node is gone.
    printLine(`ended (${escapeControls(standingOf(record))}): ${job}`);
  } else if (node === null) printLine(`cancelled before it ran: ${job}`);
  else printLine(`cancelled on ${escapeControls(node)}: ${job}; its process tree is gone`);
  for (const notice of record.notices) printError(notice);
}
