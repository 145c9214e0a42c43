import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { readProcessStart } from '../adapters/os/process-identity.ts';
import { MeshError, messageOf, type ErrorCode } from '../base/errors.ts';
import { connectDaemon, type ApiClient } from './api-client.ts';
import { ensureHome, resolveHome, type Home } from './home.ts';

export { resolveHome, type Home };

/** False also of a process that has ended and waits for its parent to look, as in containers for a long time. */
export const isRunning = (pid: number): boolean => readProcessStart(pid) !== null;

/** A first start makes a key, reads tool versions and the login environment: seconds at most, but machines are slow. */
const START_TIMEOUT_MS = 30_000;
const POLL_MS = 25;
const START_REPORT_BYTES_MAX = 8192;
/** Most of what a daemon allocates is short-lived: a small young generation saves 15 to 20 MB while files travel (measured). */
const YOUNG_SPACE = '--max-semi-space-size=4';
/**
 * What bytes on their way are held in counts as heap, of which some 25 MB live: with no more than that for its first limit, the
 * collector went through all of the heap every 15 MB that passed, a fifth of the processor time of a first sync (measured).
 */
const OLD_SPACE = '--initial-old-space-size=48';
/** glibc would keep memory that was freed for each of a dozen threads: 10 to 20 MB after a large project (measured). */
const MALLOC_ARENAS = '2';

/** The last line that a detached daemon writes to `daemon.start` when it cannot start. */
interface StartFailure {
  readonly code: ErrorCode;
  readonly message: string;
}

/**
 * Reads config.toml as the next daemon will, so that one that runs is not ended for another that cannot start.
 *
 * @throws MeshError `bad_config`
 */
export async function checkSettings(home: Home): Promise<void> {
  const { loadConfig } = await import('./config.ts');
  try {
    loadConfig(home.config, process.env);
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    throw new MeshError(error.code, `${error.message}. The daemon was not restarted and goes on as it was`, error);
  }
}

export interface LaunchOptions {
  /** The product's entry point, dist/cli.js. */
  readonly cliPath: string;
  /** `up` flags to hand on, such as `--slots 4`. */
  readonly flags: readonly string[];
  /** Settings that an earlier daemon had in its environment, in place of those of this process. */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Connects to the daemon of this home and starts it, detached, where none runs.
 *
 * @returns the connection, and whether this call started the daemon
 * @throws MeshError with the daemon's own code where it cannot start (`port_in_use`, `bad_config`, …)
 */
export async function ensureDaemon(
  home: Home,
  client: 'cli' | 'mcp',
  options: LaunchOptions,
): Promise<{ readonly api: ApiClient; readonly started: boolean }> {
  const running = await tryConnect(home, client);
  if (running !== null) return { api: running, started: false };
  ensureHome(home);
  return launch(home, client, options);
}

async function tryConnect(home: Home, client: 'cli' | 'mcp'): Promise<ApiClient | null> {
  try {
    return await connectDaemon(home.controlSocket, client);
  } catch (error) {
    if (error instanceof MeshError && error.code === 'daemon_not_running') return null;
    throw error;
  }
}

async function launch(
  home: Home,
  client: 'cli' | 'mcp',
  options: LaunchOptions,
): Promise<{ readonly api: ApiClient; readonly started: boolean }> {
  const reportPath = join(home.path, 'daemon.start');
  const report = openSync(reportPath, 'w', 0o600);
  const own = Object.entries(process.env).filter(
    ([name]) => options.env === undefined || !name.startsWith('MESHWORK_'),
  );
  const environment: NodeJS.ProcessEnv = { ...Object.fromEntries(own), ...options.env };
  // The daemon belongs to no job, whatever process happened to start it.
  delete environment['MESHWORK_JOB_ID'];
  environment['MALLOC_ARENA_MAX'] ??= MALLOC_ARENAS;
  const child = spawn(
    process.execPath,
    [
      YOUNG_SPACE,
      OLD_SPACE,
      options.cliPath,
      '--home',
      home.path,
      'up',
      '--foreground',
      '--detached-child',
      ...options.flags,
    ],
    { detached: true, stdio: ['ignore', 'ignore', report], cwd: '/', env: environment },
  );
  closeSync(report);
  const ended: { text: string | null } = { text: null };
  child.once('error', (error) => {
    ended.text = messageOf(error);
  });
  child.once('exit', (code, signal) => {
    ended.text = `exit ${code ?? signal}`;
  });
  child.unref();
  const deadlineMs = performance.now() + START_TIMEOUT_MS;
  while (performance.now() < deadlineMs) {
    const api = await tryConnect(home, client);
    if (api !== null) return { api, started: api.daemon.pid === child.pid };
    if (ended.text !== null) {
      // Another process may have started the daemon at the same moment: then ours ended because of the lock.
      const other = await tryConnect(home, client);
      if (other !== null) return { api: other, started: false };
      const failure = readFailure(reportPath, ended.text);
      if (failure.code !== 'already_running') throw new MeshError(failure.code, failure.message);
    }
    await delay(POLL_MS);
  }
  throw new MeshError(
    'daemon_start_failed',
    `the daemon did not become ready within ${START_TIMEOUT_MS / 1000} s; see ${home.daemonLog}`,
  );
}

function readFailure(reportPath: string, exit: string): StartFailure {
  const text = readFileSync(reportPath, 'utf8').slice(-START_REPORT_BYTES_MAX).trim();
  const last = text.split('\n').at(-1) ?? '';
  try {
    const parsed: unknown = JSON.parse(last);
    if (typeof parsed === 'object' && parsed !== null && 'code' in parsed && 'message' in parsed) {
      return { code: String(parsed.code) as ErrorCode, message: String(parsed.message) };
    }
  } catch {
    return {
      code: 'daemon_start_failed',
      message: `the daemon could not start (${exit}): ${text || 'it said nothing'}`,
    };
  }
  return { code: 'daemon_start_failed', message: `the daemon could not start (${exit}): ${text}` };
}
