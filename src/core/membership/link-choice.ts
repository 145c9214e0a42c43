import type { NodeId } from '../../base/ids.ts';
import { MS_PER_SECOND } from '../../base/units.ts';

/** Longer than a heartbeat: a link that was quiet for this long is no reason to turn away a fresh one. */
const LINK_QUIET_MS = 3 * MS_PER_SECOND;

interface LinkFacts {
  /** The incarnation with which the peer's process started, from its hello; the same on all links of one run. */
  readonly peerInstance: number;
  readonly dialledByUs: boolean;
}

/**
 * Two links to one peer: which stays (DESIGN §3). Both ends see the same two links and come to the same answer.
 *
 * 1. A link to a newer run of the peer wins over one to an older run.
 * 2. A quiet link gives way: the peer would not have dialled, or accepted, if it still had it.
 * 3. The one that the smaller id dialled stays.
 * 4. Both dialled by the same side: that side dials only without a link, so the older one is gone there.
 *
 * @param existingQuietMs since anything was last heard on the existing link
 */
export function chooseLink(
  self: NodeId,
  peer: NodeId,
  existing: LinkFacts,
  existingQuietMs: number,
  incoming: LinkFacts,
): 'existing' | 'incoming' {
  if (incoming.peerInstance !== existing.peerInstance) {
    return incoming.peerInstance > existing.peerInstance ? 'incoming' : 'existing';
  }
  if (existingQuietMs > LINK_QUIET_MS || incoming.dialledByUs === existing.dialledByUs) return 'incoming';
  return incoming.dialledByUs === self < peer ? 'incoming' : 'existing';
}
