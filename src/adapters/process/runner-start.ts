import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import path from 'node:path';
import { MeshError, messageOf, systemCodeOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { groupsLeft } from './control-groups.ts';
import { lockHolder } from './instance-lock.ts';
import { RunnerClient, type RunnerProcess } from './runner-client.ts';
import { watchChild, type WatchedProcess, watchFound, within } from './watched-process.ts';

/** Linux takes 107 bytes in `sun_path`, macOS 103. */
const SOCKET_PATH_BYTES_MAX = 103;
/** Longer than an earlier runner takes to end its trees, which it may have to before this one may start. */
const START_DEADLINE_MS = 10_000;
/**
 * A runner that lives and does not answer is asked to end after this, and what it runs with it: so not one whose disk is slow,
 * or whose machine stands still for some seconds. Together with `END_DEADLINE_MS` well below what `meshwork up` waits.
 */
const ANSWER_DEADLINE_MS = 8000;
const CONNECT_RETRY_MS = 5;
/** An earlier runner ends its trees: TERM, 5 s, KILL. */
const END_DEADLINE_MS = 8000;
const LOG_BYTES_MAX = 1024 * 1024;
/** What the runner allocates is short-lived: a small young generation saves 12 MB under load (measured). */
const YOUNG_SPACE = '--max-semi-space-size=1';
/** All that the runner inherits: no secret, no MESHWORK_*, nothing of which a command could get a glimpse. */
const INHERITED_NAMES = ['PATH', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH', 'NIX_LD', 'NIX_LD_LIBRARY_PATH'];

export interface RunnerOptions {
  /** The bundled companion program, dist/runner.js. */
  readonly runnerPath: string;
  /** In MESHWORK_HOME, absolute; lock, key, journal and output logs of the runner lie beside it. */
  readonly socketPath: string;
  /** Gets the runner's own log lines; started anew where it exceeds 1 MiB. */
  readonly logPath: string;
  readonly log: Logger;
  /** Bound of one attempt's output log. */
  readonly logBytesMax: number;
  /** Whether attempts get control groups, where those are to be had; true if not given. */
  readonly contain?: boolean;
  /** How long a runner that this call starts waits for a daemon before foreground attempts end; 60 s if not given. */
  readonly daemonGraceMs?: number;
  readonly nodePath?: string;
}

/**
 * Connects to the runner of this MESHWORK_HOME, which may have outlived an earlier daemon, else starts one. A runner that
 * does not answer, or speaks another protocol, is ended first, and its attempts with it.
 *
 * Throws MeshError `daemon_start_failed` where no runner can be started or reached within about 10 s.
 */
export async function startRunner(options: RunnerOptions): Promise<RunnerProcess> {
  const { socketPath, log } = options;
  if (Buffer.byteLength(socketPath) > SOCKET_PATH_BYTES_MAX) {
    const message = `${socketPath} is too long for a socket (${SOCKET_PATH_BYTES_MAX} bytes): choose a shorter MESHWORK_HOME`;
    throw new MeshError('daemon_start_failed', message);
  }
  const found = findRunner(socketPath);
  if (found !== null) {
    try {
      return await reach(options, found, ANSWER_DEADLINE_MS);
    } catch (error) {
      log.warn('the runner of an earlier daemon is of no use: ending it', { pid: found.pid, error: messageOf(error) });
      await end(found);
    }
  }
  return spawnRunner(options);
}

function findRunner(socketPath: string): WatchedProcess | null {
  const pid = lockHolder(path.join(path.dirname(socketPath), 'runner.lock'));
  return pid === null ? null : watchFound(pid);
}

async function end(runner: WatchedProcess): Promise<void> {
  runner.kill('SIGTERM');
  await within(runner.gone(), END_DEADLINE_MS);
  if (runner.exitMessage() !== null) return;
  runner.kill('SIGKILL');
  await runner.gone();
}

async function spawnRunner(options: RunnerOptions): Promise<RunnerProcess> {
  const { runnerPath, socketPath, logPath, daemonGraceMs } = options;
  const logFd = openLog(logPath);
  const env = Object.fromEntries(
    INHERITED_NAMES.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
  const args = [YOUNG_SPACE, runnerPath, socketPath, ...(daemonGraceMs === undefined ? [] : [String(daemonGraceMs)])];
  const child = spawn(options.nodePath ?? process.execPath, args, {
    cwd: '/',
    detached: true,
    env,
    stdio: ['ignore', 'ignore', logFd],
  });
  closeSync(logFd);
  child.unref();
  try {
    return await reach(options, watchChild(child), START_DEADLINE_MS);
  } catch (error) {
    child.kill('SIGKILL');
    const message = `the runner did not start: ${messageOf(error)}. See ${logPath}`;
    throw new MeshError('daemon_start_failed', message, error);
  }
}

function openLog(logPath: string): number {
  let size = 0;
  try {
    size = statSync(logPath).size;
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw new MeshError('io', `cannot look at ${logPath}`, error);
  }
  return openSync(logPath, size > LOG_BYTES_MAX ? 'w' : 'a', 0o600);
}

/** Connects, shows the key and waits until the runner has said what it has. */
async function reach(options: RunnerOptions, runner: WatchedProcess, withinMs: number): Promise<RunnerProcess> {
  const { socketPath, log, logBytesMax, contain = true } = options;
  const home = path.dirname(socketPath);
  const clientOptions = { log, logBytesMax, contain, groupsLeft: () => groupsLeft(home, log) };
  const deadlineMs = performance.now() + withinMs;
  const socket = await connectTo(socketPath, runner, deadlineMs);
  // Made before the socket was, so it is there.
  const key = readFileSync(path.join(home, 'runner.key'), 'utf8');
  return new Promise((resolve, reject) => {
    let isLate = true;
    const late = setTimeout(
      // Where it was this process that was held up, the answer is there and not read yet.
      () => setImmediate(() => isLate && client.refuse(`${withinMs / 1000} s passed without an answer`)),
      Math.max(0, deadlineMs - performance.now()),
    );
    const client = new RunnerClient(socket, runner, clientOptions, (trouble) => {
      clearTimeout(late);
      isLate = false;
      if (trouble === null) resolve(client);
      else reject(new Error(trouble));
    });
    client.show(key);
  });
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function connectTo(socketPath: string, runner: WatchedProcess, deadlineMs: number): Promise<Socket> {
  for (;;) {
    const result = await tryConnect(socketPath);
    if (!(result instanceof Error)) return result;
    const exit = runner.exitMessage();
    if (exit !== null) throw new Error(exit);
    const code = systemCodeOf(result);
    // Not there yet, or the file of a runner that was killed.
    if (code !== 'ENOENT' && code !== 'ECONNREFUSED') throw result;
    if (performance.now() >= deadlineMs) throw new Error('it does not answer in time');
    await pause(CONNECT_RETRY_MS);
  }
}

function tryConnect(socketPath: string): Promise<Socket | Error> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once('connect', () => {
      socket.removeListener('error', resolve);
      resolve(socket);
    });
    socket.once('error', resolve);
  });
}
