import type { NodeId } from '../../base/ids.ts';
import type { Reason } from '../../wire/jobs.ts';
import type { Rejection } from './candidate.ts';
import { textOf } from './reason.ts';

/** `route` is one line: beyond so many nodes it only counts. */
const NODES_NAMED_MAX = 3;

/**
 * What `route` adds: nodes that the same-platform rule alone kept out (and what would let them in), and nodes that
 * were asked and refused.
 */
export function routeNotes(
  rejected: readonly Rejection[],
  refusals: ReadonlyMap<NodeId, readonly Reason[]> | undefined,
): string {
  const refused = rejected.filter((node) => refusals?.has(node.id) === true);
  const relaxable = rejected.filter((node) => node.relaxable);
  const notes = [
    ...named(refused, 'refused'),
    ...named(relaxable, 'not taken').map((note) => `${note} (--os any would allow it)`),
  ];
  return notes.map((note) => `; ${note}`).join('');
}

function named(nodes: readonly Rejection[], verb: string): string[] {
  const texts = nodes
    .slice(0, NODES_NAMED_MAX)
    .map((node) => `${node.name} ${verb}: ${textOf(node.reasons.map(firstLineOf))}`);
  const more = nodes.length - texts.length;
  return more > 0 ? [...texts, `${more} more ${verb}`] : texts;
}

/** Output that a reason quotes comes after its first line. */
const firstLineOf = ({ code, text }: Reason): Reason => ({ code, text: text.split('\n')[0] ?? '' });

/** Names every node with all its reasons: several lines. */
export function impossibleMessage(rejected: readonly Rejection[], self: NodeId): string {
  const lines = rejected.map((node) => `  ${node.name}${node.id === self ? ' (here)' : ''}: ${textOf(node.reasons)}`);
  return `no node can take this command, so nothing ran:\n${lines.join('\n')}`;
}
