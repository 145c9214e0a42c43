import { MeshError, systemCodeOf } from '../../base/errors.ts';
import { err, ok, type Result } from '../../base/result.ts';
import {
  type ApplyRules,
  beforeEarlier,
  applyRules,
  decideDeletion,
  decideWrite,
  type DeleteDecision,
} from '../../core/workspace/apply-plan.ts';
import type { Applied, ApplyRequest, ScanRefusal } from '../../ports/workspace.ts';
import type { Manifest, ManifestEntry, ManifestHash, ObjectHash, TreePath } from '../../wire/manifest.ts';
import { judgeSecret } from '../../core/workspace/secret-files.ts';
import { foldedPath, folderOf, isProtected, shownPath } from '../../wire/tree-path.ts';
import { unreachable } from '../../base/assert.ts';
import { checkRoom } from './apply-room.ts';
import { ChangeTally } from './change-tally.ts';
import { ChangePackFile } from './change-pack-file.ts';
import { ConflictCopies } from './conflict-copies.ts';
import { COARSE_TICK_MS, TICK_MS } from './file-hasher.ts';
import { ChangedMeanwhile, LocalFiles, Obstructed, type Sighting } from './local-files.ts';
import { OutputGlobs } from './output-globs.ts';
import { Turn } from './turn.ts';

/** After these nothing more can be written. */
const DISK_FAILURES = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EMFILE', 'ENFILE']);
const NO_MANIFEST: Manifest = { entries: [] };

export interface ApplyContext {
  /** What was sent; null where it isn't kept any more. */
  readonly manifests: { load(hash: ManifestHash): Manifest | null };
  /** Told what a pack holds that was applied: its sender has it. */
  readonly onApplied?: (changed: readonly ManifestEntry[]) => void;
  /** When a content last came back from a job, since 1970; null where that isn't known, as where this is not given. */
  readonly returnedMs?: (hash: ObjectHash) => number | null;
}

/**
 * Puts what a job changed elsewhere into the project: `core/workspace/apply-plan.ts` says what becomes of each path.
 * Nothing of a pack is used before all of it was verified. Each file is old or new at any moment; whoever applies again
 * after an interruption goes on, since what is there already counts as returned.
 *
 * @returns the refusal: a pack that is not what it should be, and nothing was changed
 * @throws MeshError `io` where the disk fails: it says what was applied
 */
export async function applyChanges(
  request: ApplyRequest,
  context: ApplyContext,
): Promise<Result<Applied, ScanRefusal>> {
  const opened = await ChangePackFile.open(request.pack, request.packSha256);
  if (!opened.ok) return err({ code: 'bad_pack', message: `what came back is refused: ${opened.error}` });
  try {
    const result = await applied(request, context, opened.value);
    context.onApplied?.(opened.value.list.changed);
    return ok(result);
  } finally {
    opened.value.close();
  }
}

async function applied(request: ApplyRequest, context: ApplyContext, pack: ChangePackFile): Promise<Applied> {
  const sent = context.manifests.load(request.manifest);
  const turn = new Turn();
  const local = filesOf(request, turn);
  const copies = new ConflictCopies(request.conflicts, pack, turn);
  try {
    checkRoom(request.project.root, pack.list.changed, sent);
    const applying = new Applying({ request, pack, local, copies, sent, turn, ...context });
    await applying.run();
    if (applying.hasProducts) await new Promise((resolve) => setTimeout(resolve, TICK_MS + 1));
    return applying.tally.applied();
  } finally {
    copies.close();
    local.close();
  }
}

function filesOf({ project: { root }, conflicts }: ApplyRequest, turn: Turn): LocalFiles {
  try {
    return new LocalFiles(root, 'repositories', conflicts, turn);
  } catch (error) {
    const why = `the project ${root} can't be opened (${systemCodeOf(error)}); nothing was changed`;
    throw systemCodeOf(error) === '' ? error : new MeshError('io', why, error);
  }
}

interface ApplyingParts extends Pick<ApplyContext, 'returnedMs'> {
  readonly request: ApplyRequest;
  readonly pack: ChangePackFile;
  readonly local: LocalFiles;
  readonly copies: ConflictCopies;
  /** What was sent, where that is known. */
  readonly sent: Manifest | null;
  readonly turn: Turn;
}

class Applying {
  readonly tally = new ChangeTally();
  readonly #pack: ChangePackFile;
  readonly #local: LocalFiles;
  readonly #copies: ConflictCopies;
  readonly #sent: ReadonlyMap<TreePath, ManifestEntry>;
  readonly #rules: ApplyRules;
  readonly #outputs: OutputGlobs;
  readonly #earlier: ReadonlySet<TreePath>;
  readonly #scannedMs: number;
  readonly #returnedMs: (hash: ObjectHash) => number | null;
  readonly #turn: Turn;
  readonly #heldDeletions = new Set<string>();
  /** What a folder or a file is in the way of, until deletions have made room. */
  readonly #waiting: ManifestEntry[] = [];
  /** Products of earlier jobs that are not brought, since those here are as new. */
  readonly #asNewHere: TreePath[] = [];
  #hasProducts = false;

  constructor({ request, pack, local, copies, sent, turn, returnedMs = () => null }: ApplyingParts) {
    this.#returnedMs = returnedMs;
    this.#turn = turn;
    this.#pack = pack;
    this.#local = local;
    this.#copies = copies;
    this.#sent = new Map((sent ?? NO_MANIFEST).entries.map((entry) => [entry.path, entry]));
    this.#outputs = new OutputGlobs(request.outputs);
    this.#earlier = new Set(pack.list.earlier);
    this.#scannedMs = request.scannedMs;
    this.#rules = applyRules(sent ?? NO_MANIFEST, pack.list, request.held);
    if (sent === null) {
      this.tally.notice(
        'what was sent is not known here any more: only files that were not there before are put in place',
      );
    }
  }

  /** It put some in place: for the next job to know them as such, they must lie there for a tick before its scan. */
  get hasProducts(): boolean {
    return this.#hasProducts;
  }

  /** New content first: whoever is interrupted has lost nothing. */
  async run(): Promise<void> {
    const { changed, deleted } = this.#pack.list;
    for (const entry of changed) await this.#each(entry.path, () => this.#write(entry, deleted.length > 0));
    await this.#delete();
    for (const entry of this.#waiting) await this.#each(entry.path, () => this.#write(entry, false));
    this.#tellAsNew();
    if (this.#rules.isMassDeletion && this.#heldDeletions.size > 0) {
      this.tally.notice(
        `the job deleted more than half of the project's files: no deletion is applied without "meshwork apply"`,
      );
    }
  }

  async #each(path: TreePath, act: () => Promise<void> | void): Promise<void> {
    if (this.#turn.isOver()) await this.#turn.pass();
    try {
      await act();
    } catch (error) {
      const code = systemCodeOf(error);
      if (code === '') throw error;
      const why = code === 'ENOSPC' || code === 'EDQUOT' ? 'the disk is full' : `the disk refuses (${code})`;
      throw new MeshError(
        'io',
        `${why} at ${shownPath(path)}: ${this.tally.summary()}; each file is as it was or as the job made it`,
        error,
      );
    }
  }

  async #write(entry: ManifestEntry, mayWait: boolean): Promise<void> {
    const seen = await this.#local.look(entry.path);
    if (this.#earlier.has(entry.path) && this.#isOutdone(entry, seen)) return;
    const { kind } = seen.state;
    const isObstructed = kind === 'blocked' || (kind === 'folder' && entry.kind !== 'folder');
    if (isObstructed && mayWait) {
      this.#waiting.push(entry);
      return;
    }
    const sent = this.#sent.get(entry.path) ?? this.#product(entry.path, seen);
    const decision = decideWrite(entry, sent, seen.state, this.#rules);
    switch (decision.kind) {
      case 'there':
        // Of one that the job emptied: nobody sees that it came back.
        if (entry.kind === 'folder') return;
        // Where it is applied by itself, an applying that was cut off put it there.
        if (this.#rules.held) this.tally.before(entry.path);
        else this.tally.returned(entry.path);
        return;
      case 'held':
        this.tally.held(entry.path);
        return;
      case 'conflict':
        if (isObstructed && this.#isHeldInTheWay(entry.path)) this.tally.held(entry.path);
        else await this.#conflict(entry);
        return;
      case 'write':
        this.#hasProducts ||= !this.#sent.has(entry.path) && this.#outputs.matches(entry.path);
        await this.#attempt(entry, () => this.#put(entry, decision.mode, seen));
        return;
      default:
        unreachable(decision);
    }
  }

  /** Whether a product of an earlier job has nothing to bring. */
  #isOutdone(entry: ManifestEntry, seen: Sighting): boolean {
    const here = beforeEarlier(entry, seen.state, seen.modifiedMs);
    if (here === 'other' || (here === 'older' && !this.#isSinceScan(seen))) return false;
    if (here !== 'same') this.#asNewHere.push(entry.path);
    return true;
  }

  /** Where the job made some of its own, nobody asked for those of others in particular. */
  #tellAsNew(): void {
    const [first] = this.#asNewHere;
    const isOwn = ({ path }: ManifestEntry): boolean => !this.#earlier.has(path) && this.#outputs.matches(path);
    if (first === undefined || this.#pack.list.changed.some(isOwn)) return;
    const more = this.#asNewHere.length - 1;
    const which = more === 0 ? `${shownPath(first)} is` : `${shownPath(first)} and ${more} more are`;
    this.tally.notice(`${which} as new here as what earlier jobs left there, or newer, and not replaced by it`);
  }

  /**
   * What was written after the scan may look as if it had been before, by a tick of the disk's clock. But for what a job
   * brought before the scan: nobody wrote that himself.
   */
  #isSinceScan({ changedMs, state }: Sighting): boolean {
    if (changedMs < this.#scannedMs - (changedMs % 1000 === 0 ? COARSE_TICK_MS : TICK_MS)) return false;
    const returnedMs = state.kind === 'file' ? this.#returnedMs(state.hash) : null;
    return changedMs > this.#scannedMs || returnedMs === null || returnedMs > this.#scannedMs;
  }

  /** What lay in the place of a product that was asked for, which a command that runs here would have replaced, too. */
  #product(path: TreePath, seen: Sighting): ManifestEntry | null {
    if (this.#isSinceScan(seen) || !this.#outputs.matches(path)) return null;
    const { state } = seen;
    // A secret is no product; those that are protected wait for `meshwork apply` anyway.
    if (judgeSecret(path, true) !== 'plain' && !isProtected(path)) return null;
    if (state.kind === 'link') return { ...state, path };
    return state.kind === 'file' ? { ...state, path, size: 0, mtimeMs: 0, chunks: null } : null;
  }

  async #put(entry: ManifestEntry, mode: number, seen: Sighting): Promise<void> {
    if (seen.state.kind === 'folder' && !this.#local.deleteFolder(entry.path)) throw new Obstructed();
    const now = seen.state.kind === 'folder' ? await this.#local.look(entry.path) : seen;
    switch (entry.kind) {
      case 'file':
        await this.#local.writeFile(
          entry.path,
          { mode, mtimeMs: entry.mtimeMs, hash: entry.hash, parts: this.#pack.partsOf(entry) },
          now,
        );
        return;
      case 'link':
        await this.#local.writeLink(entry.path, entry.target, now);
        return;
      case 'folder':
        // A file or link as it was sent.
        if (seen.state.kind !== 'absent') this.#local.deleteFile(entry.path, seen);
        this.#local.makeFolder(entry.path);
        return;
      default:
        unreachable(entry);
    }
  }

  /** What can't be put in its place for a reason of that place alone becomes a copy elsewhere. */
  async #attempt(entry: ManifestEntry, put: () => Promise<void>): Promise<void> {
    try {
      await put();
    } catch (error) {
      const code = systemCodeOf(error);
      if (error instanceof ChangedMeanwhile || error instanceof Obstructed) await this.#conflict(entry);
      else if (code !== '' && !DISK_FAILURES.has(code)) {
        this.tally.notice(`${shownPath(entry.path)} could not be written (${code})`);
        await this.#conflict(entry);
      } else throw error;
      return;
    }
    this.tally.returned(entry.path);
  }

  async #conflict(entry: ManifestEntry): Promise<void> {
    if (!(await this.#copies.keep(entry))) this.tally.notice(`no copy of ${shownPath(entry.path)} could be kept`);
    this.tally.conflict(entry.path);
  }

  async #delete(): Promise<void> {
    const { changed, deleted } = this.#pack.list;
    const folded = new Map(deleted.length === 0 ? [] : changed.map((entry) => [foldedPath(entry.path), entry.path]));
    const folders = new Set<string>();
    for (const path of deleted) {
      await this.#each(path, async () => {
        const kind = await this.#deleteOne(path, folded.get(foldedPath(path)));
        // Also of what is gone: an applying that was cut off may have left the folder.
        if (kind === 'delete' || kind === 'gone') folders.add(folderOf(path));
      });
    }
    const kept = new Set<string>(changed.flatMap((entry) => (entry.kind === 'folder' ? [entry.path] : [])));
    for (const folder of folders) await this.#each(folder as TreePath, () => this.#prune(folder, kept));
  }

  /** @param twin a path that the job wrote, which is the same one where the file system folds case */
  async #deleteOne(path: TreePath, twin: TreePath | undefined): Promise<DeleteDecision['kind']> {
    const sent = this.#sent.get(path) ?? null;
    const seen = await this.#local.look(path);
    const { kind } = decideDeletion(path, sent, seen.state, this.#rules);
    switch (kind) {
      case 'delete':
        return this.#remove(path, twin, seen);
      case 'gone':
        if (this.#rules.held) this.tally.before(path);
        else this.tally.deleted(path);
        return kind;
      case 'held':
        this.#heldDeletions.add(path);
        this.tally.held(path);
        return kind;
      case 'conflict':
        this.tally.conflict(path);
        this.tally.notice(
          `${shownPath(path)} was deleted by the job and is kept, since it is not what was sent any more`,
        );
        return kind;
      case 'never_sent':
        return kind;
      default:
        return unreachable(kind);
    }
  }

  #remove(path: TreePath, twin: TreePath | undefined, seen: Sighting): DeleteDecision['kind'] {
    try {
      if (seen.state.kind === 'folder') {
        // With something in it, that is not what was sent: it stays.
        if (this.#local.deleteFolder(path)) this.tally.deleted(path);
        return 'delete';
      }
      if (twin !== undefined && this.#local.isSame(path, twin)) this.#local.rename(path, twin);
      else this.#local.deleteFile(path, seen);
    } catch (error) {
      const code = systemCodeOf(error);
      if (!(error instanceof ChangedMeanwhile) && (code === '' || DISK_FAILURES.has(code))) throw error;
      this.tally.conflict(path);
      this.tally.notice(
        `${shownPath(path)} was deleted by the job and is kept${code === '' ? ', since it changed' : ` (${code})`}`,
      );
      return 'conflict';
    }
    this.tally.deleted(path);
    return 'delete';
  }

  /** Folders that deletions left empty; git's own stay, it wants them. */
  #prune(folder: string, kept: ReadonlySet<string>): void {
    for (let at = folder; at !== '' && !kept.has(at); at = folderOf(at)) {
      if (at === '.git' || at.startsWith('.git/') || at.includes('/.git')) return;
      if (!this.#local.deleteFolder(at)) return;
    }
  }

  #isHeldInTheWay(path: string): boolean {
    for (let at: string = path; at !== ''; at = folderOf(at)) if (this.#heldDeletions.has(at)) return true;
    for (const held of this.#heldDeletions) if (held.startsWith(`${path}/`)) return true;
    return false;
  }
}
