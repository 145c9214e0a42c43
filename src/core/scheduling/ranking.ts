import { pick, type Random } from '../../base/random.ts';
import { committedSlots, freeSlots, type Candidate } from './candidate.ts';
import { scoreOf, type Expectation, type ScoreTerms } from './score.ts';
import type { JobClass } from './placement-request.ts';

export interface Scored {
  readonly node: Candidate;
  readonly score: ScoreTerms;
}

/** Scores closer than this to the best are the same: estimates are not better than that. */
const TIE_SHARE = 0.1;
/** Ties are looked at for so many places; nobody tries more nodes in a round. */
const TIE_PLACES_MAX = 8;

/**
 * Best first. An overloaded node yields to every node that is not overloaded and has a free slot, and only to those; what
 * has no free slot comes last, since it would refuse. Within that, the estimated finish time decides, near ties the
 * share of slots taken, then the fewest bytes to send, then chance.
 */
export function rank(jobClass: JobClass, nodes: readonly Candidate[], expected: Expectation, random: Random): Scored[] {
  const scored = nodes.map((node) => ({ node, score: scoreOf(jobClass, node, expected) }));
  return [0, 1, 2].flatMap((tier) =>
    order(
      scored.filter(({ node }) => tierOf(node) === tier),
      random,
    ),
  );
}

function tierOf(node: Candidate): 0 | 1 | 2 {
  if (freeSlots(node) <= 0) return 2;
  return node.load?.overloaded === true ? 1 : 0;
}

const takenShare = ({ node }: Scored): number => committedSlots(node) / Math.max(1, node.facts.slots);

/** Of estimates that are the same, what is certain: nothing is sent to this node, little to one that has the files. */
const bytesToSend = ({ score }: Scored): number => score.syncBytes ?? -1;

function leastOf(items: readonly Scored[], value: (item: Scored) => number): Scored[] {
  const least = Math.min(...items.map(value));
  return items.filter((item) => value(item) === least);
}

function order(items: readonly Scored[], random: Random): Scored[] {
  const rest = [...items].sort((a, b) => a.score.finishS - b.score.finishS);
  const ordered: Scored[] = [];
  while (rest.length > 0 && ordered.length < TIE_PLACES_MAX) {
    const limitS = (rest[0]?.score.finishS ?? 0) * (1 + TIE_SHARE);
    const tied = rest.filter((item) => item.score.finishS <= limitS);
    const chosen = pick(random, leastOf(leastOf(tied, takenShare), bytesToSend));
    if (chosen === undefined) break;
    ordered.push(chosen);
    rest.splice(rest.indexOf(chosen), 1);
  }
  return [...ordered, ...rest];
}
