import { rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { MeshError } from '../../base/errors.ts';
import { escapeControls } from '../../base/escape.ts';
import { formatDuration, parseDuration } from '../../base/units.ts';
import { connectDaemon, type ApiClient } from '../../node/api-client.ts';
import { ensureDaemon, isRunning } from '../../node/api-daemon.ts';
import type { Home } from '../../node/api-daemon.ts';
import { colourWanted, printJson, printLine, terminalColumns } from './output.ts';
import { statusView } from './status-view.ts';
import { checkUpFlags, conflictingFlags, flagWords, type UpOptions } from './up-flags.ts';

const WATCH_MS = 1000;
const TTL_MS_MAX = 24 * 3_600_000;
/** Longer than any token with all its addresses. */
const TOKEN_CHARS_MAX = 4096;
/** A daemon ends its jobs within 12 s; then its last words go to a disk that may be slow. */
const DOWN_TIMEOUT_MS = 60_000;
const CLEAR_SCREEN = '\u001B[H\u001B[2J';

/** What every command needs: where the node lives, how to start it, how to print. */
export interface CliContext {
  readonly home: Home;
  readonly cliPath: string;
  readonly json: boolean;
}

export const connect = (context: CliContext): Promise<ApiClient> => connectDaemon(context.home.controlSocket, 'cli');

async function withDaemon<T>(context: CliContext, use: (api: ApiClient) => Promise<T>): Promise<T> {
  const { api } = await ensureDaemon(context.home, 'cli', { cliPath: context.cliPath, flags: [] });
  try {
    return await use(api);
  } finally {
    api.close();
  }
}

/** Prints the one JSON document of `--json`, or the person's lines. */
export function print(context: CliContext, document: object, lines: readonly string[]): void {
  if (context.json) printJson(document);
  // Names and notices may come from other nodes.
  else for (const line of lines) printLine(escapeControls(line));
}

export async function upCommand(context: CliContext, options: UpOptions): Promise<number> {
  checkUpFlags(options);
  const { api, started } = await ensureDaemon(context.home, 'cli', {
    cliPath: context.cliPath,
    flags: flagWords(options),
  });
  try {
    if (!started) {
      const differing = conflictingFlags(options, await api.call('settings', {}));
      if (differing.length > 0) {
        throw new MeshError(
          'already_running',
          `the daemon runs already (pid ${api.daemon.pid}) with ${differing.join(', ')}; nothing was changed: run \`meshwork down\` first to start it anew`,
        );
      }
    }
    const status = await api.call('status', {});
    const self = status.nodes.find(({ id }) => id === status.local_node);
    const what = started ? 'started' : 'already running';
    const document = {
      started,
      daemon_pid: status.daemon_pid,
      local_node: status.local_node,
      mesh_id: status.mesh_id,
      addresses: self?.addresses ?? [],
      notices: status.notices,
    };
    print(context, document, [
      `${what}: ${self?.name ?? '?'} (${status.local_node.slice(0, 8)}), pid ${status.daemon_pid}, ${self?.addresses.join(', ') ?? ''}`,
      ...status.notices.map((notice) => `! ${notice}`),
    ]);
    return 0;
  } finally {
    api.close();
  }
}

export async function downCommand(context: CliContext, drain: boolean): Promise<number> {
  let api: ApiClient;
  try {
    api = await connect(context);
  } catch (error) {
    if (!(error instanceof MeshError) || error.code !== 'daemon_not_running') throw error;
    print(context, { stopped: false, jobs_ended: 0 }, ['no daemon is running']);
    return 0;
  }
  const jobsEnded = await bringDown(api, drain);
  const { pid } = api.daemon;
  print(context, { stopped: true, jobs_ended: jobsEnded }, [
    `stopped (pid ${pid})${jobsEnded > 0 ? `, ${jobsEnded} ${jobsEnded === 1 ? 'job' : 'jobs'} ended` : ''}`,
  ]);
  return 0;
}

/** Asks the daemon to go down and waits until its process is gone. @returns how many jobs that ended */
async function bringDown(api: ApiClient, drain: boolean): Promise<number> {
  try {
    const { jobs_ended: jobsEnded } = await api.call('down', { drain });
    await api.whenClosed;
    await processGone(api.daemon.pid);
    return jobsEnded;
  } finally {
    // Where the daemon refused, this connection would keep the command from ending.
    api.close();
  }
}

export async function processGone(pid: number): Promise<void> {
  const deadlineMs = performance.now() + DOWN_TIMEOUT_MS;
  while (isRunning(pid)) {
    if (performance.now() > deadlineMs) throw new MeshError('timeout', `the daemon (pid ${pid}) is still going down`);
    await delay(20);
  }
}

export async function inviteCommand(
  context: CliContext,
  options: { readonly ttl?: string; readonly admin?: boolean },
): Promise<number> {
  const ttl = parseDuration(options.ttl ?? '10m');
  if (!ttl.ok) throw new MeshError('bad_argument', `--ttl: ${ttl.error}; no token was made`);
  if (ttl.value > TTL_MS_MAX) {
    const longest = formatDuration(TTL_MS_MAX);
    throw new MeshError('bad_argument', `--ttl ${options.ttl}: a token lasts ${longest} at most; no token was made`);
  }
  const invite = await withDaemon(context, (api) =>
    api.call('invite', { ttl_ms: ttl.value, admin: options.admin === true }),
  );
  if (context.json) {
    print(context, { token: invite.token, expires_in_s: invite.expires_in_s, notices: invite.notices }, []);
  } else {
    printLine(invite.token);
    const hint = `on the other machine, within ${formatDuration(invite.expires_in_s * 1000)}: meshwork join TOKEN`;
    for (const line of [hint, ...invite.notices]) process.stderr.write(`${line}\n`);
  }
  return 0;
}

export async function joinCommand(
  context: CliContext,
  token: string,
  options: { readonly peer?: readonly string[]; readonly submitOnly?: boolean },
): Promise<number> {
  if (token.length > TOKEN_CHARS_MAX)
    throw new MeshError('bad_token', 'this is no token: it is too long; nothing was changed. Copy it again');
  const params = { token, peers: [...(options.peer ?? [])], submit_only: options.submitOnly === true };
  const joined = await withDaemon(context, (api) => api.call('join', params));
  print(context, joined, [
    `joined the mesh of ${joined.inviter} (${joined.inviter_id.slice(0, 8)})`,
    ...joined.notices,
  ]);
  return 0;
}

export async function leaveCommand(context: CliContext, purge: boolean): Promise<number> {
  const left = await withDaemon(context, (api) => api.call('leave', {}));
  if (purge) {
    await bringDown(await connect(context), false);
    rmSync(context.home.path, { recursive: true, force: true });
  }
  const where = purge ? `removed ${context.home.path}` : 'this node is a mesh of one again, with a new key';
  print(context, { ...left, purged: purge }, ['left the mesh', ...left.notices, where]);
  return 0;
}

export async function statusCommand(context: CliContext, watch: boolean): Promise<number> {
  const api = await connect(context);
  try {
    for (;;) {
      const status = await api.call('status', {});
      const clear = watch && process.stdout.isTTY ? CLEAR_SCREEN : '';
      const read = context.json
        ? printJson(status, watch ? 0 : 2)
        : printLine(`${clear}${statusView(status, terminalColumns(), colourWanted())}`);
      // As in `status --watch | head`: without a reader there is nothing to repeat.
      if (!watch || !read) return 0;
      await delay(WATCH_MS);
    }
  } finally {
    api.close();
  }
}
