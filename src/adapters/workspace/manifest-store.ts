import { hash as digest } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync } from 'node:fs';
import { systemCodeOf } from '../../base/errors.ts';
import { isJobId, type JobId } from '../../base/ids.ts';
import { type EncodedManifest, encodeAfter } from '../../wire/encoded-manifest.ts';
import { decodeManifest } from '../../wire/manifest-codec.ts';
import { isManifestHash, type Manifest, type ManifestHash } from '../../wire/manifest.ts';
import { replacePrivateFile } from './private-file.ts';

/** Beyond these, manifests go that no job needs, those used longest ago first. */
const KEPT_MAX = 256;
const KEPT_BYTES_MAX = 256 * 1024 * 1024;
/** Decoded ones in memory, by their entries together. */
const CACHED_ENTRIES_MAX = 250_000;
const CACHED_MAX = 8;
/** Of the encoding that is kept in memory for the next one: some 80 bytes each. */
const ENCODED_ENTRIES_MAX = 30_000;
const PRIVATE_FOLDER_MODE = 0o700;

/** The manifests that this side has sent, as long as they are kept. */
export interface ManifestStore {
  /** @returns null where it isn't kept any more */
  load(hash: ManifestHash): Manifest | null;
}

/**
 * Manifests of this node's projects, a file each, named by their hash. Not compressed: most of one is hashes, and a job waits. A job that may bring changes back pins
 * the one it was sent with; what is damaged counts as gone.
 */
export class SentManifests implements ManifestStore {
  readonly #folder: string;
  readonly #pins: string;
  readonly #cached = new Map<ManifestHash, Manifest>();
  /** What is there, once it was counted: nobody else writes there. */
  #kept: { count: number; bytes: number } | null = null;
  /** What was put last: a project is mostly scanned again and again, and changes little. */
  #encoded: EncodedManifest | null = null;

  /** @param folder made where it is missing. @throws the system's error, as all methods do */
  constructor(folder: string) {
    this.#folder = folder;
    this.#pins = `${folder}/pins`;
    mkdirSync(this.#pins, { recursive: true, mode: PRIVATE_FOLDER_MODE });
  }

  put(manifest: Manifest): ManifestHash {
    const encoded = encodeAfter(this.#encoded, manifest);
    this.#encoded = manifest.entries.length <= ENCODED_ENTRIES_MAX ? encoded : null;
    // 64 such digits.
    const hash = digest('sha256', encoded.bytes, 'hex') as ManifestHash;
    if (!this.touch(hash)) {
      replacePrivateFile(this.#pathOf(hash), encoded.bytes);
      this.#count(encoded.bytes.length);
      if (this.#isFull()) this.#evict(hash);
    }
    this.#remember(hash, manifest);
    return hash;
  }

  load(hash: ManifestHash): Manifest | null {
    const cached = this.#cached.get(hash);
    const manifest = cached ?? this.#read(hash);
    if (manifest !== null) this.#remember(hash, manifest);
    return manifest;
  }

  /** Whether it is kept; it counts as used now. */
  touch(hash: ManifestHash): boolean {
    try {
      const now = Date.now() / 1000;
      utimesSync(this.#pathOf(hash), now, now);
      return true;
    } catch (error) {
      if (systemCodeOf(error) === 'ENOENT') return false;
      throw error;
    }
  }

  /** Each job pins one: the last. */
  pin(hash: ManifestHash, job: JobId): void {
    replacePrivateFile(`${this.#pins}/${job}`, hash);
  }

  unpin(job: JobId): void {
    rmSync(`${this.#pins}/${job}`, { force: true });
  }

  unpinAllBut(jobs: ReadonlySet<JobId>): void {
    for (const name of readdirSync(this.#pins)) if (isJobId(name) && !jobs.has(name)) this.unpin(name);
  }

  #pathOf(hash: ManifestHash): string {
    return `${this.#folder}/${hash}`;
  }

  #read(hash: ManifestHash): Manifest | null {
    if (!this.touch(hash)) return null;
    const encoded = readFileSync(this.#pathOf(hash));
    if (digest('sha256', encoded, 'hex') === hash) {
      const manifest = decodeManifest(encoded);
      if (manifest.ok) return manifest.value;
    }
    rmSync(this.#pathOf(hash), { force: true });
    return null;
  }

  #remember(hash: ManifestHash, manifest: Manifest): void {
    this.#cached.delete(hash);
    this.#cached.set(hash, manifest);
    let entries = 0;
    for (const cached of this.#cached.values()) entries += cached.entries.length;
    for (const [oldest, cached] of this.#cached) {
      if ((this.#cached.size <= CACHED_MAX && entries <= CACHED_ENTRIES_MAX) || oldest === hash) break;
      this.#cached.delete(oldest);
      entries -= cached.entries.length;
    }
  }

  #evict(newest: ManifestHash): void {
    const files = this.#files();
    const kept = sumOf(files);
    this.#kept = kept;
    const pinned = this.#pinned();
    for (const file of files.toSorted((one, other) => one.mtimeMs - other.mtimeMs)) {
      if (!this.#isFull()) return;
      if (file.name === newest || pinned.has(file.name)) continue;
      rmSync(`${this.#folder}/${file.name}`, { force: true });
      this.#cached.delete(file.name);
      kept.count -= 1;
      kept.bytes -= file.size;
    }
  }

  /** One more; what was damaged, and dropped, stays counted until all are looked at. */
  #count(bytes: number): void {
    if (this.#kept === null) this.#kept = sumOf(this.#files());
    else this.#kept = { count: this.#kept.count + 1, bytes: this.#kept.bytes + bytes };
  }

  #isFull(): boolean {
    return this.#kept !== null && (this.#kept.count > KEPT_MAX || this.#kept.bytes > KEPT_BYTES_MAX);
  }

  #files(): { readonly name: ManifestHash; readonly size: number; readonly mtimeMs: number }[] {
    return readdirSync(this.#folder).flatMap((name) => {
      if (!isManifestHash(name)) return [];
      const { size, mtimeMs } = statSync(`${this.#folder}/${name}`);
      return [{ name, size, mtimeMs }];
    });
  }

  #pinned(): ReadonlySet<string> {
    const jobs = readdirSync(this.#pins).filter((name) => isJobId(name));
    return new Set(jobs.map((job) => readFileSync(`${this.#pins}/${job}`, 'utf8')));
  }
}

function sumOf(files: readonly { readonly size: number }[]): { count: number; bytes: number } {
  return { count: files.length, bytes: files.reduce((sum, { size }) => sum + size, 0) };
}
