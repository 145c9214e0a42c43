import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { systemCodeOf } from '../../base/errors.ts';
import { type ChangePack, GLOB_CHARS_MAX, NO_CHANGE_PACK } from '../../wire/changes.ts';
import type { ChangeList } from '../../wire/change-pack.ts';
import { sortEntries } from '../../wire/manifest-codec.ts';
import {
  MANIFEST_ENTRIES_MAX,
  type ManifestEntry,
  type ObjectHash,
  TREE_PATH_BYTES_MAX,
  type TreePath,
} from '../../wire/manifest.ts';
import { folderOf, parseChangedPath, shownPath, wrongWithKind } from '../../wire/tree-path.ts';
import { fileAt, fileInTurns, gitIndexAt } from './changed-file.ts';
import { CollectProblems } from './collect-problems.ts';
import type { OnObject } from './change-pack-writer.ts';
import { packChanges } from './packed-changes.ts';
import { withReadable } from './file-content.ts';
import { isGitNoise, withoutTidying } from './git-changes.ts';
import type { IgnoreMatcher } from './ignore-matcher.ts';
import { OutputGlobs } from './output-globs.ts';
import { lookThroughProducts, type Product, type ProductFindings } from './products.ts';
import { isLeftThere } from './tool-folder.ts';
import { at, namesIn, TreeFolders } from './tree-folders.ts';
import { isGitIndex, isProduct, type TreeIndex } from './tree-index.ts';
import { Turn } from './turn.ts';
import { RACY_MS, TreeState } from './tree-state.ts';

/** Larger files are hashed after all others, in turns. */
const LARGE_FILE_BYTES = 8 * 1024 * 1024;
/** How many files between two looks at the clock. */
const FILES_PER_STEP = 32;

export interface Collecting {
  /** Absolute. */
  readonly tree: string;
  readonly index: TreeIndex;
  /** Of after the placing. */
  readonly state: TreeState;
  readonly matcher: IgnoreMatcher;
  readonly pack: string;
  readonly returns: boolean;
  readonly outputs: readonly string[];
  readonly prepared: readonly string[];
  /** Told of each object of the pack. */
  readonly onObject: OnObject;
}

export interface Collected {
  readonly changes: ChangePack;
  /** What lies there now; to be written down when the slot is given back. */
  readonly state: TreeState;
}

/**
 * Finds what a job changed in its tree, and writes it into a change pack. A full disk and files that can't be read are
 * told in `problem`, with what else changed; nothing is thrown for them.
 */
export async function collectTree(collecting: Collecting): Promise<Collected> {
  const folders = new TreeFolders(collecting.tree, null);
  try {
    const collector = new Collector(collecting, folders);
    await collector.scan();
    const findings = await collector.products();
    const list = collector.list();
    const changes = collecting.returns
      ? await packChanges(list, { ...collecting, folders, contents: collector.contents, problems: collector.problems })
      : NO_CHANGE_PACK;
    return {
      changes: {
        ...changes,
        left_there: [...findings.leftThere],
        left_more: findings.leftMore,
        unmatched: collecting.returns && findings.isComplete ? collector.unmatched(findings.outputs) : [],
        problem: collector.problems.text(),
      },
      state: collector.state,
    };
  } finally {
    folders.close();
  }
}

class Collector {
  readonly state: TreeState;
  readonly problems = new CollectProblems();
  /** Of files that come back otherwise than they lie there. */
  readonly contents = new Map<ObjectHash, Uint8Array>();
  readonly #collecting: Collecting;
  readonly #folders: TreeFolders;
  readonly #seen: Uint8Array;
  readonly #changed: ManifestEntry[] = [];
  readonly #products: Product[] = [];
  readonly #outputs: OutputGlobs;
  #earlier: ReadonlySet<string> = new Set();
  readonly #turn = new Turn();
  /** Large files, and what they are in the manifest. */
  readonly #large: { readonly path: TreePath; readonly index: number | null }[] = [];

  constructor(collecting: Collecting, folders: TreeFolders) {
    this.#collecting = collecting;
    this.#folders = folders;
    this.#seen = new Uint8Array(collecting.index.manifest.entries.length);
    this.state = TreeState.of(collecting.state.manifest, collecting.index);
    this.#outputs = new OutputGlobs(collecting.outputs);
  }

  list(): ChangeList {
    // A file that became an empty folder is one change.
    const changed = new Set(this.#changed.map((entry) => entry.path));
    const deleted = this.#collecting.index.manifest.entries.flatMap((entry, index) =>
      this.#seen[index] === 1 || changed.has(entry.path) ? [] : [entry.path],
    );
    const list = withoutTidying(this.#changed, deleted);
    const sorted = sortEntries(list.changed);
    const earlier = sorted.flatMap(({ path }) => (this.#earlier.has(path) ? [path] : []));
    return { changed: sorted, deleted: list.deleted, earlier };
  }

  async scan(): Promise<void> {
    const waiting = [''];
    for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
      try {
        await this.#turn.through(this.#scanFolder(folder, waiting));
      } catch (error) {
        this.#unreadable(folder, error);
      }
    }
    await this.#takeLarge();
  }

  async products(): Promise<ProductFindings> {
    const { prepared, state } = this.#collecting;
    const settings = { outputs: this.#outputs, prepared, sinceMs: state.notedMs - RACY_MS };
    const findings = await lookThroughProducts(this.#folders, this.#products, settings, this.#turn);
    this.#earlier = findings.earlier;
    if (!findings.isComplete) this.problems.say('there are too many ignored files to look at them all');
    for (const path of this.#collecting.returns ? findings.outputs : []) {
      if (this.#turn.isOver()) await this.#turn.pass();
      this.#guarded(path, () => {
        const slash = path.lastIndexOf('/');
        const prefix = this.#folders.enter(path.slice(0, Math.max(slash, 0)));
        if (prefix !== null) this.#takeNew(path, prefix, path.slice(slash + 1));
      });
    }
    await this.#takeLarge();
    return findings;
  }

  /** Globs that ask for what is not there, ignored or not. @param outputs that were found among ignored files */
  unmatched(outputs: readonly string[]): string[] {
    return this.#outputs.unmatchedBy(this.#paths(outputs)).filter((glob) => glob.length <= GLOB_CHARS_MAX);
  }

  *#paths(outputs: readonly string[]): Generator<string> {
    yield* outputs;
    for (const { path } of this.#changed) yield path;
    const { entries } = this.#collecting.index.manifest;
    for (const [index, { path }] of entries.entries()) if (this.#seen[index] === 1) yield path;
  }

  /** What can't be read is told with its name; the rest goes on. */
  #guarded(path: string, look: () => void): void {
    try {
      look();
    } catch (error) {
      this.#unreadable(path, error);
    }
  }

  #unreadable(path: string, error: unknown): void {
    if (systemCodeOf(error) === '') throw error;
    // It may be all there; better to say that it can't be read than that it is gone.
    this.#markSeen(path);
    this.problems.say(`${shownPath(path)} cannot be read there (${systemCodeOf(error)})`);
  }

  #isLater(path: TreePath, stat: Stats, index: number | null): boolean {
    if (!stat.isFile() || stat.size <= LARGE_FILE_BYTES || isGitIndex(path)) return false;
    this.#large.push({ path, index });
    return true;
  }

  async #takeLarge(): Promise<void> {
    for (const { path, index } of this.#large.splice(0)) {
      try {
        const prefix = this.#folders.enter(folderOf(path));
        const where = prefix === null ? null : at(prefix, path.slice(path.lastIndexOf('/') + 1));
        const stat = where === null ? undefined : lstatSync(where, { throwIfNoEntry: false });
        if (where === null || stat === undefined) continue;
        const now = await fileInTurns(path, where, stat.mode, this.#turn);
        if (now !== null && index !== null) this.#judge(index, now);
        else if (now !== null) this.#keep(now.entry);
      } catch (error) {
        this.#unreadable(path, error);
      }
    }
  }

  #markSeen(path: string): void {
    const index = this.#collecting.index.indexOf(path);
    if (index !== undefined) this.#seen[index] = 1;
    if (!this.#collecting.index.isFolder(path)) return;
    for (const [below, entry] of this.#collecting.index.manifest.entries.entries()) {
      if (path === '' || entry.path.startsWith(`${path}/`)) this.#seen[below] = 1;
    }
  }

  /** One step for some of its files each: a job may have made any number of them. */
  *#scanFolder(folder: string, waiting: string[]): Generator<void, void> {
    const number = this.#collecting.index.numberOf(folder);
    const before = number === undefined ? undefined : this.#folders.look(folder);
    if (number !== undefined && before !== undefined && this.#isUnchanged(number, before)) {
      yield* this.#scanKnown(number, folder, waiting);
      this.state.folders.note(number, before);
      return;
    }
    const hasExtras = yield* this.#scanNames(folder, waiting);
    if (number !== undefined && before !== undefined) this.state.folders.note(number, before, hasExtras);
  }

  #isUnchanged(number: number, stat: Stats): boolean {
    const { state } = this.#collecting;
    return stat.isDirectory() && state.isFolderUntouched(number, stat) && !state.folders.hasExtras(number);
  }

  /** A folder that has the names of the manifest: its files alone are looked at. */
  *#scanKnown(number: number, folder: string, waiting: string[]): Generator<void, void> {
    const { index } = this.#collecting;
    for (const below of index.foldersIn(number)) waiting.push(index.folders[below] ?? '');
    const own = index.indexOf(folder);
    if (own !== undefined) this.#seen[own] = 1;
    yield;
    let looked = 0;
    for (const file of index.filesIn(number)) {
      if (++looked % FILES_PER_STEP === 0) yield;
      const path = index.manifest.entries[file]?.path ?? '';
      const stat = this.#folders.look(path);
      if (stat !== undefined && this.#collecting.state.isUntouched(file, stat)) {
        this.#seen[file] = 1;
        this.state.files.copy(file, this.#collecting.state.files, file);
        continue;
      }
      this.#guarded(path, () => {
        const prefix = this.#folders.enter(folder);
        if (prefix !== null) this.#takeEntry(file, path, at(prefix, path.slice(path.lastIndexOf('/') + 1)));
      });
    }
  }

  /** @returns whether there are names that are not the manifest's */
  *#scanNames(folder: string, waiting: string[]): Generator<void, boolean> {
    const { index: known } = this.#collecting;
    const prefix = this.#folders.enter(folder);
    if (prefix === null) return true;
    let entries = 0;
    let hasExtras = false;
    yield;
    for (const [looked, found] of namesIn(prefix).entries()) {
      if (looked % FILES_PER_STEP === FILES_PER_STEP - 1) yield;
      const name = found.name.toString('latin1');
      const path = folder === '' ? name : `${folder}/${name}`;
      hasExtras ||= known.indexOf(path) === undefined && !known.isFolder(path);
      if (path.length > TREE_PATH_BYTES_MAX) this.problems.say(`${shownPath(path)} has too long a path`);
      else if (isGitNoise(path)) continue;
      else if (found.isDirectory()) entries += this.#takeFolder(path, prefix, name, waiting);
      else this.#guarded(path, () => (entries += this.#takeOther(path, prefix, name)));
    }
    if (folder === '') return hasExtras;
    const index = known.indexOf(folder);
    if (index !== undefined && known.manifest.entries[index]?.kind === 'folder') this.#seen[index] = 1;
    else if (entries === 0 && (!hasExtras || this.#isOfNow(folder))) {
      this.#takeIfAllowed(folder, () => this.#keep({ kind: 'folder', path: folder as TreePath }));
    }
    return hasExtras;
  }

  /** Products that an earlier job left keep their folder there: that it is gone here is nobody's wish to have it back. */
  #isOfNow(folder: string): boolean {
    const stat = this.#folders.look(folder);
    return stat === undefined || stat.ctimeMs >= this.#collecting.state.notedMs - RACY_MS;
  }

  /** @returns 1 where it isn't a product */
  #takeFolder(path: string, prefix: string, name: string, waiting: string[]): number {
    const { index, matcher } = this.#collecting;
    if (!index.isFolder(path) && isLeftThere(matcher, path, { prefix, name, isFolder: true })) {
      this.#products.push({ path, isFolder: true });
      return 0;
    }
    waiting.push(path);
    return 1;
  }

  #takeOther(path: string, prefix: string, name: string): number {
    const index = this.#collecting.index.indexOf(path);
    if (index === undefined) {
      if (isProduct(this.#collecting.matcher, path, false)) {
        this.#products.push({ path, isFolder: false });
        return 0;
      }
      this.#takeNew(path, prefix, name);
      return 1;
    }
    return this.#takeEntry(index, path, at(prefix, name));
  }

  /** What lies where the manifest has a file or a link. @returns 0 where nothing does */
  #takeEntry(index: number, path: string, where: Buffer): number {
    const stat = lstatSync(where, { throwIfNoEntry: false });
    if (stat === undefined) return 0;
    if (!stat.isFile() && !stat.isSymbolicLink()) {
      this.#seen[index] = 1;
      this.problems.say(`${shownPath(path)} is a ${kindOf(stat)} now`);
    } else if (this.#collecting.state.isUntouched(index, stat)) {
      this.#seen[index] = 1;
      this.state.files.note(index, stat);
    } else this.#compare(index, path as TreePath, where, stat);
    return 1;
  }

  #compare(index: number, path: TreePath, where: Buffer, stat: Stats): void {
    if (this.#isLater(path, stat, index)) return;
    const now = this.#entryAt(path, where, stat);
    if (now !== null) this.#judge(index, now);
  }

  #judge(index: number, now: Looked): void {
    const was = this.#collecting.index.manifest.entries[index];
    if (was === undefined) return;
    this.#seen[index] = 1;
    const isSame =
      now.entry.kind === 'file'
        ? was.kind === 'file' && now.entry.hash === was.hash && now.entry.mode === was.mode
        : was.kind === 'link' && was.target === now.entry.target;
    if (isSame) this.state.files.note(index, now.stat);
    else this.#keep(now.entry);
  }

  #takeNew(path: string, prefix: string, name: string): void {
    const where = at(prefix, name);
    const stat = lstatSync(where, { throwIfNoEntry: false });
    // Sockets, FIFOs and devices are nobody's files.
    if (stat === undefined || !(stat.isFile() || stat.isSymbolicLink())) return;
    // Then none comes back: that needs neither time nor memory.
    if (this.#changed.length > MANIFEST_ENTRIES_MAX) return;
    this.#takeIfAllowed(path, () => {
      if (this.#isLater(path as TreePath, stat, null)) return;
      const now = this.#entryAt(path as TreePath, where, stat);
      if (now !== null) this.#keep(now.entry);
    });
  }

  /** What no origin takes would have it refuse all the rest. */
  #keep(entry: ManifestEntry): void {
    const wrong = wrongWithKind(entry.path, entry.kind);
    if (wrong === null) return void this.#changed.push(entry);
    this.#markSeen(entry.path);
    this.problems.say(`${shownPath(entry.path)} ${wrong}: it stays there`);
  }

  #takeIfAllowed(path: string, take: () => void): void {
    const parsed = parseChangedPath(path);
    if (parsed.ok) take();
    else this.problems.say(parsed.error);
  }

  /** Null where it is gone. */
  #entryAt(path: TreePath, where: Buffer, stat: Stats): Looked | null {
    if (stat.isSymbolicLink()) {
      const target = readlinkSync(where, 'buffer').toString('latin1');
      return { entry: { kind: 'link', path, target }, stat };
    }
    const index = isGitIndex(path) ? gitIndexAt(path, where, stat) : null;
    if (index !== null) {
      this.contents.set(index.entry.hash, index.content);
      return { entry: index.entry, stat };
    }
    return withReadable(where, stat.mode, () => fileAt(path, where, stat.mode));
  }
}

interface Looked {
  readonly entry: Exclude<ManifestEntry, { kind: 'folder' }>;
  readonly stat: Stats;
}

function kindOf(stat: Stats): string {
  return stat.isFIFO() ? 'FIFO' : stat.isSocket() ? 'socket' : 'device';
}
