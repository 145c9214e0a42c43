import type { NodeId } from '../../base/ids.ts';
import type { RecordItem } from '../../wire/membership.ts';
import type { MembershipEffect } from './contract.ts';
import { recordBytes, recordFits } from './record.ts';

/** Records that wait for their signature to be checked. Beyond this they are dropped; anti-entropy brings them again. */
const VERIFICATIONS_MAX = 256;
/** So that one peer that sends rubbish can't keep everyone else's records out. */
export const VERIFICATIONS_PER_PEER_MAX = 64;

export interface PendingRecord {
  readonly item: RecordItem;
  readonly from: NodeId;
}

export class PendingVerifications {
  readonly #pending = new Map<number, PendingRecord>();
  #nextToken = 1;

  /** @returns the effect, or null where the same signature is being checked already or there are too many */
  add(item: RecordItem, from: NodeId): MembershipEffect | null {
    if (this.#pending.size >= VERIFICATIONS_MAX || !recordFits(item.record)) return null;
    let ofPeer = 0;
    for (const other of this.#pending.values()) {
      if (other.item.sig === item.sig && other.item.record.id === item.record.id) return null;
      if (other.from === from) ofPeer += 1;
    }
    if (ofPeer >= VERIFICATIONS_PER_PEER_MAX) return null;
    const token = this.#nextToken++;
    this.#pending.set(token, { item, from });
    return { kind: 'verify', token, id: item.record.id, text: recordBytes(item.record), sig: item.sig };
  }

  take(token: number): PendingRecord | null {
    const pending = this.#pending.get(token) ?? null;
    this.#pending.delete(token);
    return pending;
  }

  isPending(id: NodeId): boolean {
    for (const { item } of this.#pending.values()) if (item.record.id === id) return true;
    return false;
  }
}
