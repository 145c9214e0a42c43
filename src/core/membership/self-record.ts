import { MeshError } from '../../base/errors.ts';
import type { MeshId, NodeId } from '../../base/ids.ts';
import type { Facts } from '../../wire/facts.ts';
import { INCARNATION_MAX, RECORD_BYTES_MAX, type MemberAddress, type MemberRecord } from '../../wire/membership.ts';
import type { MembershipEffect } from './contract.ts';
import { recordBytes, recordFits, type SignedRecord } from './record.ts';

/**
 * What this node says of itself: `unknown -> signing -> announced`, and round again at each change.
 *
 * 1. An incarnation is announced only after it was persisted (`persisted` alone raises it).
 * 2. At most one signature and one write are under way; what changes meanwhile is in the next one.
 * 3. Once `left` was asked for, nothing else is ever claimed (`#claim` does not go back).
 */
export class SelfRecord {
  readonly #mesh: MeshId;
  readonly #id: NodeId;
  #incarnation: number;
  #version = 0;
  #claim: 'here' | 'left' = 'here';
  #wanted: { readonly facts: Facts; readonly addresses: readonly MemberAddress[] } | null = null;
  #signing: { readonly token: number; readonly record: MemberRecord } | null = null;
  #changedSinceSigning = false;
  #persisting: number | null = null;
  #announced: SignedRecord | null = null;
  #nextToken = 1;

  constructor(mesh: MeshId, id: NodeId, incarnation: number) {
    this.#mesh = mesh;
    this.#id = id;
    this.#incarnation = incarnation;
  }

  /** The newest persisted incarnation; the announced record may lag behind by a signature. */
  get incarnation(): number {
    return this.#incarnation;
  }

  /** The newest signed record, or null before the first. */
  get announced(): SignedRecord | null {
    return this.#announced;
  }

  get leaving(): boolean {
    return this.#claim === 'left';
  }

  /** @throws MeshError `limit` where the record would exceed what others accept; the state is unchanged then. */
  change(facts: Facts, addresses: readonly MemberAddress[]): MembershipEffect[] {
    const before = this.#wanted;
    this.#wanted = { facts, addresses };
    if (!recordFits(this.#build(this.#wanted))) {
      this.#wanted = before;
      throw new MeshError(
        'limit',
        `this node's facts exceed ${RECORD_BYTES_MAX} bytes and were not announced: give it fewer or shorter labels`,
      );
    }
    return this.#sign();
  }

  /** Goes above `incarnation`, once that is persisted. */
  raiseAbove(incarnation: number): MembershipEffect[] {
    const next = Math.max(incarnation, this.#incarnation) + 1;
    if (next > INCARNATION_MAX || this.leaving) return [];
    if (this.#persisting !== null && this.#persisting >= next) return [];
    this.#persisting = next;
    return [{ kind: 'persist_incarnation', incarnation: next }];
  }

  persisted(incarnation: number): MembershipEffect[] {
    if (incarnation === this.#persisting) this.#persisting = null;
    if (incarnation <= this.#incarnation) return [];
    this.#incarnation = incarnation;
    return this.#sign();
  }

  persistFailed(incarnation: number): void {
    if (incarnation === this.#persisting) this.#persisting = null;
  }

  leave(): MembershipEffect[] {
    if (this.leaving) return [];
    this.#claim = 'left';
    // Nobody has heard of this node, so that there is nobody to tell.
    if (this.#wanted === null) return [{ kind: 'left_announced' }];
    return this.#sign();
  }

  /** @returns the record that is announced now, or null where the signature is of no use any more */
  signed(token: number, sig: string): { readonly record: SignedRecord | null; readonly effects: MembershipEffect[] } {
    if (this.#signing === null || token !== this.#signing.token) return { record: null, effects: [] };
    const { record } = this.#signing;
    this.#signing = null;
    const effects = this.#changedSinceSigning ? this.#sign() : [];
    this.#announced = { record, sig };
    return { record: this.#announced, effects };
  }

  #sign(): MembershipEffect[] {
    if (this.#wanted === null) return [];
    if (this.#signing !== null) {
      this.#changedSinceSigning = true;
      return [];
    }
    this.#changedSinceSigning = false;
    this.#version += 1;
    const record = this.#build(this.#wanted);
    this.#signing = { token: this.#nextToken++, record };
    return [{ kind: 'sign', token: this.#signing.token, text: recordBytes(record) }];
  }

  #build(wanted: { readonly facts: Facts; readonly addresses: readonly MemberAddress[] }): MemberRecord {
    return {
      mesh: this.#mesh,
      id: this.#id,
      incarnation: this.#incarnation,
      version: this.#version,
      state_claim: this.#claim,
      addresses: [...wanted.addresses],
      facts: wanted.facts,
    };
  }
}
