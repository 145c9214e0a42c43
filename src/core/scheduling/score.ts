import type { NodeId } from '../../base/ids.ts';
import { MS_PER_SECOND } from '../../base/units.ts';
import { committedSlots, freeSlots, type Candidate } from './candidate.ts';
import type { JobHistory } from './placement-request.ts';

/** Estimated finish time of a job on a node, and what it is made of. Seconds where the name ends in S. */
export interface ScoreTerms {
  /** The sum: lower is better. */
  readonly finishS: number;
  readonly queueWaitS: number;
  readonly runS: number;
  readonly syncS: number;
  /** Of the project's files, those that the node lacks; null where none are sent. */
  readonly syncBytes: number | null;
  readonly rttS: number;
  /** Cores that the job would have for itself. */
  readonly idleCores: number;
  /** How many times longer it takes there than here, both idle. */
  readonly slowness: number;
  /** What `slowness` is known from: earlier runs, or the number of cores. */
  readonly slownessSource: 'history' | 'cores';
}

/** What is expected of a job before it is known where it runs. */
export interface Expectation {
  /** On this node, idle. */
  readonly hereS: number;
  readonly source: 'history' | 'class';
  readonly coresHere: number;
  /** As of earlier runs; null where too little is known. */
  readonly slownessOf: (node: NodeId) => number | null;
  /** Bytes of the project's files that a node would have to be sent; null where none are sent. */
  readonly bytesTo: ((node: NodeId) => number) | null;
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

/** Reading, compressing, a link between Wi-Fi and gigabit, writing there: between the slowest and the fastest of these. */
const SYNC_BYTES_PER_S = 25e6;
/** Open and base, manifest and wants, files and ready. */
const SYNC_ROUND_TRIPS = 3;
/** Looking through the tree there, before and after, where nothing differs. */
const SYNC_LOOK_S = 0.3;

/**
 * @param known `durationS`: how long the command took here before, null where nobody knows; `slownessOf`: how many times
 *   longer commands took there than here, null where too little is known
 * @param bytesTo see Expectation
 */
export function expectationOf(
  jobClass: keyof typeof PROFILES,
  coresHere: number,
  known: JobHistory,
  bytesTo: Expectation['bytesTo'] = null,
): Expectation {
  const { durationS, parallelShare } = PROFILES[jobClass];
  const hereS = known.durationS ?? durationS / speedup(coresHere, parallelShare);
  const source = known.durationS === null ? 'class' : 'history';
  return { hereS, source, coresHere, slownessOf: known.slownessOf, bytesTo };
}

/**
 * DESIGN: queue wait + duration / (speed × idle share) + sync + round trip. Every job that a node has, or that we are
 * sending it, takes its share of the idle cores, so each further job raises the score a little and equal nodes with
 * equally many jobs score the same. Speed-up by cores is Amdahl's law (1967); what earlier runs say of a node is
 * believed rather than its number of cores.
 */
export function scoreOf(jobClass: keyof typeof PROFILES, node: Candidate, expected: Expectation): ScoreTerms {
  const { coresUsed, parallelShare } = PROFILES[jobClass];
  const cores = node.facts.cores;
  const idleShare = Math.max(IDLE_SHARE_MIN, 1 - (node.load?.cpu_percent ?? 0) / 100);
  const contention = 1 + committedSlots(node) * Math.min(1, coresUsed / cores);
  const idleCores = (cores * idleShare) / contention;
  const known = expected.slownessOf(node.id);
  const slowness = known ?? speedup(expected.coresHere, parallelShare) / speedup(cores, parallelShare);
  const idleS = expected.hereS * slowness;
  const runS = (idleS * speedup(cores, parallelShare)) / speedup(idleCores, parallelShare);
  const free = freeSlots(node);
  const queueWaitS = free > 0 ? 0 : (idleS * (1 - free)) / Math.max(1, node.facts.slots);
  const rttS = node.rttMs / MS_PER_SECOND;
  const syncBytes = node.isSelf || expected.bytesTo === null ? null : expected.bytesTo(node.id);
  const syncS = syncBytes === null ? 0 : SYNC_LOOK_S + SYNC_ROUND_TRIPS * rttS + syncBytes / SYNC_BYTES_PER_S;
  const slownessSource = known === null ? 'cores' : 'history';
  const finishS = queueWaitS + runS + syncS + rttS;
  return { finishS, queueWaitS, runS, syncS, syncBytes, rttS, idleCores, slowness, slownessSource };
}

/** Relative to one core; below one core the job gets just that part of it. */
function speedup(cores: number, parallelShare: number): number {
  return cores < 1 ? cores : 1 / (1 - parallelShare + parallelShare / cores);
}
