import type { NodeId } from '../base/ids.ts';
import type { TrustSet } from '../core/trust/trust-set.ts';
import type { DiscoveryState } from '../ports/discovery.ts';

/** What people should know of a mesh: refused peers, discovery that does not work, a single admin or none. */
export function meshNotices(
  trust: TrustSet,
  refusals: ReadonlyMap<NodeId, string>,
  discovery: DiscoveryState,
): string[] {
  const notices = [...refusals].map(
    ([peer, what]) => `the node ${peer.slice(0, 8)} of this mesh was refused: it ${what}`,
  );
  if (discovery.kind === 'failed') {
    notices.push(
      `mDNS does not work here (${discovery.message}); nodes are found by --peer and known addresses instead`,
    );
  }
  const admins = [...trust.members.values()].filter(({ roles }) => roles.includes('admin'));
  if (trust.members.size > 1 && admins.length === 1) {
    notices.push(
      'this mesh has a single admin: without that machine nobody can invite or revoke (make another with `meshwork invite --admin`)',
    );
  }
  if (admins.length === 0) {
    notices.push(
      'this mesh has no admin any more: nobody can invite or revoke. `meshwork leave` makes this node a mesh of its own, which can',
    );
  }
  return notices;
}
