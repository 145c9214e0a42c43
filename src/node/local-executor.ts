import type { LocalDirectories } from '../adapters/os/directories.ts';
import type { NodeProbe } from '../adapters/os/system-probe.ts';
import type { NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { MS_PER_SECOND } from '../base/units.ts';
import type { KeepBounds } from '../core/jobs/attempt-book.ts';
import type { TrustSet } from '../core/trust/trust-set.ts';
import type { LoginEnvironment } from '../ports/system.ts';
import type { AttemptWorkspaces } from './attempt-workspaces.ts';
import { AttemptJournal } from './attempt-journal.ts';
import type { Config } from './config-schema.ts';
import { ExecutorService, type ExecutorServiceOptions } from './executor-service.ts';
import type { Home } from './home.ts';
import { checkJob } from './job-check.ts';

const DAY_MS = 86_400_000;
const GOING_DOWN = { ok: false, reasons: [{ code: 'draining', text: 'is going down and takes no new jobs' }] } as const;

export interface LocalExecutorOptions extends Pick<ExecutorServiceOptions, 'audit' | 'user'> {
  readonly home: Home;
  readonly config: Config;
  readonly log: Logger;
  readonly login: LoginEnvironment;
  readonly probe: NodeProbe;
  readonly directories: LocalDirectories;
}

/** What changes while the node runs. */
export interface LocalExecutorContext extends Pick<ExecutorServiceOptions, 'loop' | 'executor' | 'origin' | 'runner'> {
  readonly workspaces: AttemptWorkspaces;
  readonly self: () => NodeId;
  readonly trust: () => TrustSet;
  readonly isDraining: () => boolean;
  readonly told: ExecutorServiceOptions['self'];
}

/** This node as an executor, by its settings. */
export function localExecutor(options: LocalExecutorOptions, context: LocalExecutorContext): ExecutorService {
  const { config, log, audit, login, user } = options;
  const { loop, executor, origin, runner, self, isDraining, told } = context;
  const check = { ...options, self, trust: context.trust };
  const { timeout_max_s: timeoutMaxS, output_max_bytes: outputMaxBytes } = config.exec;
  return new ExecutorService({
    loop,
    executor,
    log,
    audit,
    origin,
    runner,
    check: async (from, reserve) => (isDraining() && from !== self() ? GOING_DOWN : checkJob(check, from, reserve)),
    workspaces: context.workspaces,
    attempts: AttemptJournal.open(options.home.executorJournal, keepBounds(config), log),
    self: told,
    login,
    user,
    limits: {
      timeoutMsMax: timeoutMaxS === 0 ? null : timeoutMaxS * MS_PER_SECOND,
      outputBytesMax: outputMaxBytes === 0 ? null : outputMaxBytes,
    },
    environment: { commandsOnly: config.exec.mode === 'commands', allow: config.exec.env_allow },
  });
}

const keepBounds = ({ jobs }: Config): KeepBounds => ({
  ageMsMax: jobs.keep_days * DAY_MS,
  bytesMax: jobs.keep_max_bytes,
  attemptsMax: jobs.keep_max,
  logBytesMax: jobs.output_max_bytes,
});
