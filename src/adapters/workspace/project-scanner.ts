import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { ok, type Result } from '../../base/result.ts';
import type { Project, Scan, ScanRefusal, ScanRequest } from '../../ports/workspace.ts';
import type { ManifestHash, TreePath } from '../../wire/manifest.ts';
import type { SentManifests } from './manifest-store.ts';
import { scanTree, type Scanned } from './scan.ts';
import type { Selection } from './selection.ts';
import { readScanMemory, writeScanMemory, type ScanMemory } from './stat-cache.ts';
import type { ContentPlaces } from './virtual-files.ts';

/** What was known of projects is kept in memory for the latest few, and on the disk for more. */
const IN_MEMORY_MAX = 4;
const IN_MEMORY_ENTRIES_MAX = 250_000;
const ON_DISK_MAX = 64;
/** Where less than that was hashed since it was written, to hash it again costs less than to write all at every scan. */
const UNSAVED_FILES_MAX = 64;
const UNSAVED_BYTES_MAX = 4 * 1024 * 1024;
const PRIVATE_FOLDER_MODE = 0o700;

/** @param replaced see `selectFiles` */
export type Select = (request: ScanRequest, replaced: readonly TreePath[]) => Promise<Result<Selection, ScanRefusal>>;

interface Known {
  readonly memory: ScanMemory;
  /** Null where it was read from the disk and nobody needed it yet. */
  readonly hash: ManifestHash | null;
  /** Hashed since the memory was written to the disk. */
  readonly unsaved: { readonly files: number; readonly bytes: number };
}

const NOTHING = { files: 0, bytes: 0 };

type Answer = Promise<Result<Scan, ScanRefusal>>;

/** Scans projects, each one at a time, and remembers for each what its files were. */
export class ProjectScanner {
  readonly #folder: string;
  readonly #select: Select;
  readonly #manifests: SentManifests;
  readonly #places: ContentPlaces;
  readonly #known = new Map<Project['key'], Known>();
  /** The scan that is under way or will be the last to begin. */
  readonly #last = new Map<Project['key'], Answer>();
  /** Scans that have not begun, by what was asked: they see all that was done until then. */
  readonly #waiting = new Map<string, Answer>();

  /** @param folder made where it is missing */
  constructor(folder: string, select: Select, manifests: SentManifests, places: ContentPlaces) {
    this.#folder = folder;
    this.#select = select;
    this.#manifests = manifests;
    this.#places = places;
    mkdirSync(folder, { recursive: true, mode: PRIVATE_FOLDER_MODE });
  }

  /** Who asks the same while a scan has not begun gets that one's answer. */
  async scan(request: ScanRequest): Answer {
    const asked = JSON.stringify(request);
    const waiting = this.#waiting.get(asked);
    if (waiting !== undefined) return waiting;
    const { key } = request.project;
    const before = this.#last.get(key);
    const answer = this.#after(before, asked, request);
    this.#waiting.set(asked, answer);
    this.#last.set(key, answer);
    return answer.finally(() => {
      if (this.#last.get(key) === answer) this.#last.delete(key);
    });
  }

  async #after(before: Answer | undefined, asked: string, request: ScanRequest): Answer {
    // How that one ended is for those who asked for it.
    await Promise.allSettled([before]);
    this.#waiting.delete(asked);
    return this.#scanNow(request);
  }

  async #scanNow(request: ScanRequest): Answer {
    const { project, filesMax, bytesMax } = request;
    const limits = { filesMax, bytesMax };
    const known = this.#knownOf(project);
    let selection = await this.#select(request, []);
    if (!selection.ok) return selection;
    let scanned = await scanTree(selection.value, known.memory, limits);
    if (!scanned.ok) return scanned;
    if (scanned.value.replaced.length > 0) {
      selection = await this.#select(request, scanned.value.replaced);
      if (!selection.ok) return selection;
      scanned = await scanTree(selection.value, known.memory, limits);
      if (!scanned.ok) return scanned;
    }
    const manifest = this.#keep(project, known, scanned.value);
    this.#places.note(manifest, selection.value);
    const { withheld, undecided, trackedDecided: tracked, rules, dependencies, lockfiles, standing } = selection.value;
    const { files, bytes, notices, outward } = scanned.value;
    return ok({
      manifest,
      files,
      bytes,
      withheld,
      undecided,
      tracked,
      outward,
      rules,
      dependencies,
      lockfiles,
      notices,
      standing,
    });
  }

  #knownOf(project: Project): Known {
    const known = this.#known.get(project.key) ?? {
      memory: readScanMemory(this.#pathOf(project)),
      hash: null,
      unsaved: NOTHING,
    };
    this.#known.delete(project.key);
    return known;
  }

  #keep(project: Project, known: Known, scanned: Scanned): ManifestHash {
    const { manifest, columns, isSame, hashed, hashedBytes } = scanned;
    const isKept = isSame && known.hash !== null && this.#manifests.touch(known.hash);
    const hash = isKept && known.hash !== null ? known.hash : this.#manifests.put(manifest);
    const memory = { manifest, columns };
    let unsaved = { files: known.unsaved.files + hashed, bytes: known.unsaved.bytes + hashedBytes };
    const isFirst = known.memory.manifest.entries.length === 0;
    if (isFirst || unsaved.files > UNSAVED_FILES_MAX || unsaved.bytes > UNSAVED_BYTES_MAX) {
      writeScanMemory(this.#pathOf(project), memory);
      unsaved = NOTHING;
      if (isFirst) this.#sweep();
    }
    this.#known.set(project.key, { memory, hash, unsaved });
    let entries = 0;
    for (const other of this.#known.values()) entries += other.memory.manifest.entries.length;
    for (const [key, other] of this.#known) {
      if ((this.#known.size <= IN_MEMORY_MAX && entries <= IN_MEMORY_ENTRIES_MAX) || key === project.key) break;
      this.#known.delete(key);
      entries -= other.memory.manifest.entries.length;
    }
    return hash;
  }

  /** Of projects that were not scanned for long: theirs are made again. */
  #sweep(): void {
    const files = readdirSync(this.#folder).map((name) => {
      const path = `${this.#folder}/${name}`;
      return { path, mtimeMs: statSync(path).mtimeMs };
    });
    files.sort((one, other) => other.mtimeMs - one.mtimeMs);
    for (const { path } of files.slice(ON_DISK_MAX)) rmSync(path, { force: true });
  }

  #pathOf(project: Project): string {
    return `${this.#folder}/${project.key}`;
  }
}
