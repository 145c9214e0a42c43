import { MS_PER_SECOND } from '../../base/units.ts';
import { freeSlots, type Candidate } from './candidate.ts';
import type { Scored } from './ranking.ts';

/** What else waits, as far as it decides whether a slow node is better than none. */
export interface Backlog {
  /** Jobs that wait at this origin beside this one. */
  readonly jobs: number;
  /** For how long this job has been waiting for a faster node although a slow one is free. */
  readonly passedOverMs: number;
}

/** A node with a free slot that is not taken, and the faster one that is waited for. */
export interface PassedOver {
  readonly node: Candidate;
  readonly faster: Candidate;
  readonly thereS: number;
  /** With the wait. */
  readonly fasterS: number;
}

/**
 * Late in a batch a slow node that takes a job is what everybody waits for in the end: it is passed over where waiting
 * for a faster one, which is full, is estimated to end sooner, all that waits now served by the faster ones. Only where
 * earlier runs tell how slow both are. The estimate is trusted no longer than the time that it promised to save.
 */
export function passedOver(scored: readonly Scored[], backlog: Backlog): PassedOver[] {
  const judged = scored.filter(({ score }) => score.slownessSource === 'history');
  const full = judged.filter(({ node }) => freeSlots(node) <= 0 && node.load?.overloaded !== true);
  return judged.flatMap((item): PassedOver[] => {
    if (freeSlots(item.node) <= 0) return [];
    const faster = full.filter(({ score }) => score.runS < item.score.runS);
    const best = faster.reduce<Scored | null>(
      (first, other) => (first === null || other.score.finishS < first.score.finishS ? other : first),
      null,
    );
    if (best === null) return [];
    const slots = faster.reduce((sum, { node }) => sum + Math.max(1, node.facts.slots), 0);
    const fasterS = best.score.finishS + (backlog.jobs * best.score.runS) / slots;
    const thereS = item.score.finishS;
    const gainS = thereS - fasterS;
    const isWorthIt = gainS > 0 && backlog.passedOverMs < gainS * MS_PER_SECOND;
    return isWorthIt ? [{ node: item.node, faster: best.node, thereS, fasterS }] : [];
  });
}
