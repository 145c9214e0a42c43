import { formatDuration, MS_PER_SECOND } from '../../base/units.ts';
import type { Reason } from '../../wire/jobs.ts';
import { freeSlots, type Candidate } from './candidate.ts';
import { reasonsOf, type Judged } from './judge.ts';
import type { PlacementRequest } from './placement-request.ts';
import { reasonOf, textOf } from './reason.ts';
import type { Expectation } from './score.ts';

/** A command known to take less here is not worth sending away: the way there and back costs about as much. */
const SHORT_S = 1;

/** Between what a route says of the class and of what keeps the command here. */
const STAYS_HERE = ', but stays here: ';

/** Did that alone keep it here, by its route? A command may stay for other reasons as well, that nobody need act on. */
export const staysBecause = (route: string, staysHere: { readonly text: string }): boolean =>
  route.includes(STAYS_HERE + staysHere.text);

/** Where a job may go, and the one line that says why. */
export interface Choice {
  readonly nodes: readonly Candidate[];
  readonly why: string;
  /** Why the other capable nodes are not considered; null where they are. */
  readonly othersStayOut: Reason | null;
}

export function choose(
  judged: readonly Judged[],
  self: Candidate,
  request: PlacementRequest,
  expected: Expectation,
): Choice {
  const label = request.classReason;
  const here = judged.find((item) => item.node.isSelf);
  const hereMeets = here !== undefined && here.hard.length === 0;
  if (request.jobClass === 'bound') {
    const why = `${label}, so it stays here`;
    const only = reasonOf('other', 'bound commands stay here unless a node is named');
    return { nodes: hereMeets ? [self] : [], why, othersStayOut: only };
  }
  const products = productsIn(judged, request);
  if (products?.kind === 'there') return products.choice;
  const note = products?.note ?? '';
  const hereCapable = hereMeets && here.tools.length === 0;
  const stays =
    request.target.kind === 'bash' &&
    (request.jobClass === 'light' || (request.jobClass === 'other' && self.load?.overloaded !== true));
  if (stays && hereCapable) {
    const only = request.jobClass === 'light' ? 'light commands stay here' : 'only heavy commands leave a calm node';
    return { nodes: [self], why: `${label}, so it stays here${note}`, othersStayOut: reasonOf('other', only) };
  }
  const took = expected.source === 'history' ? formatDuration(expected.hereS * MS_PER_SECOND) : null;
  const isShort = took !== null && expected.hereS < SHORT_S;
  if (request.target.kind === 'bash' && isShort && isCalm(self) && hereCapable) {
    const why = `${label}, but took ${took} here before, so it stays here${note}`;
    const limit = formatDuration(SHORT_S * MS_PER_SECOND);
    const only = reasonOf('other', `commands known to take less than ${limit} stay here`);
    return { nodes: [self], why, othersStayOut: only };
  }
  return { ...chooseByEstimate(judged, self, request, took, note), othersStayOut: null };
}

/** Among all that are capable. */
function chooseByEstimate(
  judged: readonly Judged[],
  self: Candidate,
  request: PlacementRequest,
  took: string | null,
  note: string,
): Pick<Choice, 'nodes' | 'why'> {
  const label = request.classReason;
  const capable = judged.filter((item) => reasonsOf(item).length === 0).map((item) => item.node);
  const staysHere = request.workspace?.staysHere ?? null;
  if (staysHere !== null && capable.length > 0) {
    return { nodes: capable, why: `${label}${STAYS_HERE}${staysHere.text}${note}` };
  }
  if (capable.length > 0) {
    const among = capable.length === 1 ? 'the only capable node' : `estimated best of ${capable.length} capable nodes`;
    const known = took === null || capable.length === 1 ? '' : ` (takes about ${took} here)`;
    return { nodes: capable, why: `${label}; ${among}${known}${note}` };
  }
  const here = judged.find((item) => item.node.isSelf);
  if (here === undefined || here.hard.length > 0) return { nodes: [], why: label };
  // Only its own executable is missing, everywhere: here the shell says 127, as it would without meshwork.
  const missing = textOf(here.tools);
  return { nodes: [self], why: `${label}; no other node can take it, though this one ${missing}${note}` };
}

type Products =
  | { readonly kind: 'there'; readonly choice: Choice }
  /** The command goes where it would without them; `note` tells what is missing there. */
  | { readonly kind: 'out_of_reach'; readonly note: string };

/** What an earlier command built on another node and left there is what this one may be about to run, or to build on. */
function productsIn(
  judged: readonly Judged[],
  { jobClass, classReason, workspace }: PlacementRequest,
): Products | null {
  const products = workspace?.productsAt ?? null;
  if (products === null || jobClass === 'light') return null;
  const named = `the project's newest products (${products.what})`;
  const there = judged.find(({ node }) => node.id === products.node);
  if (there === undefined || there.node.isSelf) {
    const note = there === undefined ? `; ${named} are on a node that is not known here any more` : '';
    return { kind: 'out_of_reach', note };
  }
  const reasons = reasonsOf(there);
  const { name } = there.node;
  if (reasons.length > 0) return { kind: 'out_of_reach', note: `; ${named} are on ${name}, which ${textOf(reasons)}` };
  const othersStayOut = reasonOf('products', `${named} are on ${name}`);
  return { kind: 'there', choice: { nodes: [there.node], why: `${classReason}; ${named} are there`, othersStayOut } };
}

const isCalm = (node: Candidate): boolean => node.load?.overloaded !== true && freeSlots(node) > 0;
