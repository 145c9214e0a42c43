import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../../base/errors.ts';
import { decodeManifest } from '../../wire/manifest-codec.ts';
import type { EncodedManifest } from '../../wire/encoded-manifest.ts';
import type { Manifest, ManifestHash, ObjectHash } from '../../wire/manifest.ts';
import { folderOf } from '../../wire/tree-path.ts';
import type { EarlyFiles } from './early-files.ts';
import type { HeldIndexes } from './held-indexes.ts';
import { createIgnoreMatcher, type IgnoreMatcher } from './ignore-matcher.ts';
import type { EarlyPlaced, ObjectSource } from './placing.ts';
import { isDiskFull, replaceFile, type SlotPaths } from './slot-record.ts';
import type { Slot } from './slot-folders.ts';
import { TreeIndex } from './tree-index.ts';
import type { TreeState } from './tree-state.ts';

const MANIFEST_FILE = /^manifest-([0-9a-f]{64})$/;

/** The next try is told that there is none, and sends a whole one. */
export const MANIFEST_LOST = 'what the workspace should hold is not known here any more; run the command again';
const INDEXES_MAX = 2;
/** What a session between two jobs may hold in memory. */
const RESTING_ENTRIES_MAX = 200_000;

export interface ManifestNeeds {
  /** Of its files together. */
  readonly treeBytes: number;
}

/** Files that are made while packs come. */
export type Early =
  | { readonly kind: 'none' }
  /** For those objects: what must be judged before anything is made. */
  | { readonly kind: 'waiting'; readonly judged: readonly ObjectHash[] }
  | { readonly kind: 'placing'; readonly files: EarlyFiles };

/**
 * A slot's folder in somebody's hands. All that matters is on the disk too, since the thread may end between two calls;
 * what is held here saves reading it again.
 */
export class SlotSession {
  slot: Slot;
  isClosed = false;
  /** Bytes of objects that were asked for and have not come. */
  awaitedBytes = 0;
  early: Early = { kind: 'none' };
  /**
   * What lay in the tree when its job's changes were collected. On the disk when the slot is released, not before: whoever
   * collects them once more, after a crash, is to tell what the job made from what it found.
   */
  collected: { readonly state: TreeState; readonly atMs: number } | null = null;
  readonly #objects: ObjectSource;
  readonly #held: HeldIndexes;
  /** Of the manifest that is placed and the one that comes: the latest at the end. */
  readonly #indexes = new Map<ManifestHash, TreeIndex>();
  /** A manifest of which the store had all objects but these, while it had lost so many. */
  #needed: {
    readonly hash: ManifestHash;
    readonly needs: ManifestNeeds;
    readonly losses: number;
    readonly lacking: readonly ObjectHash[];
  } | null = null;
  /** Calls about one slot wait for each other. */
  #tail: Promise<unknown> = Promise.resolve();

  /** @param held of all sessions */
  constructor(slot: Slot, objects: ObjectSource, held: HeldIndexes) {
    this.slot = slot;
    this.#objects = objects;
    this.#held = held;
  }

  /** An origin's store is made anew where it was dropped meanwhile. */
  isOn(objects: ObjectSource): boolean {
    return this.#objects === objects;
  }

  /** Runs when all that was asked before is done, well or not. */
  inTurn<T>(act: () => Promise<T> | T): Promise<T> {
    const result = this.#tail.then(act);
    // Whoever asked is told how it ended; who comes next does not care.
    this.#tail = Promise.allSettled([result]);
    return result;
  }

  /** @throws MeshError `io` where the manifest that is placed, or comes, isn't there any more */
  indexOf(hash: ManifestHash): TreeIndex {
    const known = this.#indexes.get(hash);
    if (known !== undefined) {
      this.#use(hash, known);
      return known;
    }
    const manifest = readManifest(this.slot.paths, hash);
    if (manifest === null) throw new MeshError('io', MANIFEST_LOST);
    return this.hold(hash, manifest);
  }

  holds(hash: ManifestHash): boolean {
    return this.#indexes.has(hash);
  }

  /** Keeps a manifest that was just decoded. */
  hold(hash: ManifestHash, manifest: Manifest, encoded: EncodedManifest | null = null): TreeIndex {
    const { manifest: placed } = this.slot.record;
    const base = placed === null ? undefined : this.#indexes.get(placed);
    const index = new TreeIndex(manifest, base ?? null, encoded);
    this.#forget(hash);
    this.#indexes.set(hash, index);
    for (const oldest of this.#indexes.keys()) {
      if (this.#indexes.size <= INDEXES_MAX) break;
      this.#forget(oldest);
    }
    this.#use(hash, index);
    return index;
  }

  /** @returns null where nothing was made. @throws the system's error */
  endEarly(): EarlyPlaced | null {
    const { early } = this;
    this.early = { kind: 'none' };
    return early.kind === 'placing' ? early.files.end() : null;
  }

  /** When the slot is free. Without it what was noted at the placing holds: the next one looks at what differs. */
  noteCollected(): void {
    const { collected } = this;
    this.collected = null;
    try {
      collected?.state.write(this.slot.paths.state, collected.atMs, 'collected');
    } catch (error) {
      if (!isDiskFull(error)) throw error;
    }
  }

  /** Between two jobs that one alone is needed. @returns whether it is small enough to be kept */
  rest(): boolean {
    const { manifest } = this.slot.record;
    for (const hash of this.#indexes.keys()) if (hash !== manifest) this.#forget(hash);
    const index = manifest === null ? undefined : this.#indexes.get(manifest);
    if (index !== undefined && index.manifest.entries.length <= RESTING_ENTRIES_MAX) return true;
    this.forgetAll();
    return false;
  }

  /** It is used no more. */
  forgetAll(): void {
    for (const hash of this.#indexes.keys()) this.#forget(hash);
  }

  #use(hash: ManifestHash, index: TreeIndex): void {
    this.#held.use(index, () => this.#indexes.delete(hash));
  }

  #forget(hash: ManifestHash): void {
    const index = this.#indexes.get(hash);
    if (index !== undefined) this.#held.drop(index);
    this.#indexes.delete(hash);
  }

  /** What a manifest needs of the store, where that has all of it. @param losses of the store, see ObjectStore */
  completeNeeds(hash: ManifestHash, losses: number): ManifestNeeds | null {
    const needed = this.#needed;
    const isComplete = needed?.hash === hash && needed.losses === losses && needed.lacking.length === 0;
    return isComplete ? needed.needs : null;
  }

  /** @param lacking what the store has not yet */
  noteNeeds(hash: ManifestHash, needs: ManifestNeeds, losses: number, lacking: readonly ObjectHash[]): void {
    this.#needed = { hash, needs, losses, lacking };
  }

  /** Packs came: what was lacking may be there. */
  noteArrived(has: (object: ObjectHash) => boolean): void {
    if (this.#needed?.lacking.every(has) === true) this.#needed = { ...this.#needed, lacking: [] };
  }

  /** With the .gitignore files as they were sent: those that lie there may be a job's. */
  matcherFor(index: TreeIndex): IgnoreMatcher {
    const gitignores = new Map<string, string>();
    for (const entry of index.filesNamed('gitignores')) {
      if (entry.chunks !== null) continue;
      const content = this.#objects.read(entry.hash);
      if (content !== null) gitignores.set(folderOf(entry.path), Buffer.from(content).toString('latin1'));
    }
    return createIgnoreMatcher({ isGit: this.slot.record.isGit, rules: this.slot.record.rules, gitignores });
  }
}

/** @returns null where it isn't there, or was damaged, as by a power cut: such a one is removed, so that it comes again */
export function readManifest(paths: SlotPaths, hash: ManifestHash): Manifest | null {
  const path = paths.manifest(hash);
  if (!existsSync(path)) return null;
  const bytes = readFileSync(path);
  const manifest = hashOfManifest(bytes) === hash ? decodeManifest(bytes) : null;
  if (manifest?.ok === true) return manifest.value;
  rmSync(path, { force: true });
  return null;
}

export function writeManifest(paths: SlotPaths, hash: ManifestHash, encoded: Uint8Array): void {
  replaceFile(paths.manifest(hash), encoded);
}

/** Of the largest of those manifests, as they are on the disk; 0 where none is. */
export function manifestBytes(paths: SlotPaths, hashes: readonly (ManifestHash | null)[]): number {
  const sizes = hashes.map((hash) =>
    hash === null ? 0 : (statSync(paths.manifest(hash), { throwIfNoEntry: false })?.size ?? 0),
  );
  return Math.max(0, ...sizes);
}

/** Deletes the manifests that neither were placed nor come. */
export function forgetManifests(paths: SlotPaths, keep: readonly (ManifestHash | null)[]): void {
  for (const name of readdirSync(paths.meta)) {
    const hash = MANIFEST_FILE.exec(name)?.[1];
    if (hash !== undefined && !keep.some((kept) => kept === hash)) rmSync(join(paths.meta, name), { force: true });
  }
}

export function hashOfManifest(encoded: Uint8Array): ManifestHash {
  return createHash('sha256').update(encoded).digest('hex') as ManifestHash;
}
