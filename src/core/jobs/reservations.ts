import { formatSize } from '../../base/units.ts';
import type { JobId, NodeId } from '../../base/ids.ts';
import type { Facts } from '../../wire/facts.ts';
import { NESTING_MAX } from '../../wire/job-spec.ts';
import type { JobMessageOf } from '../../wire/jobs.ts';
import { textOf, type AttemptOf, type AttemptTable } from './attempt-table.ts';
import type { AttemptKey, Grant } from './executor-state.ts';

type Holder = AttemptOf<'leased'> | AttemptOf<'running'>;
type Reserve = JobMessageOf<'job.reserve'>;

interface Share {
  readonly cpus: number;
  readonly memoryBytes: number;
}

const NOTHING: Share = { cpus: 0, memoryBytes: 0 };

/**
 * Who holds what of this machine: slots, and the cpus and memory that were asked for. What a nested job borrows of the
 * job that it is inside of is counted once, with its lender; only what it wants beyond that is its own.
 */
export class Reservations {
  readonly #table: AttemptTable;

  constructor(table: AttemptTable) {
    this.#table = table;
  }

  get slotsTaken(): number {
    return this.#table.holding().filter(({ grant }) => grant.lender === null).length;
  }

  /** By others than this node. */
  slotsTakenByOthers(self: NodeId): number {
    return this.#table.holding().filter(({ grant, from }) => grant.lender === null && from !== self).length;
  }

  /** True where that origin has a slot that it has not used yet. */
  hasLease(origin: NodeId): boolean {
    return this.#table.leased().some(({ from }) => from === origin);
  }

  /** Cores that jobs here are taken to use: one each, or what they asked for. */
  get coresInUse(): number {
    let cores = 0;
    for (const { grant } of this.#table.running()) if (grant.lender === null) cores += Math.max(1, grant.cpus);
    return cores;
  }

  get reserved(): Share {
    const total = { cpus: 0, memoryBytes: 0 };
    for (const { grant } of this.#table.holding()) {
      const cover = this.#coverOf(grant.lender);
      total.cpus += Math.max(0, grant.cpus - cover.cpus);
      total.memoryBytes += Math.max(0, grant.memoryBytes - cover.memoryBytes);
    }
    return total;
  }

  /** The attempt that may lend to this request: that of its parent, where it runs here and lends to nobody yet. */
  lenderFor(reserve: Reserve, from: NodeId, self: NodeId): AttemptKey | null {
    if (reserve.parent === null) return null;
    const lender = this.#parentOf(reserve.parent, from, self);
    if (lender === undefined || this.#borrowerOf(lender) !== undefined) return null;
    if (this.#lendersAbove(lender) >= NESTING_MAX) return null;
    return { job: lender.job, attempt: lender.attempt };
  }

  /** True where that parent runs here and has lent its slot: it comes back when the borrower ends. */
  isLent(reserve: Reserve, from: NodeId, self: NodeId): boolean {
    if (reserve.parent === null) return false;
    const lender = this.#parentOf(reserve.parent, from, self);
    return lender !== undefined && this.#borrowerOf(lender) !== undefined;
  }

  /** Why it does not fit beside what is reserved, for people; null where it does. */
  shortage(reserve: Reserve, lender: AttemptKey | null, facts: Facts): string | null {
    const { cpus, memory_bytes: memoryBytes } = reserve.requires;
    const { reserved } = this;
    const cover = this.#coverOf(lender);
    const extraCpus = Math.max(0, (cpus ?? 0) - cover.cpus);
    if (extraCpus > 0 && reserved.cpus + extraCpus > facts.cores) {
      return `has ${facts.cores} cores, of which ${reserved.cpus} are reserved for other jobs; ${cpus} are required`;
    }
    const extraBytes = Math.max(0, (memoryBytes ?? 0) - cover.memoryBytes);
    if (extraBytes > 0 && reserved.memoryBytes + extraBytes > facts.memory_bytes) {
      const [all, taken] = [formatSize(facts.memory_bytes), formatSize(reserved.memoryBytes)];
      return `has ${all} of memory, of which ${taken} are reserved for other jobs; ${formatSize(memoryBytes ?? 0)} are required`;
    }
    return null;
  }

  /** Its lender has ended: the slot is the borrower's own now, and with it what it had asked for. */
  inherit(lender: AttemptKey): void {
    const borrower = this.#borrowerOf(lender);
    if (borrower !== undefined) this.#table.put({ ...borrower, grant: { ...borrower.grant, lender: null } });
  }

  #parentOf(parent: JobId, from: NodeId, self: NodeId): AttemptOf<'running'> | undefined {
    return this.#table.running().find((attempt) => attempt.job === parent && (attempt.from === from || from === self));
  }

  #borrowerOf(lender: AttemptKey): Holder | undefined {
    const name = textOf(lender);
    return this.#table.holding().find(({ grant }) => grant.lender !== null && textOf(grant.lender) === name);
  }

  /** How deep it is in one slot, as far as it matters: what an origin says of nesting binds nobody. */
  #lendersAbove(attempt: Holder): number {
    let count = 0;
    for (let { lender } = attempt.grant; lender !== null && count < NESTING_MAX; count++) {
      const above = this.#table.get(lender);
      lender = above?.kind === 'running' ? above.grant.lender : null;
    }
    return count;
  }

  /** What a borrower need not reserve again: what its lender holds, and its lender's lender. */
  #coverOf(lender: AttemptKey | null): Share {
    const attempt = lender === null ? undefined : this.#table.get(lender);
    if (attempt?.kind !== 'running') return NOTHING;
    const { grant } = attempt;
    const above = this.#coverOf(grant.lender);
    return {
      cpus: Math.max(grant.cpus, above.cpus),
      memoryBytes: Math.max(grant.memoryBytes, above.memoryBytes),
    };
  }
}

export function grantOf(reserve: Reserve, lender: AttemptKey | null): Grant {
  const { cpus, memory_bytes: memoryBytes } = reserve.requires;
  return { cpus: cpus ?? 0, memoryBytes: memoryBytes ?? 0, parent: reserve.parent, lender };
}
