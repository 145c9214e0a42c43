import { statSync } from 'node:fs';
import { threadId } from 'node:worker_threads';
import { bytesOfText } from '../../base/byte-text.ts';
import { MeshError } from '../../base/errors.ts';
import type { JobId } from '../../base/ids.ts';
import type { Result } from '../../base/result.ts';
import type {
  Applied,
  ApplyRequest,
  EncodedChange,
  Project,
  ProjectFiles,
  Scan,
  ScanRefusal,
  ScanRequest,
} from '../../ports/workspace.ts';
import { encodeManifest } from '../../wire/manifest-codec.ts';
import { compareManifests, encodeDifference } from '../../wire/manifest-difference.ts';
import type { Manifest, ManifestEntry, ManifestHash, ObjectHash } from '../../wire/manifest.ts';
import { BLOCK_HEAD_BYTES, OBJECT_HEAD_BYTES } from '../../wire/object-pack.ts';
import { CHANGED_PACK_BYTES_MAX } from '../../wire/workspace.ts';
import { applyChanges, type ApplyContext } from './apply.ts';
import { KnownNames } from './known-names.ts';
import { SentManifests } from './manifest-store.ts';
import { compressManifest } from './manifest-transport.ts';
import { OneLargeTree } from './one-large-tree.ts';
import type { ThreadSettings } from './operations.ts';
import { PackSource, type Places, type WantedObject } from './pack-source.ts';
import { findProject, homeFolders } from './project-root.ts';
import { ProjectScanner, type Select } from './project-scanner.ts';
import { selectFiles } from './select-files.ts';
import { sentDecisions } from './sent-decisions.ts';
import { handOver } from './thread-messages.ts';
import { TransferCosts } from './transfer-cost.ts';
import { ContentPlaces } from './virtual-files.ts';

/** Of a change pack: its list may be some hundred thousand paths. Of such ones one at a time is in memory. */
const LARGE_CHANGES_BYTES = 2 * 1024 * 1024;
/** Transfers at a time; each has a pack and an open file. */
const SOURCES_MAX = 256;
/** Numbers of one life of the thread: those of another that was lost are never the number of somebody else's files. */
const SOURCES_OF_A_LIFE = 2 ** 32;
/** Files that came back lately. */
const RETURNED_MAX = 4096;

export interface OriginParts {
  readonly select: Select;
  readonly apply: (request: ApplyRequest, context: ApplyContext) => Promise<Result<Applied, ScanRefusal>>;
}

/** The origin's side of the thread. */
export class OriginOperations implements ProjectFiles {
  readonly #settings: ThreadSettings;
  readonly #parts: OriginParts;
  readonly #manifests: SentManifests;
  readonly #places: ContentPlaces;
  readonly #scanner: ProjectScanner;
  readonly #costs: TransferCosts;
  readonly #sources = new Map<number, PackSource>();
  readonly #largeChanges = new OneLargeTree();
  /** What jobs made that came back, the latest at the end, and since when it is here: the node that sent it has it, and asks where it does not. */
  readonly #returned = new Map<ObjectHash, number>();
  #lastSource = threadId * SOURCES_OF_A_LIFE;

  constructor(settings: ThreadSettings, parts: OriginParts) {
    this.#settings = settings;
    this.#parts = parts;
    this.#manifests = new SentManifests(`${settings.folder}/sent`);
    this.#places = new ContentPlaces(`${settings.folder}/sent-content`);
    this.#scanner = new ProjectScanner(`${settings.folder}/scan`, parts.select, this.#manifests, this.#places);
    this.#costs = new TransferCosts(this.#manifests);
  }

  async findProject(cwd: string, named: string | null): Promise<Result<Project | null, ScanRefusal>> {
    return findProject(cwd, named, homeFolders([this.#settings.home]));
  }

  async scan(request: ScanRequest): Promise<Result<Scan, ScanRefusal>> {
    return this.#scanner.scan(request);
  }

  async cost(manifest: ManifestHash, base: ManifestHash | null): Promise<{ files: number; bytes: number }> {
    return this.#costs.of(manifest, base);
  }

  async encodeManifest(hash: ManifestHash, base: ManifestHash | null): Promise<Uint8Array> {
    const manifest = this.#manifestOf(hash);
    const from = base === null ? null : this.#manifests.load(base);
    const encoded =
      base === null || from === null
        ? encodeManifest(manifest)
        : encodeDifference(base, compareManifests(from, manifest));
    return compressManifest(encoded);
  }

  async encodeChanged(project: Project, hash: ManifestHash, base: ManifestHash): Promise<EncodedChange> {
    const transfer = this.#costs.transfer(hash, base);
    // A base that isn't known here any more: the executor gets all of it once it has said that it has that.
    if (transfer === null || !this.#manifests.touch(base)) {
      return { manifest: await this.encodeManifest(hash, base), pack: null };
    }
    const { difference, lacking } = transfer;
    const manifest = compressManifest(encodeDifference(base, difference));
    return { manifest, pack: this.#packOf(project, hash, lacking) };
  }

  async openPacks(
    project: Project,
    hash: ManifestHash,
    want: Uint8Array,
    end: 'here' | 'away' = 'away',
  ): Promise<number | null> {
    if (this.#sources.size >= SOURCES_MAX) {
      throw new MeshError('limit', `${SOURCES_MAX} transfers are under way here; this one was not begun.`);
    }
    const source = PackSource.of(bytesOfText(project.root), this.#placesOf(hash), this.#manifestOf(hash), want, end);
    if (source === null) return null;
    this.#lastSource += 1;
    this.#sources.set(this.#lastSource, source);
    return this.#lastSource;
  }

  async nextPack(source: number, spent: ArrayBuffer | null = null): Promise<Result<Uint8Array | null, ScanRefusal>> {
    const packs = this.#sources.get(source);
    if (packs === undefined) throw new MeshError('internal', `there is no source ${source} of packs`);
    const pack = packs.next(spent);
    if (pack.ok && pack.value !== null) handOver(pack.value);
    return pack;
  }

  async filesAfter(source: number): Promise<readonly number[] | null> {
    return this.#sources.get(source)?.filesAfter() ?? null;
  }

  async closePacks(source: number): Promise<void> {
    this.#sources.get(source)?.close();
    this.#sources.delete(source);
  }

  async pinManifest(manifest: ManifestHash, job: JobId): Promise<void> {
    this.#manifests.pin(manifest, job);
  }

  async unpinManifest(job: JobId): Promise<void> {
    this.#manifests.unpin(job);
  }

  async unpinAllBut(jobs: readonly JobId[]): Promise<void> {
    this.#manifests.unpinAllBut(new Set(jobs));
  }

  async apply(request: ApplyRequest): Promise<Result<Applied, ScanRefusal>> {
    const { size } = statSync(request.pack);
    return this.#largeChanges.run(size > LARGE_CHANGES_BYTES, () => {
      const onApplied = (changed: readonly ManifestEntry[]): void => this.#noteReturned(changed);
      const returnedMs = (hash: ObjectHash): number | null => this.#returned.get(hash) ?? null;
      return this.#parts.apply(request, { manifests: this.#manifests, onApplied, returnedMs });
    });
  }

  /** One pack of them; null where it would be too large, or they are not what was scanned any more. */
  #packOf(project: Project, hash: ManifestHash, objects: readonly WantedObject[]): Uint8Array | null {
    const unsent = objects.filter(({ hash: object }) => !this.#returned.has(object));
    const bytes = unsent.reduce((sum, { size }) => sum + size + OBJECT_HEAD_BYTES, 2 * BLOCK_HEAD_BYTES);
    if (unsent.length === 0 || bytes > CHANGED_PACK_BYTES_MAX) return null;
    const source = new PackSource(bytesOfText(project.root), this.#placesOf(hash), unsent, 'away');
    const pack = source.next();
    source.close();
    return pack.ok ? pack.value : null;
  }

  #noteReturned(changed: readonly ManifestEntry[]): void {
    const nowMs = Date.now();
    for (const entry of changed.slice(0, RETURNED_MAX))
      if (entry.kind === 'file') this.#returned.set(entry.hash, nowMs);
    for (const oldest of this.#returned.keys()) {
      if (this.#returned.size <= RETURNED_MAX) return;
      this.#returned.delete(oldest);
    }
  }

  #placesOf(hash: ManifestHash): Places {
    return {
      elsewhere: this.#places.elsewhere(hash),
      virtual: (object) => this.#places.virtual(object),
    };
  }

  #manifestOf(hash: ManifestHash): Manifest {
    const manifest = this.#manifests.load(hash);
    if (manifest === null) throw new MeshError('io', `the manifest ${hash} is not kept here any more; scan again`);
    return manifest;
  }
}

export function createOriginOperations(settings: ThreadSettings): ProjectFiles {
  /** Of the project that was scanned last. */
  let latest: { readonly project: Project['key']; readonly known: KnownNames } | null = null;
  return new OriginOperations(settings, {
    select: async (request, replaced) => {
      const { key } = request.project;
      if (latest?.project !== key) latest = { project: key, known: new KnownNames() };
      const secrets = { ...sentDecisions(settings.folder, request.project.root), ...request.secrets };
      return selectFiles({ ...request, secrets }, settings.env, replaced, latest.known);
    },
    apply: applyChanges,
  });
}
