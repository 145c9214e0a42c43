import { join } from 'node:path';
import { WorkspaceThread } from '../adapters/workspace/workspace-thread.ts';
import { unreachable } from '../base/assert.ts';
import { messageOf } from '../base/errors.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import type { LeaseInput, LeaseKey } from '../core/jobs/executor-state.ts';
import type { AttemptPlace, SyncKey } from '../core/scheduling/origin-job.ts';
import type { ProjectFiles, WorkspaceFiles } from '../ports/workspace.ts';
import type { JobSpec } from '../wire/job-spec.ts';
import type { Ended } from '../wire/jobs.ts';
import type { WorkspaceMessage } from '../wire/workspace.ts';
import { ChangeFetch } from './change-fetch.ts';
import { ChangePacks, type WorkspaceLink } from './change-packs.ts';
import { ChangeReturn, type Returned } from './change-return.ts';
import type { Config } from './config-schema.ts';
import type { Home } from './home.ts';
import type { LocalNodeOptions } from './local-node-options.ts';
import { ProjectBook } from './project-book.ts';
import type { CarrierListener, ProjectCarrier } from './project-carrier.ts';
import { ProjectService } from './project-service.ts';
import { SecretDecisions } from './secret-decisions.ts';
import { ShippedJobs, type ShippedJob } from './shipped-jobs.ts';
import { WorkspacePreparer, type WorkspacePreparerOptions } from './workspace-preparer.ts';
import { WorkspaceSessions } from './workspace-sessions.ts';
import { WorkspaceSync } from './workspace-sync.ts';

const DAY_MS = 86_400_000;
const SWEEP_MS = 3_600_000;
/** After a start, when jobs that wait for the thread have been served. */
const FIRST_SWEEP_MS = 60_000;

/** The thread in which projects' files are worked on, as jobs of this node see them. It starts at the first use. */
export function workspaceThread(options: LocalNodeOptions): WorkspaceThread {
  const { home, login, user, workspaceWorkerUrl: workerUrl, log } = options;
  return new WorkspaceThread({ folder: home.workspaces, home: login.home, env: login.env, user, workerUrl, log });
}

export interface LocalProjectsOptions extends Omit<WorkspacePreparerOptions, 'files' | 'exec' | 'environment'> {
  readonly home: Home;
  readonly config: Config;
  readonly files: ProjectFiles & WorkspaceFiles;
  readonly self: () => { readonly id: NodeId; readonly name: string };
  readonly isAlone: () => boolean;
  /** Null where no link is up. */
  readonly link: (node: NodeId) => WorkspaceLink | null;
  readonly holdsLease: (from: NodeId, key: LeaseKey) => boolean;
  readonly postLease: (input: LeaseInput) => void;
}

/** Projects' files at this node: of its own projects as an origin, in workspaces as an executor. */
export class LocalProjects implements ProjectCarrier {
  readonly service: ProjectService;
  readonly secrets: SecretDecisions;
  readonly sessions: WorkspaceSessions;
  readonly preparer: WorkspacePreparer;
  readonly #options: LocalProjectsOptions;
  readonly #shipped: ShippedJobs;
  readonly #packs: ChangePacks;
  readonly #fetch: ChangeFetch;
  readonly #returns: ChangeReturn;
  readonly #sync: WorkspaceSync;
  #listener: CarrierListener | null = null;
  #sweepTimer: NodeJS.Timeout | null = null;

  constructor(options: LocalProjectsOptions) {
    const { home, config, log, files, link: executor, holdsLease, postLease } = options;
    this.#options = options;
    const book = new ProjectBook(join(home.workspaces, 'projects.json'), log);
    this.secrets = new SecretDecisions(home.secrets);
    this.service = new ProjectService({ ...options, book, secrets: this.secrets });
    this.#shipped = new ShippedJobs(join(home.workspaces, 'changes'), log);
    this.#packs = new ChangePacks(join(home.workspaces, 'changes-for'), log);
    this.#fetch = new ChangeFetch(executor);
    const basis = { files, book, shipped: this.#shipped, log, executor };
    this.#returns = new ChangeReturn({
      ...basis,
      fetch: this.#fetch,
      conflicts: home.conflicts,
      packBytesMax: config.workspaces.quota_bytes,
    });
    this.#sync = new WorkspaceSync({
      ...basis,
      projects: this.service,
      post: (input) => this.#listener?.post(input),
      notify: (job, notices) => this.#listener?.notify(job, notices),
    });
    this.preparer = new WorkspacePreparer({
      ...options,
      exec: config.exec,
      environment: { commandsOnly: config.exec.mode === 'commands', allow: config.exec.env_allow },
    });
    this.sessions = new WorkspaceSessions({
      ...options,
      preparer: this.preparer,
      folder: join(home.workspaces, 'for'),
      packs: this.#packs,
      quotaBytes: config.workspaces.quota_bytes,
      origin: executor,
      holdsLease,
      post: postLease,
      expect: () => options.runner()?.expect(),
    });
  }

  start(): void {
    const sweep = (): void => {
      void this.#sweep();
      this.#sweepTimer = setTimeout(sweep, SWEEP_MS).unref();
    };
    this.#sweepTimer = setTimeout(sweep, FIRST_SWEEP_MS).unref();
  }

  stop(): void {
    if (this.#sweepTimer !== null) clearTimeout(this.#sweepTimer);
  }

  receive(from: NodeId, message: WorkspaceMessage): void {
    switch (message.t) {
      case 'ws.open':
      case 'ws.close':
      case 'ws.fetch':
      case 'ws.drop':
        return this.sessions.receive(from, message);
      case 'ws.failed':
        if (!this.#sync.receive(from, message)) this.#fetch.failed(from, message);
        return;
      case 'ws.base':
      case 'ws.want':
      case 'ws.progress':
      case 'ws.ready':
        this.#sync.receive(from, message);
        return;
      default:
        unreachable(message);
    }
  }

  linkDown(peer: NodeId): void {
    this.sessions.linkDown(peer);
  }

  listen(listener: CarrierListener): void {
    this.#listener = listener;
  }

  begin(job: JobId, attempt: number, place: AttemptPlace, spec: JobSpec): void {
    this.#sync.begin(job, attempt, place, spec);
  }

  abort(key: SyncKey): void {
    this.#sync.abort(key);
  }

  shippedAs(job: JobId, attempt: number, node: NodeId): ShippedJob | null {
    const shipped = this.#returns.shippedAs(job, attempt);
    return shipped?.node === node ? shipped : null;
  }

  notStarted(job: JobId, attempt: number): void {
    this.#returns.notStarted(job, attempt);
  }

  bringBack(shipped: ShippedJob, ended: Ended): Promise<Returned> {
    return this.#returns.bringBack(shipped, ended);
  }

  hold(job: JobId, ended: Ended): string | null {
    return this.#returns.hold(job, ended);
  }

  lost(job: JobId, node: NodeId): readonly string[] {
    return this.#returns.lost(job, node);
  }

  giveUp(job: JobId): void {
    this.#returns.giveUp(job);
  }

  applyHeld(job: JobId): Promise<Returned> {
    return this.#returns.applyHeld(job);
  }

  finished(job: JobId, ranOn: NodeId | null): void {
    this.service.forget(job, ranOn === this.#options.self().id);
    this.#returns.finished(job);
    this.#sync.finished(job);
  }

  /** What is older than it is kept, or more. */
  async #sweep(): Promise<void> {
    const { files, log, config } = this.#options;
    const { quota_bytes: quotaBytes, keep_days: keepDays } = config.workspaces;
    try {
      this.#packs.sweep({ keepDays: config.jobs.keep_days, quotaBytes }, Date.now());
      const heldMs = config.jobs.keep_days * DAY_MS;
      // One that is not held is under way, or its end is unknown: no job's is longer than it is remembered.
      const openMs = Math.max(heldMs, keepDays * DAY_MS);
      this.#returns.sweep({ heldMs, openMs }, Date.now());
      // A daemon that was killed in a sync left the pin of a job that never went on.
      await files.unpinAllBut(this.#sync.pinning);
      await files.sweep({ quotaBytes, keepDays });
    } catch (error) {
      log.warn('workspaces could not be looked through', { error: messageOf(error) });
    }
  }
}
