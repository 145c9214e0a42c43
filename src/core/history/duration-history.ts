import type { NodeId } from '../../base/ids.ts';
import type { CommandKey } from './command-key.ts';
import { median, spreadOf } from './robust.ts';

/** Of each command the last runs count: what it does changes with the project. */
export const SAMPLES_MAX = 9;
/** Keys kept, both kinds; the longest unused goes first. About 0.5 MB on the disk. */
export const KEYS_MAX = 6000;
export const NODES_MAX = 256;
/** Comparisons kept of each node. */
export const COMPARISONS_MAX = 31;
/** A node's slowness is believed from so many comparisons on. */
const COMPARISONS_MIN = 3;
/** Shorter runs are mostly start-up, and say nothing of how fast a node is. */
const COMPARED_S_MIN = 0.1;
/** No real node is further from another. */
const SLOWNESS_MAX = 50;
/** Runs of commands that differ in numbers tell something of another one only where they are so many and this alike. */
const GENERAL_SAMPLES_MIN = 3;
const GENERAL_SPREAD_MAX = 2;

/** One successful run. */
export interface Sample {
  readonly node: NodeId;
  readonly seconds: number;
}

/** What is known of how long commands take, as it is stored. */
export interface HistorySnapshot {
  /** Longest unused first. */
  readonly runs: readonly { readonly key: string; readonly samples: readonly Sample[] }[];
  /** Base-2 logarithms of how many times longer runs took there than elsewhere. */
  readonly nodes: readonly { readonly node: NodeId; readonly comparisons: readonly number[] }[];
}

/**
 * Durations by command, and how slow each node is. Pure and bounded. A duration is told for a node of slowness 1; what
 * that is does not matter, since every figure is told relative to the same.
 */
export class DurationHistory {
  /** In order of use. */
  readonly #runs = new Map<string, readonly Sample[]>();
  readonly #comparisons = new Map<NodeId, readonly number[]>();
  readonly #slowness = new Map<NodeId, number>();

  constructor(snapshot: HistorySnapshot = { runs: [], nodes: [] }) {
    for (const { key, samples } of snapshot.runs) this.#runs.set(key, samples.slice(-SAMPLES_MAX));
    for (const { node, comparisons } of snapshot.nodes) this.#setComparisons(node, comparisons);
    dropOldest(this.#runs, KEYS_MAX);
  }

  get size(): number {
    return this.#runs.size;
  }

  /** @param seconds how long a successful run took there */
  record(key: CommandKey, node: NodeId, seconds: number): void {
    this.#compare(key, node, seconds);
    for (const name of [key.exact, key.general]) {
      const samples = [...(this.#runs.get(name) ?? []), { node, seconds }].slice(-SAMPLES_MAX);
      this.#runs.delete(name);
      this.#runs.set(name, samples);
    }
    dropOldest(this.#runs, KEYS_MAX);
  }

  /** Seconds on a node of slowness 1; null where nobody knows. */
  estimate(key: CommandKey): number | null {
    const exact = this.#normalised(key.exact);
    if (exact.length > 0) return median(exact);
    const general = this.#normalised(key.general);
    if (general.length < GENERAL_SAMPLES_MIN || spreadOf(general) > GENERAL_SPREAD_MAX) return null;
    return median(general);
  }

  /** How many times longer commands take there; null where too little is known. */
  slownessOf(node: NodeId): number | null {
    return this.#slowness.get(node) ?? null;
  }

  snapshot(): HistorySnapshot {
    return {
      runs: [...this.#runs].map(([key, samples]) => ({ key, samples })),
      nodes: [...this.#comparisons].map(([node, comparisons]) => ({ node, comparisons })),
    };
  }

  #normalised(name: string): number[] {
    return (this.#runs.get(name) ?? []).map((sample) => this.#inOrdinarySeconds(sample));
  }

  #inOrdinarySeconds({ node, seconds }: Sample): number {
    return seconds / (this.#slowness.get(node) ?? 1);
  }

  /** With what the other nodes say. Of single runs that differ in numbers, the median over many is still right. */
  #compare(key: CommandKey, node: NodeId, seconds: number): void {
    const elsewhere = (name: string): Sample[] => (this.#runs.get(name) ?? []).filter((sample) => sample.node !== node);
    const exact = elsewhere(key.exact);
    const samples = exact.length > 0 ? exact : elsewhere(key.general);
    if (samples.length < (exact.length > 0 ? 1 : GENERAL_SAMPLES_MIN)) return;
    const expected = median(samples.map((sample) => this.#inOrdinarySeconds(sample)));
    if (expected < COMPARED_S_MIN || seconds <= 0) return;
    const ratio = Math.min(SLOWNESS_MAX, Math.max(1 / SLOWNESS_MAX, seconds / expected));
    this.#addComparison(node, Math.log2(ratio));
    // What a node was compared with counts as ordinary until it is known better: then that much is known of it.
    for (const other of new Set(samples.map((sample) => sample.node))) {
      if (!this.#slowness.has(other)) this.#addComparison(other, 0);
    }
  }

  #addComparison(node: NodeId, comparison: number): void {
    this.#setComparisons(node, [...(this.#comparisons.get(node) ?? []), comparison]);
  }

  #setComparisons(node: NodeId, comparisons: readonly number[]): void {
    const kept = comparisons.slice(-COMPARISONS_MAX);
    this.#comparisons.delete(node);
    this.#comparisons.set(node, kept);
    if (kept.length >= COMPARISONS_MIN) this.#slowness.set(node, 2 ** median(kept));
    for (const dropped of dropOldest(this.#comparisons, NODES_MAX)) this.#slowness.delete(dropped);
  }
}

function dropOldest<K>(map: Map<K, unknown>, sizeMax: number): K[] {
  const dropped: K[] = [];
  for (const key of map.keys()) {
    if (map.size <= sizeMax) break;
    map.delete(key);
    dropped.push(key);
  }
  return dropped;
}
