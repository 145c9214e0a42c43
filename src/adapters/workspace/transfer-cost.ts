import { compareManifests } from '../../wire/manifest-difference.ts';
import type { Chunk, Manifest, ManifestEntry, ManifestHash, ObjectHash } from '../../wire/manifest.ts';
import type { ManifestStore } from './manifest-store.ts';

/** Answers that are kept: placement asks for each node, and most have one of few bases. */
const KEPT_MAX = 256;

export interface Cost {
  readonly files: number;
  readonly bytes: number;
}

/** What a node that has one manifest lacks of another. */
export class TransferCosts {
  readonly #manifests: ManifestStore;
  readonly #kept = new Map<string, Cost>();

  constructor(manifests: ManifestStore) {
    this.#manifests = manifests;
  }

  /** @param base null, or not known here any more: all is lacking */
  of(hash: ManifestHash, base: ManifestHash | null): Cost {
    if (hash === base) return { files: 0, bytes: 0 };
    const key = `${hash} ${base ?? ''}`;
    const known = this.#kept.get(key);
    if (known !== undefined) return known;
    const manifest = this.#manifests.load(hash);
    const cost =
      manifest === null ? { files: 0, bytes: 0 } : costOf(manifest, base === null ? null : this.#manifests.load(base));
    const oldest = this.#kept.keys().next();
    if (this.#kept.size >= KEPT_MAX && oldest.done !== true) this.#kept.delete(oldest.value);
    this.#kept.set(key, cost);
    return cost;
  }
}

function costOf(manifest: Manifest, base: Manifest | null): Cost {
  const put = base === null ? manifest.entries : compareManifests(base, manifest).put;
  const had = amongThem(put, base?.entries ?? []);
  let files = 0;
  let bytes = 0;
  for (const entry of put) {
    const before = had.size;
    for (const { hash, size } of objectsIn(entry)) {
      if (!had.has(hash)) bytes += size;
      had.add(hash);
    }
    if (had.size > before) files += 1;
  }
  return { files, bytes };
}

/** @returns objects of `put` that others have too: mostly few, where all of the others would be a large set */
function amongThem(put: readonly ManifestEntry[], others: readonly ManifestEntry[]): Set<ObjectHash> {
  const asked = new Set<ObjectHash>();
  const had = new Set<ObjectHash>();
  for (const { hash } of put.flatMap(objectsIn)) asked.add(hash);
  for (const entry of asked.size === 0 ? [] : others) {
    for (const { hash } of objectsIn(entry)) if (asked.has(hash)) had.add(hash);
  }
  return had;
}

const objectsIn = (entry: ManifestEntry): readonly Chunk[] => (entry.kind === 'file' ? (entry.chunks ?? [entry]) : []);
