import { setTimeout as delay } from 'node:timers/promises';
import { MeshError } from '../../base/errors.ts';
import { escapeControls } from '../../base/escape.ts';
import { COME_BACK_MS, type ApiClient } from '../../node/api-client.ts';
import type { JobRecord, RunObject } from '../../node/api-types.ts';
import { exitCodeOf } from './exit-code.ts';
import { jobsView } from './jobs-view.ts';
import { colourWanted, JsonOutput, printError, printJson, printLine, withOutput } from './output.ts';
import { runObjectOf, standingOf } from './record-view.ts';
import { reportEnd } from './run-report.ts';

type Connect = () => Promise<ApiClient>;

const LOOK_AGAIN_MS = 100;

/** `jobs`: those of the whole mesh; unfinished ones, and the last few that have ended or all that are kept. */
export async function jobsCommand(connect: Connect, all: boolean, json: boolean): Promise<number> {
  const api = await connect();
  try {
    const report = await api.call('jobs', { all });
    if (json) printJson(report);
    else printLine(jobsView(report, Date.now(), process.stdout.isTTY ? process.stdout.columns : null, colourWanted()));
    return 0;
  } finally {
    api.close();
  }
}

/** `wait`: until the job has ended; its exit code as `run` would have had it. Ctrl-C leaves the job alone. */
export async function waitCommand(connect: Connect, job: string, json: boolean): Promise<number> {
  const record = await waitFor(connect, job);
  const result = runObjectOf(record);
  if (json) printJson(await withLogs(connect, result));
  else reportEnd(result);
  return exitCodeOf(result);
}

/** Also across a restart of this machine's daemon. */
async function waitFor(connect: Connect, job: string): Promise<JobRecord> {
  let awaySinceMs: number | null = null;
  for (;;) {
    let api: ApiClient | null = null;
    try {
      api = await connect();
      return await api.call('wait', { job, wait_ms: null });
    } catch (error) {
      const away = error instanceof MeshError && (error.code === 'lost' || error.code === 'daemon_not_running');
      // Where none ran from the beginning, none is waited for.
      if (!away || (api === null && awaySinceMs === null)) throw error;
      if (api !== null) awaySinceMs = performance.now();
      if (awaySinceMs !== null && performance.now() - awaySinceMs > COME_BACK_MS) throw error;
      await delay(LOOK_AGAIN_MS);
    } finally {
      api?.close();
    }
  }
}

/** The run object with the output that is kept of the job. */
async function withLogs(connect: Connect, result: RunObject): Promise<RunObject> {
  if (result.attempts === 0) return result;
  const api = await connect();
  try {
    const [stdout, stderr] = [new JsonOutput(), new JsonOutput()];
    let dropped = false;
    for (const [stream, output] of [
      ['stdout', stdout],
      ['stderr', stderr],
    ] as const) {
      await api.logs(
        { job: result.job_id, stream, offset: 0, follow: false },
        {
          onBytes: (bytes) => output.push(bytes),
          onGap: () => {
            dropped = true;
          },
        },
      );
    }
    const whole = withOutput(result, stdout, stderr);
    return { ...whole, truncated: whole.truncated || dropped };
  } catch (error) {
    // How it ended is known, and is what was asked for.
    if (!(error instanceof MeshError)) throw error;
    return {
      ...result,
      notices: [...result.notices, `its output could not be read: ${error.message} [${error.code}]`],
    };
  } finally {
    api.close();
  }
}

/** `cancel`: returns once the job's process tree is gone. */
export async function cancelCommand(connect: Connect, job: string, json: boolean): Promise<number> {
  const api = await connect();
  let whole: string;
  try {
    ({ job: whole } = await api.call('cancel', { job }));
  } finally {
    api.close();
  }
  const record = await waitFor(connect, whole);
  const result = runObjectOf(record);
  if (json) printJson(result);
  else if (record.reason === 'cancelled') {
    const where = record.executed_on === null ? 'before it ran' : `on ${escapeControls(record.executed_on)}`;
    printLine(`cancelled ${where}: ${record.job}${record.executed_on === null ? '' : '; its process tree is gone'}`);
  } else {
    // It ended by itself at the same moment, or its node is gone.
    printLine(`ended (${escapeControls(standingOf(record))}): ${record.job}`);
  }
  for (const notice of json ? [] : record.notices) printError(notice);
  return record.reason === 'unknown' || record.reason === 'lost' ? exitCodeOf(result) : 0;
}
