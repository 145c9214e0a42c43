import { leaveJobGroup } from '../adapters/process/control-groups.ts';
import { randomBytes, randomInt } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { createDirectories } from '../adapters/os/directories.ts';
import { resolveExecUser } from '../adapters/os/exec-user.ts';
import { captureLoginEnvironment } from '../adapters/os/login-environment.ts';
import { createSystemProbe } from '../adapters/os/system-probe.ts';
import { loadOrCreateIdentity } from '../adapters/tls/identity.ts';
import { MeshError, messageOf } from '../base/errors.ts';
import { base32, type LeaseId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { seededRandom } from '../base/random.ts';
import { classListsWith } from '../core/policy/class-lists.ts';
import { openAuditLog } from './audit-log.ts';
import { loadConfig, nodeName, type ConfigFlags } from './config.ts';
import { serveControl } from './control-server.ts';
import { connectDaemon } from './api-client.ts';
import { openDaemonLog } from './daemon-log.ts';
import { HistoryStore } from './history-store.ts';
import { ensureHome, type Home } from './home.ts';
import { acquireLock } from './lock.ts';
import { LocalNode } from './local-node.ts';
import type { Ending } from './local-node-options.ts';
import { VERSION } from './version.ts';

export interface DaemonFlags extends ConfigFlags {
  /** Started by `up`: nobody reads stderr but the one who waits for a failure to start. */
  readonly detached: boolean;
}

export interface DaemonOptions {
  readonly home: Home;
  readonly flags: DaemonFlags;
  /** The same as words, for the daemon that takes this one's place at `restart`. */
  readonly flagWords: readonly string[];
  readonly runnerPath: string;
  readonly mdnsWorkerUrl: URL;
  readonly workspaceWorkerUrl: URL;
}

const EXIT_FAILED = 125;
/** What a stop may take before the process ends all the same: jobs get TERM, 5 s, KILL. */
const STOP_MS_MAX = 12_000;

/**
 * Runs this node's daemon until `down`, `restart`, SIGTERM or SIGINT.
 *
 * @returns the exit code
 * @throws MeshError where it cannot start; nothing is left behind then
 */
export async function runDaemon(options: DaemonOptions): Promise<number> {
  const { home, flags } = options;
  try {
    ensureHome(home);
    const lock = await acquireLock(home.lock, { holderAnswers: () => answers(home) });
    try {
      return await runLocked(options);
    } finally {
      lock.release();
    }
  } catch (error) {
    if (!flags.detached) throw error;
    const code = error instanceof MeshError ? error.code : 'internal';
    process.stderr.write(`${JSON.stringify({ code, message: messageOf(error) })}\n`);
    return EXIT_FAILED;
  }
}

async function answers(home: Home): Promise<boolean> {
  try {
    (await connectDaemon(home.controlSocket)).close();
    return true;
  } catch (error) {
    return !(error instanceof MeshError && error.code === 'daemon_not_running');
  }
}

async function runLocked(options: DaemonOptions): Promise<number> {
  const { home, flags } = options;
  const { config, warnings } = loadConfig(home.config, process.env, flags);
  const lists = classListsWith(config.classes);
  if (!lists.ok) throw new MeshError('bad_config', `${home.config}: classes: ${lists.error}; nothing was started`);
  const { log, close: closeLog } = openDaemonLog({
    path: home.daemonLog,
    level: config.log.level,
    bytesMax: config.log.bytes_max,
    alsoStderr: !flags.detached,
  });
  if (flags.detached) leaveJobGroup(log);
  for (const folder of [home.jobs, home.workspaces]) mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { bytes_max: bytesMax, segments: segmentsMax } = config.audit;
  const audit = openAuditLog(home.auditLog, { bytesMax, segmentsMax }, log);
  for (const warning of warnings) log.warn(warning);
  logCrashes(log);
  const user = await resolveExecUser(config.exec.user, process.env);
  const login = await captureLoginEnvironment({ user, daemonEnv: process.env });
  if (login.warning !== null) log.warn('the login environment', { warning: login.warning });
  const probe = createSystemProbe({
    env: login.env,
    home: login.home,
    user: user.own ? null : user,
    labels: config.labels,
    factsFile: process.env['MESHWORK_FACTS_FILE'] ?? null,
    log,
  });
  const history = await HistoryStore.open(home.history, () => node.id, log);
  const node = new LocalNode({
    home,
    config,
    lists: lists.value,
    log,
    audit,
    login,
    user: user.own ? null : { uid: user.uid, gid: user.gid, groups: user.groups },
    probe,
    directories: createDirectories({
      home: login.home,
      env: login.env,
      user: user.own ? null : { uid: user.uid, gid: user.gid },
    }),
    identity: await loadOrCreateIdentity(home.identity, Date.now()),
    name: nodeName(config),
    random: seededRandom(randomInt(2 ** 32)),
    history,
    newLeaseId: () => base32(randomBytes(16)) as LeaseId,
    runnerPath: options.runnerPath,
    mdnsWorkerUrl: options.mdnsWorkerUrl,
    workspaceWorkerUrl: options.workspaceWorkerUrl,
    flags: { words: options.flagWords, detached: flags.detached },
  });
  try {
    return await serveUntilAsked(node, home, log);
  } finally {
    await history.close();
    audit.close();
    closeLog();
  }
}

async function serveUntilAsked(node: LocalNode, home: Home, log: Logger): Promise<number> {
  try {
    const stopAsked = stopSignals();
    await node.start();
    const control = await serveControl(home.controlSocket, VERSION, node.handlers, log);
    log.info('ready', { pid: process.pid, node: node.id, port: node.port });
    const { why, comesBack } = await Promise.race([stopAsked, node.whenDown]);
    log.info('going down', { why });
    // Not cleared: whatever should still hold the process after the stop holds it no longer than this.
    setTimeout(() => process.exit(0), STOP_MS_MAX).unref();
    await (comesBack ? node.release(why) : node.stop(why));
    await control.close(comesBack);
    return 0;
  } catch (error) {
    await node.stop('could not start');
    throw error;
  }
}

/** A bug ends the daemon, not what runs in its runner; that it happened must be found in the log. */
function logCrashes(log: Logger): void {
  process.on('uncaughtExceptionMonitor', (error) =>
    log.error('crashed', { error: messageOf(error), stack: error.stack }),
  );
}

/** Settles at the first of the signals that end a daemon. */
function stopSignals(): Promise<Ending> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      process.on(signal, () => resolve({ why: signal, comesBack: false }));
    }
  });
}
