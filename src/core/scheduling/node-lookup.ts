import type { ErrorCode } from '../../base/errors.ts';
import { NODE_ID_PREFIX_CHARS_MIN, type NodeId } from '../../base/ids.ts';
import { err, ok, type Result } from '../../base/result.ts';

interface Named {
  readonly id: NodeId;
  readonly name: string;
  readonly state: 'alive' | 'suspect' | 'dead' | 'left';
}

export interface LookupRefusal {
  readonly code: Extract<ErrorCode, 'unknown_node' | 'ambiguous_node'>;
  readonly message: string;
}

const ID_CHARS_SHOWN = 8;
const NAMES_SHOWN_MAX = 50;
const TYPED_CHARS_SHOWN = 80;

/**
 * The node that a person means: by its whole id, by exact name, or by an id prefix of at least 4 characters. Of several
 * nodes with one name, those that are dead or left don't count while another is there. A node chooses its own name: one
 * that is the beginning of another's id makes that ambiguous, and its whole id takes nothing from the other.
 *
 * @returns the node, or a refusal that lists all nodes (unknown) or the matches (ambiguous)
 */
export function lookupNode<T extends Named>(typed: string, nodes: readonly T[]): Result<T, LookupRefusal> {
  const shown = JSON.stringify(typed.slice(0, TYPED_CHARS_SHOWN));
  const whole = nodes.find((node) => node.id === typed);
  if (whole !== undefined) return ok(whole);
  const named = nodes.filter((node) => node.name === typed);
  const present = named.filter((node) => node.state === 'alive' || node.state === 'suspect');
  const byId = typed.length < NODE_ID_PREFIX_CHARS_MIN ? [] : nodes.filter((node) => node.id.startsWith(typed));
  const matches = [...new Set([...(present.length > 0 ? present : named), ...byId])];
  const [match, ...more] = matches;
  if (match !== undefined && more.length === 0) return ok(match);
  if (match !== undefined) {
    const message = `${shown} means more than one node: ${list(matches)}; give more of the id`;
    return err({ code: 'ambiguous_node', message });
  }
  const hint =
    typed.length < NODE_ID_PREFIX_CHARS_MIN ? ` (an id prefix needs ${NODE_ID_PREFIX_CHARS_MIN} characters)` : '';
  return err({ code: 'unknown_node', message: `there is no node ${shown}${hint}; nodes: ${list(nodes)}` });
}

function list(nodes: readonly Named[]): string {
  const shown = nodes.slice(0, NAMES_SHOWN_MAX).map((node) => `${node.name} (${node.id.slice(0, ID_CHARS_SHOWN)})`);
  const more = nodes.length - shown.length;
  return `${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
