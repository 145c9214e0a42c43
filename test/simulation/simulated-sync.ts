import type { JobId, LeaseId, NodeId } from '../../src/base/ids.ts';
import type { Random } from '../../src/base/random.ts';
import type { Executor } from '../../src/core/jobs/executor.ts';
import type { ExecutorInput, LeaseKey } from '../../src/core/jobs/executor-state.ts';
import type { AttemptPlace, SyncInput, SyncKey } from '../../src/core/scheduling/origin-job.ts';
import type { JobMessage } from '../../src/wire/jobs.ts';

/** What `wire/workspace.ts` has, without the files. */
export type SyncMessage = LeaseKey &
  (
    | { readonly t: 'sync.open' | 'sync.close' | 'sync.progress' }
    | { readonly t: 'sync.ready'; readonly cwd: string }
    | { readonly t: 'sync.failed'; readonly final: boolean }
  );
export type WorldMessage = JobMessage | SyncMessage;

export const isSync = (message: WorldMessage): message is SyncMessage => message.t.startsWith('sync.');
export const isSyncForExecutor = ({ t }: SyncMessage): boolean => t === 'sync.open' || t === 'sync.close';

interface Surroundings {
  readonly random: Random;
  /** Calls under way end with the daemon. */
  readonly later: (delayMs: number, run: () => void) => void;
  readonly send: (to: NodeId, message: SyncMessage) => void;
  /** How many of the calls take seconds, and are not told that nobody wants them any more. */
  readonly slowShare: number;
}

export interface OriginSyncSurroundings extends Surroundings {
  readonly step: (input: SyncInput) => void;
  /** A number that changes with each link to that node. */
  readonly linkTo: (peer: NodeId) => number | null;
}

export interface ExecutorSyncSurroundings extends Surroundings {
  readonly step: (input: ExecutorInput) => void;
  readonly machine: () => Executor;
  readonly nowMs: () => number;
}

const SLOW_MS = 14_000;
const CALL_MS_MAX = 40;
const RENEW_EVERY_MS = 3000;
const TTL_MS = 10_000;
/** Where a job would run before its files are there. */
export const NOT_PLACED = '/not-placed';

/** The origin's side: what the runtime does with `sync` and `sync_abort`. */
export class SimulatedOriginSync {
  readonly #around: OriginSyncSurroundings;
  readonly #open = new Map<LeaseId, NodeId>();

  constructor(around: OriginSyncSurroundings) {
    this.#around = around;
  }

  get openCount(): number {
    return this.#open.size;
  }

  /** Files are read before the first word: the link may be another one then. */
  begin(job: JobId, attempt: number, { node, lease }: AttemptPlace): void {
    const { linkTo, send } = this.#around;
    const link = linkTo(node);
    this.#open.set(lease, node);
    call(this.#around, () => {
      if (this.#open.has(lease) && link !== null && linkTo(node) === link) {
        send(node, { t: 'sync.open', job, attempt, lease });
      }
    });
  }

  abort({ job, attempt, lease }: SyncKey): void {
    const node = this.#open.get(lease);
    this.#open.delete(lease);
    if (node !== undefined) this.#around.send(node, { t: 'sync.close', job, attempt, lease });
  }

  /** What is told late is of the past: the machine has to see that itself. */
  receive(message: SyncMessage): void {
    const { job, attempt, lease } = message;
    const key = { job, attempt, lease };
    const { step } = this.#around;
    switch (message.t) {
      case 'sync.progress': {
        const phase = this.#around.random.next() < 0.5 ? 'syncing' : 'preparing';
        return step({ kind: 'sync_progress', ...key, phase, detail: `${this.#around.random.next()}` });
      }
      case 'sync.ready':
        return call(this.#around, () => {
          this.#open.delete(lease);
          step({ kind: 'synced', ...key, cwd: message.cwd });
        });
      case 'sync.failed':
        return call(this.#around, () => {
          this.#open.delete(lease);
          const reason = { code: 'sync', text: 'its files did not get there' } as const;
          step({ kind: 'sync_failed', ...key, reason, final: message.final });
        });
      case 'sync.open':
      case 'sync.close':
        return;
    }
  }
}

interface Session {
  readonly key: LeaseKey;
  readonly from: NodeId;
  cwd: string | null;
}

/** The executor's side: it takes a while, tells of it, and sometimes fails or hangs. */
export class SimulatedExecutorSync {
  readonly #around: ExecutorSyncSurroundings;
  readonly #sessions = new Map<LeaseId, Session>();

  constructor(around: ExecutorSyncSurroundings) {
    this.#around = around;
  }

  get openCount(): number {
    return this.#sessions.size;
  }

  receive(from: NodeId, { t, job, attempt, lease }: SyncMessage): void {
    const key = { job, attempt, lease };
    if (t === 'sync.close') {
      if (this.#sessions.delete(lease)) this.#around.step({ kind: 'unlease', ...key, wasted: false });
      return;
    }
    const { machine, nowMs, send, random, later } = this.#around;
    if (!machine().holdsLease(from, key, nowMs())) return send(from, { t: 'sync.failed', ...key, final: false });
    const session: Session = { key, from, cwd: null };
    this.#sessions.set(lease, session);
    const lastsMs = random.next() ** 3 * (random.next() < 0.05 ? 100_000 : 12_000);
    this.#goOn(session, lastsMs);
    const isHung = random.next() < 0.05;
    if (!isHung) later(lastsMs, () => call(this.#around, () => this.#end(session)));
  }

  /** The lease ended without a start. */
  leaseEnded({ lease }: LeaseKey): void {
    this.#sessions.delete(lease);
  }

  /** Where the attempt runs that used this lease, files in place; null where none were sent. */
  take(lease: LeaseId): string | null {
    const session = this.#sessions.get(lease);
    this.#sessions.delete(lease);
    return session?.cwd ?? null;
  }

  #goOn(session: Session, leftMs: number): void {
    const { step, send, later, random } = this.#around;
    const { key, from } = session;
    if (!this.#sessions.has(key.lease) || session.cwd !== null) return;
    step({ kind: 'renew', ...key, ttlMs: TTL_MS });
    send(from, { t: 'sync.progress', ...key });
    if (leftMs > 0) later(RENEW_EVERY_MS * random.next(), () => this.#goOn(session, leftMs - RENEW_EVERY_MS));
  }

  /** Whether it is still wanted is for the machine to know. */
  #end(session: Session): void {
    const { random, step, send } = this.#around;
    const { key, from } = session;
    const fate = random.next();
    if (fate < 0.85) {
      session.cwd = `/tree/${key.lease}`;
      step({ kind: 'ready', ...key, cwd: session.cwd, ttlMs: TTL_MS });
      return send(from, { t: 'sync.ready', ...key, cwd: session.cwd });
    }
    this.#sessions.delete(key.lease);
    step({ kind: 'unlease', ...key, wasted: random.next() < 0.2 });
    send(from, { t: 'sync.failed', ...key, final: fate > 0.95 });
  }
}

function call({ random, later, slowShare }: Surroundings, run: () => void): void {
  later(random.next() * (random.next() < slowShare ? SLOW_MS : CALL_MS_MAX), run);
}
