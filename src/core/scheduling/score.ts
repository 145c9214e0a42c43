import { MS_PER_SECOND } from '../../base/units.ts';
import { committedSlots, freeSlots, type Candidate } from './candidate.ts';

/** Estimated finish time of a job on a node, and what it is made of. Seconds where the name ends in S. */
export interface ScoreTerms {
  /** The sum: lower is better. */
  readonly finishS: number;
  readonly queueWaitS: number;
  readonly runS: number;
  readonly syncS: number;
  readonly rttS: number;
  /** Cores that the job would have for itself. */
  readonly idleCores: number;
}

/** What is assumed of a job whose history nobody knows: how long on one idle core, how many cores it can use. */
const PROFILES = {
  heavy: { durationS: 60, coresUsed: 4, parallelShare: 0.8 },
  other: { durationS: 10, coresUsed: 1, parallelShare: 0 },
  bound: { durationS: 10, coresUsed: 1, parallelShare: 0 },
  light: { durationS: 1, coresUsed: 1, parallelShare: 0 },
} as const;

/** A fully busy node still gives a newcomer its share of the scheduler. */
const IDLE_SHARE_MIN = 0.02;

/**
 * DESIGN: queue wait + duration / (speed × idle share) + sync + round trip. Every job that a node has, or that we are
 * sending it, takes its share of the idle cores, so each further job raises the score a little and equal nodes with
 * equally many jobs score the same. Speed-up by cores is Amdahl's law (1967).
 */
export function scoreOf(jobClass: keyof typeof PROFILES, node: Candidate): ScoreTerms {
  const profile = PROFILES[jobClass];
  const cores = node.facts.cores;
  const idleShare = Math.max(IDLE_SHARE_MIN, 1 - (node.load?.cpu_percent ?? 0) / 100);
  const contention = 1 + committedSlots(node) * Math.min(1, profile.coresUsed / cores);
  const idleCores = (cores * idleShare) / contention;
  const runS = profile.durationS / speedup(idleCores, profile.parallelShare);
  const free = freeSlots(node);
  const queueWaitS = free > 0 ? 0 : (profile.durationS * (1 - free)) / Math.max(1, node.facts.slots);
  const rttS = node.rttMs / MS_PER_SECOND;
  const syncS = 0;
  return { finishS: queueWaitS + runS + syncS + rttS, queueWaitS, runS, syncS, rttS, idleCores };
}

/** Relative to one core; below one core the job gets just that part of it. */
function speedup(cores: number, parallelShare: number): number {
  return cores < 1 ? cores : 1 / (1 - parallelShare + parallelShare / cores);
}
