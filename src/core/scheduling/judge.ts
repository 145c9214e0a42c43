import { unreachable } from '../../base/assert.ts';
import type { NodeId } from '../../base/ids.ts';
import type { Random } from '../../base/random.ts';
import type { Reason } from '../../wire/jobs.ts';
import type { Candidate, UnheardMember } from './candidate.ts';
import type { Backlog } from './patience.ts';
import type { JobHistory, PlacementRequest, ToolRules } from './placement-request.ts';
import { missingToolReasons, platformReasons } from './platform.ts';
import { reasonOf } from './reason.ts';
import { requirementReasons } from './requirements.ts';

export interface PlacementContext {
  /** Every node, this one included. */
  readonly nodes: readonly Candidate[];
  /** Members that are none of `nodes`; nobody where this is not given. */
  readonly unheard?: readonly UnheardMember[];
  readonly rules: ToolRules;
  readonly random: Random;
  /** What executors already answered to this job, for good. */
  readonly refusals?: ReadonlyMap<NodeId, readonly Reason[]>;
  /** Of this job. */
  readonly history?: JobHistory;
  /** Of a job that waits for a slot; without it no node is passed over for being slow. */
  readonly backlog?: Backlog;
}

/** What filtering says of one node. Kept apart, because the groups bind differently. */
export interface Judged {
  readonly node: Candidate;
  /** State, link, roles, stated requirements, the project's files, earlier refusals: bind always. */
  readonly hard: readonly Reason[];
  /** Own tools that are missing: bind everywhere but here, where the shell itself would say so. */
  readonly tools: readonly Reason[];
  /** The same-platform rule: binds automatic routing to other nodes. */
  readonly platform: readonly Reason[];
}

export function judge(node: Candidate, self: Candidate, request: PlacementRequest, context: PlacementContext): Judged {
  const hasTool = toolCheck(node, request, context);
  const stated = [...stateReasons(node), ...requirementReasons(request.requires, node.facts, node.load, hasTool)];
  if (isAutomatic(request) && request.avoid?.includes(node.id) === true) {
    stated.push(reasonOf('other', 'is to be avoided: another copy runs there'));
  }
  stated.push(...filesReasons(node, request));
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

/** What speaks against sending the project's files to another node. */
function filesReasons(node: Candidate, request: PlacementRequest): Reason[] {
  const { workspace } = request;
  if (workspace === undefined || node.isSelf) return [];
  const { refused, staysHere } = workspace;
  const binding = isAutomatic(request) && staysHere?.text !== refused?.text ? [refused, staysHere] : [refused];
  return binding.flatMap((reason) => (reason === null ? [] : reasonOf(reason.code, reason.text)));
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

export const reasonsOf = (item: Judged): Reason[] => [...item.hard, ...item.tools, ...item.platform];

const isAutomatic = ({ target }: PlacementRequest): boolean => target.kind === 'bash' || target.kind === 'any';

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
