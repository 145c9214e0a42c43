import { assert } from '../../base/assert.ts';
import type { ErrorCode } from '../../base/errors.ts';
import type { NodeId } from '../../base/ids.ts';
import { formatDuration, MS_PER_SECOND } from '../../base/units.ts';
import type { Reason } from '../../wire/jobs.ts';
import { freeSlots, type Candidate, type Rejection, type UnheardMember } from './candidate.ts';
import { choose } from './choice.ts';
import { judge, reasonsOf, type Judged, type PlacementContext } from './judge.ts';
import { lookupNode } from './node-lookup.ts';
import { passedOver, type PassedOver } from './patience.ts';
import { NO_HISTORY, type PlacementRequest } from './placement-request.ts';
import { toolDifferences } from './platform.ts';
import { rank, type Scored } from './ranking.ts';
import { reasonOf } from './reason.ts';
import { impossibleMessage, routeNotes } from './route.ts';
import { expectationOf, type Expectation, type ScoreTerms } from './score.ts';

export interface RankedCandidate {
  readonly id: NodeId;
  readonly name: string;
  readonly isSelf: boolean;
  readonly score: ScoreTerms;
  readonly overloaded: boolean;
  readonly freeSlots: number;
  /** One line: why there. */
  readonly route: string;
  /** The command's own tools whose versions differ from here. */
  readonly tools: Readonly<Record<string, { readonly here: string; readonly there: string }>>;
}

export type Placement =
  | {
      readonly kind: 'candidates';
      /** Best first, never empty. */
      readonly ordered: readonly RankedCandidate[];
      readonly rejected: readonly Rejection[];
      /** The route of the best. */
      readonly route: string;
      /** False where the user named the node. */
      readonly automatic: boolean;
      readonly expected: Expectation;
      /** Nodes with a free slot that are not among `ordered`, since waiting for a faster one ends sooner. */
      readonly passedOver: readonly PassedOver[];
    }
  | {
      readonly kind: 'impossible';
      readonly code: ErrorCode;
      /** Names every node with all its reasons. */
      readonly message: string;
      readonly rejected: readonly Rejection[];
    };

/**
 * Decides where a job may run (INTERFACE "Where a command runs"): pure, and repeated for every try with fresh nodes.
 *
 * @returns candidates, best first, or `impossible` with a message that names every node with all its reasons
 */
export function place(request: PlacementRequest, context: PlacementContext): Placement {
  const self = context.nodes.find((node) => node.isSelf);
  assert(self !== undefined, 'this node is not among its own nodes');
  const { target } = request;
  if (target.kind === 'node') {
    return placeOnNamed(target.node, self, request, context);
  }
  if (target.kind === 'local') return placeOn(self, self, request, context, 'this node was asked for');
  return placeAutomatically(self, request, context);
}

function placeOnNamed(typed: string, self: Candidate, request: PlacementRequest, context: PlacementContext): Placement {
  const unheard = (context.unheard ?? []).map((member) => ({ ...member, state: 'dead' as const }));
  const found = lookupNode<Candidate | (typeof unheard)[number]>(typed, [...context.nodes, ...unheard]);
  if (!found.ok) return { kind: 'impossible', code: found.error.code, message: found.error.message, rejected: [] };
  const node = found.value;
  if ('facts' in node) return placeOn(node, self, request, context, `${node.name} was named`);
  const rejected = [unheardRejection(node)];
  const message = impossibleMessage(rejected, self.id);
  return { kind: 'impossible', code: codeOf(UNHEARD_REASONS), message, rejected };
}

function placeOn(
  node: Candidate,
  self: Candidate,
  request: PlacementRequest,
  context: PlacementContext,
  why: string,
): Placement {
  const judged = judge(node, self, request, context);
  const reasons = node.isSelf ? judged.hard : [...judged.hard, ...judged.tools];
  const others = context.nodes
    .filter((other) => other.id !== node.id)
    .map((other) => rejection(judge(other, self, request, context), reasonOf('other', why)));
  if (reasons.length > 0) {
    const refused: Rejection = {
      id: node.id,
      name: node.name,
      reasons,
      relaxable: false,
      passing: isPassing(node, reasons),
    };
    return {
      kind: 'impossible',
      code: codeOf(reasons),
      message: impossibleMessage([refused], self.id),
      rejected: [refused, ...others],
    };
  }
  const expected = expectedOf(self, request, context);
  const ordered = ranked(rank(request.jobClass, [node], expected, context.random), self, request, why);
  return {
    kind: 'candidates',
    ordered,
    rejected: others,
    route: routeOf(ordered),
    automatic: false,
    expected,
    passedOver: [],
  };
}

function placeAutomatically(self: Candidate, request: PlacementRequest, context: PlacementContext): Placement {
  const judged = context.nodes.map((node) => judge(node, self, request, context));
  const expected = expectedOf(self, request, context);
  const choice = choose(judged, self, request, expected);
  const chosen = new Set(choice.nodes.map((node) => node.id));
  const rejected = judged
    .filter(({ node }) => !chosen.has(node.id))
    .map((item) => rejection(item, choice.othersStayOut))
    .concat((context.unheard ?? []).map(unheardRejection));
  if (choice.nodes.length === 0) {
    const [only, ...more] = rejected;
    const code = only !== undefined && more.length === 0 ? codeOf(only.reasons) : 'no_capable_node';
    return { kind: 'impossible', code, message: impossibleMessage(rejected, self.id), rejected };
  }
  const notes = choice.othersStayOut === null ? routeNotes(rejected, context.refusals) : '';
  const scored = rank(request.jobClass, choice.nodes, expected, context.random);
  const slow = context.backlog === undefined ? [] : passedOver(scored, context.backlog);
  const taken = scored.filter(({ node }) => !slow.some((item) => item.node.id === node.id));
  const ordered = ranked(taken, self, request, choice.why + notes);
  const left = [...rejected, ...slow.map(slowRejection)];
  return {
    kind: 'candidates',
    ordered,
    rejected: left,
    route: routeOf(ordered),
    automatic: true,
    expected,
    passedOver: slow,
  };
}

const UNHEARD_REASONS: readonly Reason[] = [
  reasonOf('state', 'is known, but nothing was heard of it since this node started, or for a day'),
  reasonOf('unreachable', 'has no link to this node'),
];

function unheardRejection({ id, name }: UnheardMember): Rejection {
  return { id, name, reasons: UNHEARD_REASONS, relaxable: false, passing: false };
}

function expectedOf(
  self: Candidate,
  { jobClass, workspace }: PlacementRequest,
  context: PlacementContext,
): Expectation {
  return expectationOf(jobClass, self.facts.cores, context.history ?? NO_HISTORY, workspace?.bytesTo ?? null);
}

function slowRejection({ node, faster, thereS, fasterS }: PassedOver): Rejection {
  const [there, sooner] = [thereS, fasterS].map((seconds) => formatDuration(seconds * MS_PER_SECOND));
  const text = `is slow: about ${there} there, ${sooner} with the wait for ${faster.name}`;
  return { id: node.id, name: node.name, reasons: [reasonOf('other', text)], relaxable: false, passing: true };
}

function rejection(item: Judged, stayOut: Reason | null): Rejection {
  const reasons = reasonsOf(item);
  const relaxable = stayOut === null && reasons.length > 0 && reasons.length === item.platform.length;
  const all = stayOut === null ? reasons : [...reasons, stayOut];
  return { id: item.node.id, name: item.node.name, reasons: all, relaxable, passing: isPassing(item.node, all) };
}

/** Reasons that may go away by themselves, on a node that is not gone. */
const isPassing = (node: Candidate, reasons: readonly Reason[]): boolean =>
  (node.state === 'alive' || node.state === 'suspect') &&
  reasons.every(({ code }) => code === 'state' || code === 'unreachable' || code === 'memory');

function ranked(scored: readonly Scored[], self: Candidate, request: PlacementRequest, why: string): RankedCandidate[] {
  return scored.map(({ node, score }) => ({
    id: node.id,
    name: node.name,
    isSelf: node.isSelf,
    score,
    overloaded: node.load?.overloaded ?? false,
    freeSlots: freeSlots(node),
    route: `${node.isSelf ? 'here' : node.name}: ${why}`,
    tools: toolDifferences(request.tools, self.facts, node.facts),
  }));
}

const routeOf = (ordered: readonly RankedCandidate[]): string => ordered[0]?.route ?? '';

/** What a refusal by a single, named node is called. */
function codeOf(reasons: readonly Reason[]): ErrorCode {
  const codes = new Set(reasons.map((reason) => reason.code));
  if (codes.has('state') || codes.has('unreachable')) return 'node_unreachable';
  if (codes.has('too_large')) return 'too_large';
  if (codes.has('needs_prepare')) return 'needs_prepare';
  if (codes.has('sync')) return 'sync_failed';
  if (codes.has('cwd_missing')) return 'cwd_missing';
  if (codes.has('cwd_not_allowed')) return 'cwd_not_allowed';
  if (codes.has('exec_off') || codes.has('denied') || codes.has('not_accepted')) return 'refused';
  return 'no_capable_node';
}
