/**
 * The companion process that owns children and pipes (DESIGN "The runner"): `node runner.js SOCKET`, where the folder of
 * SOCKET is MESHWORK_HOME. One per MESHWORK_HOME. It serves one daemon at a time, and outlives it.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { messageOf, systemCodeOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { type LockResult, takeLock } from '../adapters/process/instance-lock.ts';
import { ControlGroups, groupsLeft } from '../adapters/process/control-groups.ts';
import { PipePool } from '../adapters/process/pipe-pool.ts';
import { AttemptJournal } from './attempt-journal.ts';
import { Attempts } from './attempts.ts';
import { stderrLogger } from './line-log.ts';
import { DAEMON_GRACE_MS, Service } from './service.ts';

/** An earlier runner may still be ending its trees (TERM, 5 s, KILL). */
const LOCK_DEADLINE_MS = 8000;
const LOCK_RETRY_MS = 20;
const O_CLOEXEC = 0o2000000;

/** Descriptors that our parent leaked to us would leak on to every command; Node's own all have close-on-exec. */
function closeInherited(log: Logger): void {
  if (process.platform !== 'linux') return;
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name);
    if (fd <= 2) continue;
    try {
      const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
      if (flags !== undefined && (Number.parseInt(flags, 8) & O_CLOEXEC) === 0) closeSync(fd);
    } catch (error) {
      // The descriptor with which the folder itself was read is gone by now.
      if (systemCodeOf(error) !== 'ENOENT') log.warn('cannot look at a descriptor', { fd, error: messageOf(error) });
    }
  }
}

async function lockHome(file: string): Promise<Extract<LockResult, { ok: true }>> {
  const deadlineMs = performance.now() + LOCK_DEADLINE_MS;
  for (;;) {
    const lock = takeLock(file);
    if (lock.ok) return lock;
    if (performance.now() >= deadlineMs) throw new Error(`the runner with pid ${lock.holder} holds ${file}`);
    await new Promise((resolve) => setTimeout(resolve, LOCK_RETRY_MS));
  }
}

/** Lies in the daemon's own folder: a guard rail against commands that find the socket, not a boundary. */
function makeKey(file: string): string {
  const key = randomBytes(32).toString('hex');
  rmSync(file, { force: true });
  writeFileSync(file, key, { mode: 0o600, flag: 'wx' });
  return key;
}

async function main(log: Logger): Promise<void> {
  const [socketPath, graceMs] = process.argv.slice(2);
  if (socketPath === undefined || !path.isAbsolute(socketPath)) {
    throw new Error('usage: runner SOCKET (absolute) [MILLISECONDS WITHOUT A DAEMON]');
  }
  closeInherited(log);
  const home = path.dirname(socketPath);
  const lock = await lockHome(path.join(home, 'runner.lock'));
  const keyFile = path.join(home, 'runner.key');
  const pool = new PipePool(log);
  pool.fill();
  const service = new Service({
    socketPath,
    key: makeKey(keyFile),
    instance: randomBytes(16).toString('hex'),
    daemonGraceMs: graceMs === undefined ? DAEMON_GRACE_MS : Number(graceMs),
    log,
  });
  const groups = new ControlGroups(home, log);
  const attempts = new Attempts({
    pool,
    groups,
    journal: new AttemptJournal(path.join(home, 'runner-jobs'), log),
    logsFolder: path.join(home, 'jobs'),
    log,
    tell: (message) => service.tell(message),
    onIdle: () => service.onIdle(),
  });
  process.on('SIGTERM', () => service.stop());
  process.on('SIGINT', () => service.stop());
  attempts.restore(groupsLeft(home, log));
  service.start(attempts);
  await service.finished;
  groups.close();
  rmSync(keyFile, { force: true });
  lock.release();
}

const log = stderrLogger();
// A hang-up of the terminal that the daemon was started from is none of our business.
process.on('SIGHUP', () => undefined);
main(log).then(
  () => process.exit(0),
  (error: unknown) => {
    log.error('the runner failed', { error: messageOf(error) });
    process.exit(1);
  },
);
