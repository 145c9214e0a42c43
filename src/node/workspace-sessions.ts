import { existsSync } from 'node:fs';
import { unreachable } from '../base/assert.ts';
import { messageOf } from '../base/errors.ts';
import type { NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { AttemptKey, LeaseInput, LeaseKey } from '../core/jobs/executor-state.ts';
import type { OpenedWorkspace, WorkspaceFiles } from '../ports/workspace.ts';
import { CHANGE_PROBLEM_CHARS_MAX, type ChangePack, NO_CHANGE_PACK } from '../wire/changes.ts';
import type { WorkspaceMessageOf, WsOpen } from '../wire/workspace.ts';
import type { AttemptWorkspaces } from './attempt-workspaces.ts';
import type { ChangePacks, WorkspaceLink } from './change-packs.ts';
import { ManifestBudget } from './manifest-budget.ts';
import { wrongStepPath } from './workspace-folder.ts';
import {
  SESSION_NOTE,
  SIGN_OF_LIFE_MS,
  WorkspaceSession,
  type Preparer,
  type ReadyWorkspace,
  type SessionNote,
} from './workspace-session.ts';

/** Beside the slots, which bound them anyway: sessions of leases that ended and that still let go of their folders. */
export const SESSIONS_MAX = 1024;
/** A lease is kept for so long after each sign of life of its session. */
const RENEW_MS = 4 * SIGN_OF_LIFE_MS;
/** So long an origin may take from `ws.ready` to `job.start`. */
const READY_MS = 10_000;

export type SessionMessage = WorkspaceMessageOf<'ws.open' | 'ws.close' | 'ws.fetch' | 'ws.drop'>;

export interface WorkspaceSessionsOptions {
  readonly files: WorkspaceFiles;
  readonly preparer: Preparer;
  /** Where workspaces are: MESHWORK_HOME/workspaces/for. */
  readonly folder: string;
  readonly packs: ChangePacks;
  readonly log: Logger;
  readonly quotaBytes: number;
  readonly user: { readonly uid: number; readonly gid: number } | null;
  /** Null where no link is up. */
  readonly origin: (node: NodeId) => WorkspaceLink | null;
  /** Has that origin that lease, for a job whose files are sent? It was judged when the lease was granted. */
  readonly holdsLease: (from: NodeId, key: LeaseKey) => boolean;
  readonly post: (input: LeaseInput) => void;
  /** An attempt is likely to come soon. */
  readonly expect: () => void;
}

interface InUse extends ReadyWorkspace {
  readonly from: NodeId;
}
/** Of an earlier daemon, and not to be taken up: what its attempt changed can't be told. */
interface Lost {
  readonly workspace: null;
  readonly problem: string;
}

/** Projects of other nodes in workspaces here: on their way, in use by a job, and what the job changed in them. */
export class WorkspaceSessions implements AttemptWorkspaces {
  readonly #options: WorkspaceSessionsOptions;
  readonly #sessions = new Map<string, WorkspaceSession>();
  /** By attempt: bounded by the slots. */
  readonly #inUse = new Map<string, InUse | Lost>();
  readonly #manifests = new ManifestBudget();

  constructor(options: WorkspaceSessionsOptions) {
    this.#options = options;
  }

  receive(from: NodeId, message: SessionMessage): void {
    const link = this.#options.origin(from);
    switch (message.t) {
      case 'ws.open':
        return this.#open(from, message, link);
      case 'ws.close': {
        const session = this.#sessions.get(nameOf(message));
        if (session?.from === from) this.#end(session, 'the origin closed it');
        return;
      }
      case 'ws.fetch':
        if (link !== null) this.#options.packs.serve(from, message, link);
        return;
      case 'ws.drop':
        return this.#options.packs.drop(from, message);
      default:
        unreachable(message);
    }
  }

  linkDown(peer: NodeId): void {
    for (const session of this.#sessions.values()) if (session.from === peer) this.#end(session, 'the link is down');
  }

  /** The lease of a session ended without a start. */
  leaseEnded(key: LeaseKey): void {
    const session = this.#sessions.get(nameOf(key));
    if (session?.open.lease === key.lease) this.#end(session, 'its lease ended');
  }

  /**
   * The attempt is about to be given to the runner.
   *
   * @returns false where there is no workspace that is ready for it
   */
  begin(from: NodeId, key: AttemptKey): boolean {
    const session = this.#sessions.get(nameOf(key));
    const ready = session?.from === from ? session.ready : null;
    if (ready === null) return false;
    this.#sessions.delete(nameOf(key));
    this.#inUse.set(nameOf(key), { from, ...ready });
    return true;
  }

  isInUse(key: AttemptKey): boolean {
    return this.#inUse.has(nameOf(key));
  }

  release(key: AttemptKey): void {
    const used = this.#inUse.get(nameOf(key));
    this.#inUse.delete(nameOf(key));
    if (used !== undefined && used.workspace !== null) void this.#close(used.workspace);
  }

  isWithin(cwd: string): boolean {
    return cwd.startsWith(`${this.#options.folder}/`);
  }

  async restore(attempts: readonly (AttemptKey & { readonly from: NodeId })[]): Promise<void> {
    const { files, log, folder } = this.#options;
    if (!existsSync(folder)) {
      for (const { from: _, ...key } of attempts) this.#lose(key, 'is gone');
      return;
    }
    try {
      await files.releaseAllBut(attempts.map(({ job, attempt }) => ({ job, attempt })));
    } catch (error) {
      log.error('workspaces of an earlier daemon cannot be freed', { error: messageOf(error) });
    }
    for (const { from, job, attempt } of attempts) await this.#adopt(from, { job, attempt });
  }

  async #adopt(from: NodeId, key: AttemptKey): Promise<void> {
    const { files } = this.#options;
    try {
      const workspace = await files.reopen(key.job, key.attempt);
      if (workspace === null) return this.#lose(key, 'is gone');
      const note = noteOf(await files.readNote(workspace.id, SESSION_NOTE));
      this.#inUse.set(nameOf(key), { from, workspace, ...note });
    } catch (error) {
      this.#lose(key, `cannot be taken up again (${messageOf(error)})`);
    }
  }

  #lose(key: AttemptKey, what: string): void {
    this.#options.log.error('the workspace of a job is lost', { ...key, what });
    this.#inUse.set(nameOf(key), { workspace: null, problem: `its workspace there ${what}: nothing comes back` });
  }

  /** The job has ended, however it did: what it changed, in a pack for its origin. */
  async collect(key: AttemptKey): Promise<ChangePack | null> {
    const used = this.#inUse.get(nameOf(key));
    if (used === undefined) return null;
    if (used.workspace === null) return failedCollecting(used.problem);
    const { files, packs, log } = this.#options;
    const { from, workspace, returns, outputs, prepared } = used;
    try {
      return await files.collect({ id: workspace.id, pack: packs.pathFor(from, key), returns, outputs, prepared });
    } catch (error) {
      log.error('what a job changed could not be collected', { ...key, error: messageOf(error) });
      return failedCollecting(`what it changed could not be collected: ${messageOf(error)}`);
    }
  }

  #open(from: NodeId, open: WsOpen, link: WorkspaceLink | null): void {
    if (link === null) return;
    const { job, attempt, lease } = open;
    const key = { job, attempt, lease };
    const name = nameOf(key);
    const refuse = (code: 'refused' | 'busy', message: string, isOver = true): void => {
      if (isOver) post({ kind: 'unlease', ...key, wasted: code === 'refused' });
      link.send({ t: 'ws.failed', job, attempt, code, message });
    };
    const { holdsLease, post } = this.#options;
    if (!holdsLease(from, key)) return refuse('refused', 'there is no such lease (any more)', false);
    const earlier = this.#sessions.get(name);
    // Of the same lease it goes on: that one was opened twice.
    const isSame = earlier?.open.lease === lease;
    if (earlier !== undefined) return refuse('busy', 'an earlier session of that attempt is not over yet', !isSame);
    if (this.#sessions.size >= SESSIONS_MAX) return refuse('busy', `${SESSIONS_MAX} sessions are open`);
    if (!link.mux.canOpen([open.up])) return refuse('refused', 'the stream of the request is in use');
    const outside = open.prepare.map(wrongStepPath).find((wrong) => wrong !== null);
    if (outside !== undefined) return refuse('refused', `a preparation names what it must not: ${outside}`);
    const room = {
      take: (bytes: number) => this.#manifests.take(from, bytes),
      give: (bytes: number) => this.#manifests.give(from, bytes),
    };
    const session = new WorkspaceSession(from, open, link, {
      ...this.#options,
      room,
      renew: () => post({ kind: 'renew', ...key, ttlMs: RENEW_MS }),
      ready: (cwd) => post({ kind: 'ready', ...key, cwd, ttlMs: READY_MS }),
      unlease: (wasted) => post({ kind: 'unlease', ...key, wasted }),
    });
    this.#sessions.set(name, session);
    post({ kind: 'renew', ...key, ttlMs: RENEW_MS });
    void this.#serve(name, session);
  }

  /** One that is being served goes when it has let go of its folder. */
  #end(session: WorkspaceSession, why: string): void {
    if (session.ready !== null) this.#sessions.delete(nameOf(session.open));
    session.close(why);
  }

  async #serve(name: string, session: WorkspaceSession): Promise<void> {
    await session.serve();
    if (session.ready === null && this.#sessions.get(name) === session) this.#sessions.delete(name);
  }

  async #close(workspace: OpenedWorkspace): Promise<void> {
    try {
      await this.#options.files.close(workspace.id);
    } catch (error) {
      this.#options.log.error('a workspace could not be released', { id: workspace.id, error: messageOf(error) });
    }
  }
}

const nameOf = ({ job, attempt }: AttemptKey): string => `${job}/${attempt}`;

const failedCollecting = (problem: string): ChangePack => ({
  ...NO_CHANGE_PACK,
  problem: problem.slice(0, CHANGE_PROBLEM_CHARS_MAX),
});

/** Nothing comes back on its own account where that is not known any more, as after a power cut. */
function noteOf(text: string | null): SessionNote {
  const note = partsOf(text ?? '{}');
  return { returns: note.returns ?? true, outputs: note.outputs ?? [], prepared: note.prepared ?? [] };
}

function partsOf(text: string): Partial<SessionNote> {
  try {
    return JSON.parse(text) as Partial<SessionNote>;
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}
