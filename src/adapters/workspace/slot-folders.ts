import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { bytesOfText } from '../../base/byte-text.ts';
import { isNodeId, type JobId, type NodeId } from '../../base/ids.ts';
import { systemCodeOf } from '../../base/errors.ts';
import { projectKeySchema } from '../../wire/workspace.ts';
import {
  folderNameOf,
  PRIVATE_FOLDER_MODE,
  readProjectRecord,
  readSlotRecord,
  SlotPaths,
  writeProjectRecord,
  writeSlotRecord,
  type SlotRecord,
} from './slot-record.ts';
import type { OpenRequest } from '../../ports/workspace.ts';
import { namesIn, Remover, type TreeOwner } from './tree-folders.ts';
import { Turn } from './turn.ts';

/** Above what any machine has job slots for; each is a folder. */
export const SLOTS_PER_PROJECT_MAX = 1024;
/** To be passed through by the user that jobs run as, and not to be listed. */
const TRAVERSABLE_FOLDER_MODE = 0o711;
const OTHERS_MAY_PASS = 0o001;
const SLOT_NAME = /^[1-9]\d{0,3}$/;

/** One slot of one project. */
export interface Slot {
  /** `<origin>/<project>/<slot>`. */
  readonly id: string;
  readonly origin: NodeId;
  readonly project: string;
  readonly paths: SlotPaths;
  readonly record: SlotRecord;
}

/** The folders `for/<origin>/<project>/<slot>/<label>` and what is known of them, all of it on the disk. */
export class SlotFolders {
  readonly #top: string;
  readonly #removers = new Map<string, Remover>();

  /** @param workspaces MESHWORK_HOME/workspaces */
  constructor(workspaces: string) {
    this.#top = join(workspaces, 'for');
  }

  projectFolder(origin: NodeId, project: string): string {
    return join(this.#top, origin, project);
  }

  origins(): NodeId[] {
    return namesOf(this.#top).filter(isNodeId);
  }

  projects(origin: NodeId): string[] {
    return namesOf(join(this.#top, origin)).filter((name) => projectKeySchema.safeParse(name).success);
  }

  slots(origin: NodeId, project: string): Slot[] {
    const folder = this.projectFolder(origin, project);
    return namesOf(folder)
      .filter((name) => SLOT_NAME.test(name))
      .flatMap((name) => {
        const paths = new SlotPaths(folder, name);
        const record = readSlotRecord(paths);
        return record === null ? [] : [{ id: `${origin}/${project}/${name}`, origin, project, paths, record }];
      });
  }

  all(): Slot[] {
    return this.origins().flatMap((origin) => this.projects(origin).flatMap((project) => this.slots(origin, project)));
  }

  /** @param id of `Slot.id`; null where there is no such slot (any more) */
  find(id: string): Slot | null {
    const [origin = '', project = '', name = '', ...rest] = id.split('/');
    if (!isNodeId(origin) || !projectKeySchema.safeParse(project).success) return null;
    if (!SLOT_NAME.test(name) || rest.length > 0) return null;
    const paths = new SlotPaths(this.projectFolder(origin, project), name);
    const record = readSlotRecord(paths);
    return record === null ? null : { id, origin, project, paths, record };
  }

  findLease(job: JobId, attempt: number): Slot | null {
    return this.all().find((slot) => slot.record.lease?.job === job && slot.record.lease.attempt === attempt) ?? null;
  }

  /** Takes the warmest free slot, or makes another where all are in use. Null: there are too many. */
  take(request: OpenRequest, nowMs: number): { readonly slot: Slot; readonly isNew: boolean } | null {
    const project = this.projectFolder(request.origin, request.project);
    this.#makeFolders(project, request.user);
    const known = readProjectRecord(project);
    if (known?.label !== request.label || known.root !== request.root) {
      writeProjectRecord(project, { label: request.label, root: request.root });
    }
    const slots = this.slots(request.origin, request.project);
    const lease = { job: request.job, attempt: request.attempt };
    const own = slots.find(
      (slot) => slot.record.lease?.job === lease.job && slot.record.lease.attempt === lease.attempt,
    );
    const free = own ?? slots.filter((slot) => slot.record.lease === null).toSorted(warmestFirst(request.manifest))[0];
    const name = free?.paths.name ?? unusedName(project);
    if (name === null) return null;
    const paths = free?.paths ?? new SlotPaths(project, name);
    if (free === undefined) this.#clear(paths);
    const record: SlotRecord = {
      folder: free?.record.folder ?? folderNameOf(request.label),
      manifest: free?.record.manifest ?? null,
      lease,
      usedMs: nowMs,
      rules: request.rules,
      isGit: request.isGit,
      wanted: { manifest: request.manifest, clean: request.clean, quotaBytes: request.quotaBytes },
      bytes: free?.record.bytes ?? 0,
      measuredMs: free?.record.measuredMs ?? 0,
    };
    this.#makeTree(paths, record, request.user);
    writeSlotRecord(paths, record);
    const id = `${request.origin}/${request.project}/${name}`;
    return {
      slot: { id, origin: request.origin, project: request.project, paths, record },
      isNew: free === undefined,
    };
  }

  /** Writes what changed of a slot's record. @returns the slot as it is now */
  update(slot: Slot, change: Partial<SlotRecord>): Slot {
    const record = { ...slot.record, ...change };
    const keys = Object.keys(change) as (keyof SlotRecord)[];
    if (keys.every((key) => record[key] === slot.record[key])) return slot;
    writeSlotRecord(slot.paths, record);
    return { ...slot, record };
  }

  /** Removes a slot: at once as far as anybody can see, its files bit by bit. */
  async discard(paths: SlotPaths, turn: Turn): Promise<number> {
    const project = dirname(paths.holder);
    const names = [basename(paths.meta), basename(paths.holder)];
    return this.#remover(project).removeInTurns(bytesOfText(`${project}/`), names, turn);
  }

  /** Removes what is in a slot's tree; the tree stays. */
  async emptyTree(slot: Slot, remover: Remover): Promise<void> {
    const prefix = bytesOfText(`${slot.paths.tree(slot.record)}/`);
    await remover.removeInTurns(
      prefix,
      namesIn(prefix).map((entry) => entry.name.toString('latin1')),
      new Turn(),
    );
  }

  /** Removes what an earlier life of the thread, which ended in the middle, left of slots that it made or removed. */
  async tidy(origin: NodeId, project: string, turn: Turn): Promise<void> {
    const folder = this.projectFolder(origin, project);
    const left = namesOf(folder)
      .filter((name) => SLOT_NAME.test(name))
      .map((name) => new SlotPaths(folder, name))
      .filter((paths) => readSlotRecord(paths) === null);
    // What is in the trash of this life is being removed.
    if (!this.#removers.has(folder) && namesOf(join(folder, 'trash')).length > 0) {
      const remover = new Remover(join(folder, 'trash'), 'kept');
      this.#removers.set(folder, remover);
      await remover.emptyInTurns(turn);
    }
    for (const paths of left) if (readSlotRecord(paths) === null) await this.discard(paths, turn);
  }

  /** Removes the folders of a project, and of an origin, that have no slots any more. */
  prune(origin: NodeId, project: string): void {
    const folder = this.projectFolder(origin, project);
    // What is in the trash is being removed.
    if (namesOf(folder).some((name) => SLOT_NAME.test(name)) || namesOf(join(folder, 'trash')).length > 0) return;
    this.#removers.delete(folder);
    rmSync(folder, { recursive: true, force: true });
    if (this.projects(origin).length === 0) rmSync(join(this.#top, origin), { recursive: true, force: true });
  }

  label(origin: NodeId, project: string): { readonly label: string; readonly root: string } {
    return readProjectRecord(this.projectFolder(origin, project)) ?? { label: 'project', root: '' };
  }

  /** @returns a folder above the tree that `owner` can't pass through, null where the way is free */
  blockedAt(tree: string, owner: TreeOwner): string | null {
    if (owner === null) return null;
    for (let folder = dirname(tree); ; folder = dirname(folder)) {
      const stat = statSync(folder);
      const isOpen = stat.uid === owner.uid ? (stat.mode & 0o100) !== 0 : (stat.mode & OTHERS_MAY_PASS) !== 0;
      if (!isOpen) return folder;
      if (folder === dirname(folder)) return null;
    }
  }

  #makeFolders(project: string, owner: TreeOwner): void {
    mkdirSync(project, { recursive: true, mode: PRIVATE_FOLDER_MODE });
    // MESHWORK_HOME, workspaces, for, origin, project.
    const above = [dirname(dirname(this.#top)), dirname(this.#top), this.#top, dirname(project), project];
    if (owner !== null) for (const folder of above) chmodSync(folder, TRAVERSABLE_FOLDER_MODE);
  }

  /** What a crash left of a slot that was not made, or removed, to its end. */
  #clear(paths: SlotPaths): void {
    const project = dirname(paths.holder);
    for (const folder of [paths.holder, paths.meta]) {
      if (existsSync(folder)) this.#remover(project).remove(bytesOfText(`${project}/`), basename(folder));
    }
  }

  #remover(project: string): Remover {
    const known = this.#removers.get(project);
    if (known !== undefined) return known;
    const remover = new Remover(join(project, 'trash'));
    this.#removers.set(project, remover);
    return remover;
  }

  #makeTree(paths: SlotPaths, record: SlotRecord, owner: TreeOwner): void {
    const tree = paths.tree(record);
    // A job may have put a link or a file in their place: nothing is written through that.
    for (const folder of [paths.holder, tree]) {
      const stat = lstatSync(folder, { throwIfNoEntry: false });
      if (stat === undefined || stat.isDirectory()) continue;
      this.#remover(dirname(paths.holder)).remove(bytesOfText(`${dirname(folder)}/`), basename(folder));
    }
    mkdirSync(tree, { recursive: true, mode: PRIVATE_FOLDER_MODE });
    if (owner === null) return;
    chmodSync(paths.holder, TRAVERSABLE_FOLDER_MODE);
    chownSync(tree, owner.uid, owner.gid);
  }
}

function warmestFirst(manifest: string): (a: Slot, b: Slot) => number {
  const rank = (slot: Slot): number => (slot.record.manifest === manifest ? 1 : 0);
  return (a, b) => rank(b) - rank(a) || b.record.usedMs - a.record.usedMs;
}

function unusedName(project: string): string | null {
  for (let number = 1; number <= SLOTS_PER_PROJECT_MAX; number++) {
    const paths = new SlotPaths(project, String(number));
    if (readSlotRecord(paths) === null) return paths.name;
  }
  return null;
}

function namesOf(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT' || systemCodeOf(error) === 'ENOTDIR') return [];
    throw error;
  }
}
