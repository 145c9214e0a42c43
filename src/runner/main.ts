/**
 * The companion process that owns children and pipes (DESIGN "The runner"): `node runner.js SOCKET`, where the folder of
 * SOCKET is MESHWORK_HOME. One per MESHWORK_HOME. It serves one connection and, in this stage, ends with it.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import path from 'node:path';
import { messageOf, systemCodeOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { type LockResult, takeLock } from '../adapters/process/instance-lock.ts';
import { PipePool } from '../adapters/process/pipe-pool.ts';
import { killJobTrees } from '../adapters/process/tree.ts';
import { JobJournal } from './job-journal.ts';
import { stderrLogger } from './line-log.ts';
import { Session } from './session.ts';

/** A runner whose daemon died before it came to connect has nothing to live for. */
const CONNECT_DEADLINE_MS = 10_000;
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

/** Ends what an earlier runner left when it was killed. */
async function endLeftovers(journal: JobJournal, log: Logger): Promise<void> {
  const jobs = journal.leftover();
  if (jobs.length === 0) return;
  log.warn('ending what an earlier runner left', { jobs: jobs.length });
  await killJobTrees(jobs, log);
  for (const job of jobs) journal.remove(job);
}

/** @returns once the one session there is has finished, or nobody came */
function serve(socketPath: string, open: (socket: Socket) => Session): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      clearTimeout(deadline);
      // One connection only, and no name by which a command could find the socket later.
      server.close();
      const session = open(socket);
      const stop = (): void => session.end();
      process.on('SIGTERM', stop);
      process.on('SIGINT', stop);
      void session.finished.then(resolve);
    });
    const deadline = setTimeout(() => {
      server.close();
      resolve();
    }, CONNECT_DEADLINE_MS);
    server.maxConnections = 1;
    server.on('error', reject);
    rmSync(socketPath, { force: true });
    const own = process.umask(0o177);
    server.listen(socketPath);
    process.umask(own);
  });
}

async function main(log: Logger): Promise<void> {
  const socketPath = process.argv[2];
  if (socketPath === undefined || !path.isAbsolute(socketPath)) throw new Error('usage: runner SOCKET (absolute)');
  closeInherited(log);
  const home = path.dirname(socketPath);
  const lock = await lockHome(path.join(home, 'runner.lock'));
  const journal = new JobJournal(path.join(home, 'runner-jobs'), log);
  const pool = new PipePool(log);
  pool.fill();
  const instance = randomBytes(16).toString('hex');
  const cleaning = endLeftovers(journal, log);
  await serve(socketPath, (socket) => new Session(socket, { instance, pool, journal, log }));
  await cleaning;
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
