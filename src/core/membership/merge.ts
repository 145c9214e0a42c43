import type { MemberState } from '../../wire/membership.ts';

/**
 * Merging a claim about a member into the view of it (SWIM, Das et al. 2002, §4.2, with leaving added).
 *
 *            silence 5 s · link closed and redial refused · a claim of suspect or dead
 *     alive ------------------------------------------------------------------------> suspect
 *       ^  ^--------- record of a higher incarnation (a refutation) -----------------'   |
 *       |                                                                                | 4 s unrefuted
 *       '------------ record of a higher incarnation (a restart, a refutation) ------- dead
 *     any state --- the subject's own signed record that claims `left` -------------> left
 *
 * 1. The incarnation of a view only grows (`mergeClaim`).
 * 2. Within one incarnation a state only rises: alive < suspect < dead < left (`mergeClaim`).
 * 3. Another node's `dead` is hearsay: at most it makes a suspect here (`hearsayState`).
 * 4. Only the subject's signed record makes it `left` (`Claim.record`); another node's word alone does nothing.
 * 5. Hearsay does not count against a member that is linked here and spoke within the last 5 s (`firstHand`).
 */
export interface MemberStamp {
  readonly incarnation: number;
  readonly version: number;
  readonly state: MemberState;
}

export interface Claim {
  readonly incarnation: number;
  readonly version: number;
  /** What the sender holds of the member. */
  readonly state: MemberState;
  /** What the subject's verified record in this claim says, or null where the claim came without one. */
  readonly record: 'here' | 'left' | null;
}

export interface Merged {
  readonly state: MemberState;
  /** The claim's record replaces the one we hold. */
  readonly takesRecord: boolean;
}

/**
 * @param view what we hold, or null of a member not in the table
 * @param firstHand the member is linked here and was heard within the silence limit
 * @returns the view after the claim, or null where the claim changes nothing
 */
export function mergeClaim(view: MemberStamp | null, claim: Claim, firstHand: boolean): Merged | null {
  if (claim.record === null) return mergeHearsay(view, claim, firstHand);
  if (view === null || claim.incarnation > view.incarnation) {
    return { state: stateOfRecord(claim, firstHand), takesRecord: true };
  }
  if (claim.incarnation < view.incarnation) return null;
  const takesRecord = claim.version > view.version && (view.state !== 'left' || claim.record === 'left');
  // Leaving is claimed in a higher version of the record: an equal or older version that claims it is not new.
  const claimed = claim.record === 'left' ? (takesRecord ? 'left' : view.state) : hearsayState(claim.state, firstHand);
  const state = higher(view.state, claimed);
  return takesRecord || state !== view.state ? { state, takesRecord } : null;
}

function mergeHearsay(view: MemberStamp | null, claim: Claim, firstHand: boolean): Merged | null {
  // A state is a statement about one incarnation. Of a newer one the record must come first, an older one is past.
  if (view === null || claim.incarnation !== view.incarnation) return null;
  const state = higher(view.state, hearsayState(claim.state, firstHand));
  return state === view.state ? null : { state, takesRecord: false };
}

function stateOfRecord(claim: Claim, firstHand: boolean): MemberState {
  return claim.record === 'left' ? 'left' : hearsayState(claim.state, firstHand);
}

function hearsayState(claimed: MemberState, firstHand: boolean): MemberState {
  return !firstHand && (claimed === 'suspect' || claimed === 'dead') ? 'suspect' : 'alive';
}

const RANK: Readonly<Record<MemberState, number>> = { alive: 0, suspect: 1, dead: 2, left: 3 };

function higher(a: MemberState, b: MemberState): MemberState {
  return RANK[b] > RANK[a] ? b : a;
}
