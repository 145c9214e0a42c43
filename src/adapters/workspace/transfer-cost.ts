import { compareManifests, type ManifestDifference } from '../../wire/manifest-difference.ts';
import type { Manifest, ManifestEntry, ManifestHash, ObjectHash } from '../../wire/manifest.ts';
import type { ManifestStore } from './manifest-store.ts';
import type { WantedObject } from './pack-source.ts';

/** Answers that are kept: placement asks for each node, and most have one of few bases. */
const KEPT_MAX = 256;
/** Of the latest difference, which is mostly sent right after it was asked for: larger ones are made again. */
const LATEST_ENTRIES_MAX = 1024;

export interface Cost {
  readonly files: number;
  readonly bytes: number;
}

/** What makes one manifest out of another, and what a node that has all of that one lacks for it. */
export interface Transfer {
  readonly difference: ManifestDifference;
  /** Each once, in the order of the manifest. */
  readonly lacking: readonly WantedObject[];
}

/** What a node that has one manifest lacks of another. */
export class TransferCosts {
  readonly #manifests: ManifestStore;
  readonly #kept = new Map<string, Cost>();
  #latest: { readonly key: string; readonly transfer: Transfer } | null = null;

  constructor(manifests: ManifestStore) {
    this.#manifests = manifests;
  }

  /** @param base null, or not known here any more: all is lacking */
  of(hash: ManifestHash, base: ManifestHash | null): Cost {
    if (hash === base) return { files: 0, bytes: 0 };
    const known = this.#kept.get(keyOf(hash, base));
    if (known !== undefined) return known;
    const cost = costOf(this.transfer(hash, base) ?? NOTHING);
    const oldest = this.#kept.keys().next();
    if (this.#kept.size >= KEPT_MAX && oldest.done !== true) this.#kept.delete(oldest.value);
    this.#kept.set(keyOf(hash, base), cost);
    return cost;
  }

  /** @param base null, or not known here any more: all is lacking. @returns null where the manifest isn't kept any more */
  transfer(hash: ManifestHash, base: ManifestHash | null): Transfer | null {
    const key = keyOf(hash, base);
    if (this.#latest?.key === key) return this.#latest.transfer;
    const manifest = this.#manifests.load(hash);
    if (manifest === null) return null;
    const from = base === null ? null : this.#manifests.load(base);
    const transfer = transferOf(manifest, from);
    const { difference, lacking } = transfer;
    const isSmall = difference.put.length + difference.removed.length + lacking.length <= LATEST_ENTRIES_MAX;
    if (isSmall && from !== null) this.#latest = { key, transfer };
    return transfer;
  }
}

const NOTHING: Transfer = { difference: { removed: [], put: [] }, lacking: [] };

const keyOf = (hash: ManifestHash, base: ManifestHash | null): string => `${hash} ${base ?? ''}`;

function transferOf(manifest: Manifest, base: Manifest | null): Transfer {
  const difference = base === null ? { removed: [], put: manifest.entries } : compareManifests(base, manifest);
  const had = amongThem(difference.put, base?.entries ?? []);
  const lacking: WantedObject[] = [];
  for (const entry of difference.put) {
    for (const object of objectsIn(entry)) {
      if (!had.has(object.hash)) lacking.push(object);
      had.add(object.hash);
    }
  }
  return { difference, lacking };
}

/** Objects of a file follow each other. */
function costOf({ lacking }: Transfer): Cost {
  let files = 0;
  let bytes = 0;
  let last: ManifestEntry | null = null;
  for (const { entry, size } of lacking) {
    if (entry !== last) files += 1;
    last = entry;
    bytes += size;
  }
  return { files, bytes };
}

/** @returns objects of `put` that others have too: mostly few, where all of the others would be a large set */
function amongThem(put: readonly ManifestEntry[], others: readonly ManifestEntry[]): Set<ObjectHash> {
  const asked = new Set<ObjectHash>();
  const had = new Set<ObjectHash>();
  for (const entry of put) for (const { hash } of partsOf(entry)) asked.add(hash);
  if (asked.size === 0) return had;
  for (const entry of others) for (const { hash } of partsOf(entry)) if (asked.has(hash)) had.add(hash);
  return had;
}

const partsOf = (entry: ManifestEntry) => (entry.kind === 'file' ? (entry.chunks ?? [entry]) : []);

function* objectsIn(entry: ManifestEntry): Generator<WantedObject> {
  if (entry.kind !== 'file') return;
  let offset = 0;
  for (const { hash, size } of partsOf(entry)) {
    yield { entry, hash, offset, size };
    offset += size;
  }
}
