import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { MeshError } from '../../base/errors.ts';
import { decodeManifest } from '../../wire/manifest-codec.ts';
import type { Manifest, ManifestHash } from '../../wire/manifest.ts';
import { folderOf } from '../../wire/tree-path.ts';
import { createIgnoreMatcher, type IgnoreMatcher } from './ignore-matcher.ts';
import type { ObjectSource } from './placing.ts';
import { isGitignore } from './sent-git-config.ts';
import { replaceFile, type SlotPaths } from './slot-record.ts';
import type { Slot } from './slot-folders.ts';
import { TreeIndex } from './tree-index.ts';

const MANIFEST_FILE = /^manifest-([0-9a-f]{64})$/;

/**
 * A slot's folder in somebody's hands. All that matters is on the disk too, since the thread may end between two calls;
 * what is held here saves reading it again.
 */
export class SlotSession {
  slot: Slot;
  isClosed = false;
  /** Bytes of objects that were asked for and have not come. */
  awaitedBytes = 0;
  readonly #objects: ObjectSource;
  #index: { readonly hash: ManifestHash; readonly index: TreeIndex } | null = null;
  /** Calls about one slot wait for each other. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor(slot: Slot, objects: ObjectSource) {
    this.slot = slot;
    this.#objects = objects;
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
    if (this.#index?.hash === hash) return this.#index.index;
    const manifest = readManifest(this.slot.paths, hash);
    if (manifest === null)
      throw new MeshError('io', 'what the workspace should hold is not known here any more; run the command again');
    return this.hold(hash, manifest);
  }

  holds(hash: ManifestHash): boolean {
    return this.#index?.hash === hash;
  }

  /** Keeps a manifest that was just decoded. */
  hold(hash: ManifestHash, manifest: Manifest): TreeIndex {
    const index = new TreeIndex(manifest);
    this.#index = { hash, index };
    return index;
  }

  /** With the .gitignore files as they were sent: those that lie there may be a job's. */
  matcherFor(index: TreeIndex): IgnoreMatcher {
    const gitignores = new Map<string, string>();
    for (const entry of index.manifest.entries) {
      if (entry.kind !== 'file' || entry.chunks !== null || !isGitignore(entry.path)) continue;
      const content = this.#objects.read(entry.hash);
      if (content !== null) gitignores.set(folderOf(entry.path), Buffer.from(content).toString('latin1'));
    }
    return createIgnoreMatcher({ isGit: this.slot.record.isGit, rules: this.slot.record.rules, gitignores });
  }
}

/** @returns null where it isn't there, or damaged */
export function readManifest(paths: SlotPaths, hash: ManifestHash): Manifest | null {
  const path = paths.manifest(hash);
  if (!existsSync(path)) return null;
  const bytes = readFileSync(path);
  if (hashOfManifest(bytes) !== hash) return null;
  const manifest = decodeManifest(bytes);
  return manifest.ok ? manifest.value : null;
}

export function writeManifest(paths: SlotPaths, hash: ManifestHash, encoded: Uint8Array): void {
  replaceFile(paths.manifest(hash), encoded);
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
