import { assert } from '../../base/assert.ts';
import type { NodeId } from '../../base/ids.ts';
import type { Facts, Load } from '../../wire/facts.ts';
import type { JobMessageOf, Reason } from '../../wire/jobs.ts';
import { reasonOf } from '../scheduling/reason.ts';
import { requirementReasons } from '../scheduling/requirements.ts';
import type { AttemptTable } from './attempt-table.ts';
import type { AttemptKey, ExecutorInput, Grant } from './executor-state.ts';
import { LeaseWasters, WASTED_LEASES_MAX } from './lease-wasters.ts';
import { OwnerShare } from './owner-share.ts';
import { grantOf, Reservations } from './reservations.ts';
import type { WaitsFor } from './waiters.ts';

/** What this node gives to others (`share.*` in config.toml); its own jobs may always have all of it. */
export interface SharePolicy {
  readonly onBattery: boolean;
  readonly yieldToOwner: boolean;
}

export interface AdmissionOptions {
  readonly self: () => NodeId;
  readonly facts: () => Facts;
  readonly load: () => Load;
  readonly share: SharePolicy;
}

export type Admitted =
  | { readonly ok: true; readonly grant: Grant }
  | {
      readonly ok: false;
      readonly reasons: readonly Reason[];
      /** What it waits for: null where waiting does not help. */
      readonly waitsFor: WaitsFor | null;
    };

type Verdict = Extract<ExecutorInput, { kind: 'checked' }>['verdict'];

/** Who gets a slot: free ones, what is reserved, what is lent, and what the owner of this machine leaves for others. */
export class Admission {
  readonly #options: AdmissionOptions;
  readonly #reservations: Reservations;
  readonly #owner = new OwnerShare();
  readonly #wasters = new LeaseWasters();
  #slots: number;

  constructor(options: AdmissionOptions, table: AttemptTable, slots: number) {
    this.#options = options;
    this.#reservations = new Reservations(table);
    this.#slots = slots;
  }

  set slots(slots: number) {
    this.#slots = slots;
  }

  get slotsFree(): number {
    return Math.max(0, this.#slots - this.#reservations.slotsTaken);
  }

  /** Free slots that this origin may have; null: any other node. */
  slotsFreeFor(origin: NodeId | null, nowMs: number): number {
    const self = this.#options.self();
    if (origin === self) return this.slotsFree;
    const left = this.#slotsForOthers(nowMs) - this.#reservations.slotsTakenByOthers(self);
    return Math.max(0, Math.min(this.slotsFree, left));
  }

  /** The same for many origins at one moment. */
  slotsFreeByOrigin(nowMs: number): (origin: NodeId) => number {
    const [own, others] = [this.slotsFree, this.slotsFreeFor(null, nowMs)];
    const self = this.#options.self();
    return (origin) => (origin === self ? own : others);
  }

  /** This origin let a lease expire. */
  wasted(origin: NodeId, nowMs: number): void {
    this.#wasters.note(origin, nowMs);
  }

  /** True where others get less than all slots now: that changes without any input. */
  isYielding(nowMs: number): boolean {
    return this.#slotsForOthers(nowMs) < this.#slots;
  }

  /** An attempt ended that held this. */
  ended({ cpus, lender }: Grant, key: AttemptKey, nowMs: number): void {
    if (lender === null) this.#owner.ended(Math.max(1, cpus), nowMs);
    this.#reservations.inherit(key);
  }

  /** @param keptForOthers free slots that are promised to other origins */
  judge(
    from: NodeId,
    reserve: JobMessageOf<'job.reserve'>,
    verdict: Verdict,
    keptForOthers: number,
    nowMs: number,
  ): Admitted {
    const facts = this.#options.facts();
    const reasons = [...this.#ownerReasons(from, facts), ...this.#requirementReasons(reserve, verdict, facts)];
    if (!verdict.ok || reasons.length > 0) {
      return { ok: false, reasons: verdict.ok ? reasons : [...verdict.reasons, ...reasons], waitsFor: null };
    }
    const self = this.#options.self();
    if (from !== self && this.#wasters.has(from, nowMs) && this.#reservations.hasLease(from)) {
      const text = `has one slot at a time for a node that let ${WASTED_LEASES_MAX} go unused`;
      return { ok: false, reasons: [reasonOf('full', text)], waitsFor: 'resources' };
    }
    const hasSlot = this.slotsFreeFor(from, nowMs) - keptForOthers > 0;
    const shortage = this.#reservations.shortage(reserve, null, facts);
    if (hasSlot && shortage === null) return this.#admit(grantOf(reserve, null));
    const lender = this.#reservations.lenderFor(reserve, from, self);
    const shortageWithLender = lender === null ? shortage : this.#reservations.shortage(reserve, lender, facts);
    if (lender !== null && shortageWithLender === null) return this.#admit(grantOf(reserve, lender));
    if (hasSlot || lender !== null) {
      return { ok: false, reasons: [reasonOf('full', shortageWithLender ?? '')], waitsFor: 'resources' };
    }
    const waitsFor = this.#reservations.isLent(reserve, from, self) ? 'lent' : 'slot';
    return { ok: false, reasons: [reasonOf('full', this.#fullText(from, nowMs))], waitsFor };
  }

  #admit(grant: Grant): Admitted {
    const isWithin = grant.lender !== null || this.#reservations.slotsTaken < this.#slots;
    assert(isWithin, 'a lease was granted without a free slot');
    return { ok: true, grant };
  }

  #ownerReasons(from: NodeId, facts: Facts): Reason[] {
    if (from === this.#options.self() || this.#options.share.onBattery || !facts.on_battery) return [];
    return [reasonOf('not_accepted', 'is on battery and takes no jobs of others then (share.on_battery)')];
  }

  #requirementReasons(reserve: JobMessageOf<'job.reserve'>, verdict: Verdict, facts: Facts): Reason[] {
    const load = this.#options.load();
    // Memory that jobs here asked for is judged as reserved; were it also missed as used, a wait would be a refusal.
    const available = load.memory_available_bytes + this.#reservations.reserved.memoryBytes;
    const hasTool = (tool: string): boolean =>
      Object.hasOwn(facts.tools, tool) || !verdict.ok || verdict.toolsFound.includes(tool);
    return requirementReasons(reserve.requires, facts, { ...load, memory_available_bytes: available }, hasTool);
  }

  #fullText(from: NodeId, nowMs: number): string {
    const taken = `${this.#reservations.slotsTaken} of ${this.#slots} taken`;
    if (this.slotsFree === 0 || from === this.#options.self()) return `has no free slot: ${taken}`;
    const left = this.#slotsForOthers(nowMs);
    if (left === this.#slots) return `has no free slot that is not promised to another node: ${taken}`;
    return `its owner is busy: it gives others ${left} of its ${this.#slots} slots (share.yield_to_owner), ${taken}`;
  }

  #slotsForOthers(nowMs: number): number {
    if (!this.#options.share.yieldToOwner || this.#slots === 0) return this.#slots;
    const machine = { slots: this.#slots, cores: this.#options.facts().cores };
    return this.#owner.slotsForOthers(machine, this.#options.load(), this.#reservations.coresInUse, nowMs);
  }
}
