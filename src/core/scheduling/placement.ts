import { assert, unreachable } from '../../base/assert.ts';
import type { ErrorCode } from '../../base/errors.ts';
import type { NodeId } from '../../base/ids.ts';
import type { Random } from '../../base/random.ts';
import type { Reason } from '../../wire/jobs.ts';
import { freeSlots, type Candidate, type Rejection } from './candidate.ts';
import { formatDuration, MS_PER_SECOND } from '../../base/units.ts';
import { lookupNode } from './node-lookup.ts';
import { passedOver, type Backlog, type PassedOver } from './patience.ts';
import { NO_HISTORY, type JobHistory, type PlacementRequest, type ToolRules } from './placement-request.ts';
import { missingToolReasons, platformReasons, toolDifferences } from './platform.ts';
import { rank, type Scored } from './ranking.ts';
import { reasonOf } from './reason.ts';
import { requirementReasons } from './requirements.ts';
import { impossibleMessage, routeNotes } from './route.ts';
import { expectationOf, type Expectation, type ScoreTerms } from './score.ts';

/** A command known to take less here is not worth sending away: the way there and back costs about as much. */
const SHORT_S = 1;

export interface PlacementContext {
  /** Every node, this one included. */
  readonly nodes: readonly Candidate[];
  readonly rules: ToolRules;
  readonly random: Random;
  /** What executors already answered to this job, for good. */
  readonly refusals?: ReadonlyMap<NodeId, readonly Reason[]>;
  /** Of this job. */
  readonly history?: JobHistory;
  /** Of a job that waits for a slot; without it no node is passed over for being slow. */
  readonly backlog?: Backlog;
}

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

/** What filtering says of one node. Kept apart, because the groups bind differently. */
interface Judged {
  readonly node: Candidate;
  /** State, link, roles, stated requirements, earlier refusals: bind always. */
  readonly hard: readonly Reason[];
  /** Own tools that are missing: bind everywhere but here, where the shell itself would say so. */
  readonly tools: readonly Reason[];
  /** The same-platform rule: binds automatic routing to other nodes. */
  readonly platform: readonly Reason[];
}

/** Where a job may go, and the one line that says why. */
interface Choice {
  readonly nodes: readonly Candidate[];
  readonly why: string;
  /** Why the other capable nodes are not considered; null where they are. */
  readonly othersStayOut: string | null;
}

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
    const found = lookupNode(target.node, context.nodes);
    if (!found.ok) return { kind: 'impossible', code: found.error.code, message: found.error.message, rejected: [] };
    return placeOn(found.value, self, request, context, `${found.value.name} was named`);
  }
  if (target.kind === 'local') return placeOn(self, self, request, context, 'this node was asked for');
  return placeAutomatically(self, request, context);
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
    .map((other) => rejection(judge(other, self, request, context), why));
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
    .map((item) => rejection(item, choice.othersStayOut));
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

function expectedOf(self: Candidate, { jobClass }: PlacementRequest, context: PlacementContext): Expectation {
  const { durationS, slownessOf } = context.history ?? NO_HISTORY;
  return expectationOf(jobClass, self.facts.cores, durationS, slownessOf);
}

function choose(judged: readonly Judged[], self: Candidate, request: PlacementRequest, expected: Expectation): Choice {
  const label = request.classReason;
  const here = judged.find((item) => item.node.isSelf);
  const hereMeets = here !== undefined && here.hard.length === 0;
  if (request.jobClass === 'bound') {
    const why = `${label}, so it stays here`;
    return { nodes: hereMeets ? [self] : [], why, othersStayOut: 'bound commands stay here unless a node is named' };
  }
  const hereCapable = hereMeets && here.tools.length === 0;
  const stays =
    request.target.kind === 'bash' &&
    (request.jobClass === 'light' || (request.jobClass === 'other' && self.load?.overloaded !== true));
  if (stays && hereCapable) {
    const only = request.jobClass === 'light' ? 'light commands stay here' : 'only heavy commands leave a calm node';
    return { nodes: [self], why: `${label}, so it stays here`, othersStayOut: only };
  }
  const took = expected.source === 'history' ? formatDuration(expected.hereS * MS_PER_SECOND) : null;
  const isShort = took !== null && expected.hereS < SHORT_S;
  if (request.target.kind === 'bash' && isShort && isCalm(self) && hereCapable) {
    const why = `${label}, but took ${took} here before, so it stays here`;
    const limit = formatDuration(SHORT_S * MS_PER_SECOND);
    return { nodes: [self], why, othersStayOut: `commands known to take less than ${limit} stay here` };
  }
  const capable = judged.filter((item) => reasonsOf(item).length === 0).map((item) => item.node);
  if (capable.length > 0) {
    const among = capable.length === 1 ? 'the only capable node' : `estimated best of ${capable.length} capable nodes`;
    const known = took === null || capable.length === 1 ? '' : ` (takes about ${took} here)`;
    return { nodes: capable, why: `${label}; ${among}${known}`, othersStayOut: null };
  }
  // Only its own executable is missing, everywhere: here the shell says 127, as it would without meshwork.
  const missing = here?.tools.map((reason) => reason.text).join('; ') ?? '';
  if (hereMeets)
    return {
      nodes: [self],
      why: `${label}; no other node can take it, though this one ${missing}`,
      othersStayOut: null,
    };
  return { nodes: [], why: label, othersStayOut: null };
}

const isCalm = (node: Candidate): boolean => node.load?.overloaded !== true && freeSlots(node) > 0;

function judge(node: Candidate, self: Candidate, request: PlacementRequest, context: PlacementContext): Judged {
  const hasTool = toolCheck(node, request, context);
  const stated = [...stateReasons(node), ...requirementReasons(request.requires, node.facts, node.load, hasTool)];
  if (isAutomatic(request) && request.avoid?.includes(node.id) === true) {
    stated.push(reasonOf('other', 'is to be avoided: another copy runs there'));
  }
  const tools = missingToolReasons(request, hasTool);
  // What the facts say already, an executor that was asked says again.
  const known = new Set([...stated, ...tools].map(({ text }) => text));
  const refused = (context.refusals?.get(node.id) ?? []).filter(({ text }) => !known.has(text));
  return {
    node,
    hard: [...stated, ...refused],
    tools,
    platform: node.isSelf ? [] : platformReasons(request, self.facts, node.facts, context.rules),
  };
}

/**
 * Facts list the usual tools. One that no node lists and that is not usual may be anywhere: other nodes are taken to
 * have it, and look on their PATH when they are asked for a slot.
 */
function toolCheck(node: Candidate, request: PlacementRequest, context: PlacementContext): (tool: string) => boolean {
  return (tool) => {
    if (lists(node, tool)) return true;
    if (node.isSelf) return request.toolsHere.includes(tool);
    return !context.rules.isCatalogued(tool) && !context.nodes.some((other) => lists(other, tool));
  };
}

const lists = (node: Candidate, tool: string): boolean => Object.hasOwn(node.facts.tools, tool);

const reasonsOf = (item: Judged): Reason[] => [...item.hard, ...item.tools, ...item.platform];

const isAutomatic = ({ target }: PlacementRequest): boolean => target.kind === 'bash' || target.kind === 'any';

function slowRejection({ node, faster, thereS, fasterS }: PassedOver): Rejection {
  const [there, sooner] = [thereS, fasterS].map((seconds) => formatDuration(seconds * MS_PER_SECOND));
  const text = `is slow: about ${there} there, ${sooner} with the wait for ${faster.name}`;
  return { id: node.id, name: node.name, reasons: [reasonOf('other', text)], relaxable: false, passing: true };
}

function rejection(item: Judged, stayOut: string | null): Rejection {
  const reasons = reasonsOf(item);
  const relaxable = stayOut === null && reasons.length > 0 && reasons.length === item.platform.length;
  const all = stayOut === null ? reasons : [...reasons, reasonOf('other', stayOut)];
  return { id: item.node.id, name: item.node.name, reasons: all, relaxable, passing: isPassing(item.node, all) };
}

/** Reasons that may go away by themselves, on a node that is not gone. */
const isPassing = (node: Candidate, reasons: readonly Reason[]): boolean =>
  (node.state === 'alive' || node.state === 'suspect') &&
  reasons.every(({ code }) => code === 'state' || code === 'unreachable' || code === 'memory');

function stateReasons(node: Candidate): Reason[] {
  const reasons: Reason[] = [];
  if (!node.isSelf) {
    switch (node.state) {
      case 'alive':
        break;
      case 'suspect':
        reasons.push(reasonOf('state', 'is suspect: it went silent'));
        break;
      case 'dead':
        reasons.push(reasonOf('state', 'is dead'));
        break;
      case 'left':
        reasons.push(reasonOf('state', 'has left the mesh'));
        break;
      default:
        unreachable(node.state);
    }
    if (!node.reachable) reasons.push(reasonOf('unreachable', 'has no link to this node'));
    else if (node.load === null) reasons.push(reasonOf('state', 'has not told its load yet'));
  }
  if (!node.acceptsOurs) reasons.push(reasonOf('not_accepted', 'takes no jobs from this node'));
  if (node.facts.slots === 0) reasons.push(reasonOf('full', 'takes no jobs (0 slots)'));
  return reasons;
}

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
  if (codes.has('cwd_missing')) return 'cwd_missing';
  if (codes.has('cwd_not_allowed')) return 'cwd_not_allowed';
  if (codes.has('exec_off') || codes.has('denied') || codes.has('not_accepted')) return 'refused';
  return 'no_capable_node';
}
