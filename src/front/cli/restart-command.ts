import { setTimeout as delay } from 'node:timers/promises';
import { MeshError } from '../../base/errors.ts';
import { checkSettings, ensureDaemon } from '../../node/api-daemon.ts';
import type { ApiResults } from '../../node/api-types.ts';
import { connect, print, processGone, type CliContext } from './mesh-commands.ts';

/** What a supervisor such as systemd takes to start a daemon again that it had in the foreground. */
const SUPERVISOR_MS_MAX = 30_000;
const LOOK_AGAIN_MS = 100;

/** `restart`: another daemon with the same flags takes over; the jobs run on in the runner meanwhile. */
export async function restartCommand(context: CliContext): Promise<number> {
  const before = await connect(context);
  const { pid } = before.daemon;
  let answer: ApiResults['restart'];
  try {
    await checkSettings(context.home);
    answer = await before.call('restart', {});
    await before.whenClosed;
    await processGone(pid);
  } finally {
    before.close();
  }
  const after = answer.detached ? await started(context, answer) : await supervised(context);
  const { daemon } = after;
  after.close();
  const jobs = answer.jobs_running;
  const ran = jobs === 0 ? 'no job was running' : `${jobs} ${jobs === 1 ? 'job ran' : 'jobs ran'} on meanwhile`;
  print(context, { restarted: true, daemon_pid: daemon.pid, version: daemon.version, jobs_running: jobs }, [
    `restarted: pid ${daemon.pid}, version ${daemon.version}; ${ran}`,
  ]);
  return 0;
}

async function started(context: CliContext, { flags, env }: ApiResults['restart']) {
  return (await ensureDaemon(context.home, 'cli', { cliPath: context.cliPath, flags, env })).api;
}

/** A daemon in the foreground is started again by whoever started it. */
async function supervised(context: CliContext) {
  const deadlineMs = performance.now() + SUPERVISOR_MS_MAX;
  for (;;) {
    try {
      return await connect(context);
    } catch (error) {
      if (!(error instanceof MeshError) || error.code !== 'daemon_not_running') throw error;
      if (performance.now() > deadlineMs) {
        const text = `the daemon ran in the foreground and has ended; nobody started it again within ${SUPERVISOR_MS_MAX / 1000} s. Its jobs run on for a while: start it, or run \`meshwork up\``;
        throw new MeshError('daemon_not_running', text, error);
      }
      await delay(LOOK_AGAIN_MS);
    }
  }
}
