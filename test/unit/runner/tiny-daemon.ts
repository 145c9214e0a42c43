/** `tiny-daemon RUNNER HOME JOB LINE GRACE_MS DURABLE`: starts a runner and one job, says the runner's pid, waits to be killed. */
import path from 'node:path';
import { isJobId } from '../../../src/base/ids.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { startRunner } from '../../../src/adapters/process/runner-start.ts';
import { PLAIN_RUN } from '../../fixtures/plain-spec.ts';

const [runnerPath = '', home = '', job = '', line = '', graceMs = '', durable = ''] = process.argv.slice(2);
if (!isJobId(job)) throw new Error(`"${job}" is no job id`);
const at = (name: string): string => path.join(home, name);
const runner = await startRunner({
  runnerPath,
  socketPath: at('runner.sock'),
  logPath: at('runner.log'),
  log: silentLogger,
  logBytesMax: 16 * 1024 * 1024,
  daemonGraceMs: Number(graceMs),
});
const open = (): number => {
  const id = runner.mux.nextId();
  runner.mux.openIncoming(id, 65_536, { onData: () => undefined, onEnd: () => undefined, onAbort: () => undefined });
  return id;
};
runner.run(
  {
    job,
    attempt: 1,
    command: { kind: 'line', line },
    cwd: '/tmp',
    env: { PATH: process.env['PATH'] ?? '' },
    umask: 0o022,
    timeoutMs: null,
    stdinStream: null,
    stdoutStream: open(),
    stderrStream: open(),
    windowBytes: 65_536,
    outputBytesMax: null,
    user: null,
    ...PLAIN_RUN,
    durable: durable === 'durable',
  },
  { onStarted: () => process.stdout.write(`${runner.pid}\n`), onEnded: () => process.exit(1) },
);
setInterval(() => undefined, 60_000);
