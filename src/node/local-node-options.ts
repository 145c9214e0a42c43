import type { LocalDirectories } from '../adapters/os/directories.ts';
import type { NodeProbe } from '../adapters/os/system-probe.ts';
import type { LoadedIdentity } from '../adapters/tls/identity.ts';
import type { LeaseId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { ClassLists } from '../core/policy/class-lists.ts';
import type { RunRequest } from '../ports/runner.ts';
import type { LoginEnvironment } from '../ports/system.ts';
import type { AuditLog } from './audit-log.ts';
import type { Config } from './config-schema.ts';
import type { HistoryStore } from './history-store.ts';
import type { Home } from './home.ts';

export interface LocalNodeOptions {
  readonly home: Home;
  readonly config: Config;
  readonly lists: ClassLists;
  readonly log: Logger;
  readonly audit: AuditLog;
  readonly login: LoginEnvironment;
  readonly user: RunRequest['user'];
  readonly probe: NodeProbe;
  readonly directories: LocalDirectories;
  readonly identity: LoadedIdentity;
  readonly name: string;
  readonly random: Random;
  readonly history: HistoryStore;
  readonly newLeaseId: () => LeaseId;
  readonly runnerPath: string;
  readonly mdnsWorkerUrl: URL;
  /** The bundled thread that works on projects' files. */
  readonly workspaceWorkerUrl: URL;
  /** Of `up`, as this daemon was started; not `detached`: whoever started it starts the next one. */
  readonly flags: { readonly words: readonly string[]; readonly detached: boolean };
}

/** So long the end of a daemon waits for what the jobs that it ended changed in workspaces. */
export const COLLECT_MS_MAX = 3000;

/** Why a daemon ends. `comesBack`: another one takes its runner and its jobs over. */
export interface Ending {
  readonly why: string;
  readonly comesBack: boolean;
}
