import { lstatSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import type { NodeId } from '../../base/ids.ts';
import { objectsOf } from '../../wire/manifest-codec.ts';
import { type ObjectHash, TREE_PATH_BYTES_MAX } from '../../wire/manifest.ts';
import { ObjectStore } from './object-store.ts';
import type { Slot, SlotFolders } from './slot-folders.ts';
import { isDiskFull } from './slot-record.ts';
import { readManifest } from './slot-session.ts';
import { at, namesIn, TreeFolders } from './tree-folders.ts';
import { Turn } from './turn.ts';

/** The disk is not filled to the last byte: others write to it too. */
export const FREE_BYTES_MIN = 64 * 1024 * 1024;
const DAY_MS = 86_400_000;
/** Of one origin; each has folders and records, however small it is. */
const PROJECTS_MAX = 1024;

/** What is kept here for other nodes: object stores, slots' folders, and how much that may be. */
export class KeptBytes {
  readonly #workspaces: string;
  readonly #folders: SlotFolders;
  readonly #stores = new Map<NodeId, ObjectStore>();

  /** @param workspaces MESHWORK_HOME/workspaces */
  constructor(workspaces: string, folders: SlotFolders) {
    this.#workspaces = workspaces;
    this.#folders = folders;
  }

  /** Each origin has one of its own: what another sent can't be asked for by guessing its hash. */
  store(origin: NodeId): ObjectStore {
    const known = this.#stores.get(origin);
    if (known !== undefined) return known;
    const store = ObjectStore.open(join(this.#workspaces, 'store', origin));
    this.#stores.set(origin, store);
    return store;
  }

  freeBytes(): number {
    const stat = statfsSync(this.#workspaces);
    return Math.max(0, stat.bavail * stat.bsize - FREE_BYTES_MIN);
  }

  /** Trees, objects and manifests of an origin together. */
  of(origin: NodeId): number {
    const slots = this.#slotsOf(origin);
    return slots.reduce((sum, slot) => sum + slot.record.bytes + manifestBytes(slot), this.store(origin).bytes);
  }

  storeBytes(): number {
    return this.#folders.origins().reduce((sum, origin) => sum + this.store(origin).bytes, 0);
  }

  /**
   * Makes an origin's trees and objects fit: first what nothing needs of its objects goes, then slots that were not used
   * for longest. Never what is in use.
   *
   * @returns whether they fit now
   */
  async fit(origin: NodeId, bytesMax: number): Promise<boolean> {
    const turn = new Turn();
    for (;;) {
      const total = this.of(origin);
      if (total <= bytesMax) return true;
      const store = this.store(origin);
      store.sweep({ bytesMax: Math.max(0, bytesMax - (total - store.bytes)), keep: this.#needed(origin) });
      if (this.of(origin) <= bytesMax) return true;
      const oldest = this.#slotsOf(origin)
        .filter((slot) => slot.record.lease === null)
        .toSorted((a, b) => a.record.usedMs - b.record.usedMs)[0];
      if (oldest === undefined) return false;
      await this.remove(oldest, turn);
    }
  }

  /** Where an origin has very many projects, the one used longest ago makes room for another. False: all are in use. */
  async hasRoomFor(origin: NodeId, project: string, projectsMax = PROJECTS_MAX): Promise<boolean> {
    const projects = this.#folders.projects(origin);
    if (projects.includes(project) || projects.length < projectsMax) return true;
    const unused = projects
      .map((each) => this.#folders.slots(origin, each))
      .filter((slots) => slots.every((slot) => slot.record.lease === null))
      .toSorted((one, other) => lastUse(one) - lastUse(other))[0];
    if (unused === undefined) return false;
    for (const slot of unused) await this.remove(slot, new Turn());
    return true;
  }

  async sweep(limits: { readonly quotaBytes: number; readonly keepDays: number }, nowMs: number): Promise<void> {
    const turn = new Turn();
    for (const slot of this.#folders.all()) {
      const isOld = nowMs - slot.record.usedMs > limits.keepDays * DAY_MS;
      if (slot.record.lease !== null) continue;
      if (isOld) await this.remove(slot, turn);
      else if (slot.record.measuredMs < slot.record.usedMs) await this.measure(slot, nowMs);
    }
    for (const origin of this.#folders.origins()) {
      for (const project of this.#folders.projects(origin)) {
        await this.#folders.tidy(origin, project, turn);
        this.#folders.prune(origin, project);
      }
      await this.fit(origin, limits.quotaBytes);
    }
    this.#dropStores();
  }

  /** @returns what that freed; 0 where it is in use meanwhile */
  async remove(slot: Slot, turn: Turn): Promise<number> {
    const { bytes } = slot.record;
    if (this.#folders.find(slot.id)?.record.lease !== null) return 0;
    await this.#folders.discard(slot.paths, turn);
    this.#folders.prune(slot.origin, slot.project);
    return bytes;
  }

  /** Looks how large a slot's folder is, and notes it. A slot that is taken meanwhile keeps what it had. */
  async measure(slot: Slot, nowMs: number): Promise<number> {
    const bytes = await sizeOf(slot.paths.tree(slot.record), new Turn());
    const now = this.#folders.find(slot.id);
    try {
      if (now !== null) this.#folders.update(now, { bytes, measuredMs: nowMs });
    } catch (error) {
      // Then it is measured again next time.
      if (!isDiskFull(error)) throw error;
    }
    return bytes;
  }

  /** Objects of all manifests that slots have or wait for. */
  #needed(origin: NodeId): Set<ObjectHash> {
    const needed = new Set<ObjectHash>();
    for (const { paths, record } of this.#slotsOf(origin)) {
      for (const hash of new Set([record.manifest, record.wanted?.manifest ?? null])) {
        const manifest = hash === null ? null : readManifest(paths, hash);
        for (const object of objectsOf(manifest?.entries ?? [])) needed.add(object.hash);
      }
    }
    return needed;
  }

  #slotsOf(origin: NodeId): Slot[] {
    return this.#folders.projects(origin).flatMap((project) => this.#folders.slots(origin, project));
  }

  /** Of origins that have no slots any more. */
  #dropStores(): void {
    const folder = join(this.#workspaces, 'store');
    const origins = new Set<string>(this.#folders.origins());
    for (const entry of namesInIfThere(folder)) {
      if (origins.has(entry)) continue;
      const [origin, store] = [...this.#stores].find(([id]) => id === entry) ?? [];
      store?.close();
      if (origin !== undefined) this.#stores.delete(origin);
      rmSync(join(folder, entry), { recursive: true, force: true });
    }
  }
}

const lastUse = (slots: readonly Slot[]): number => Math.max(0, ...slots.map((slot) => slot.record.usedMs));

/** A few bytes of an origin may be a manifest of a hundred megabytes. */
function manifestBytes({ paths, record }: Slot): number {
  const hashes = new Set([record.manifest, record.wanted?.manifest ?? null]);
  let bytes = 0;
  for (const hash of hashes) {
    if (hash !== null) bytes += lstatSync(paths.manifest(hash), { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}

function namesInIfThere(folder: string): string[] {
  const stat = lstatSync(folder, { throwIfNoEntry: false });
  return stat === undefined ? [] : namesIn(folder).map((entry) => entry.name.toString('latin1'));
}

async function sizeOf(tree: string, turn: Turn): Promise<number> {
  // Gone, or a link that a job put there.
  if (lstatSync(tree, { throwIfNoEntry: false })?.isDirectory() !== true) return 0;
  const folders = new TreeFolders(tree, null);
  let bytes = 0;
  try {
    const waiting = [''];
    for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
      if (turn.isOver()) await turn.pass();
      const prefix = folders.enter(folder);
      for (const entry of prefix === null ? [] : namesIn(prefix)) {
        const name = entry.name.toString('latin1');
        if (entry.isDirectory() && folder.length > TREE_PATH_BYTES_MAX) continue;
        if (entry.isDirectory()) waiting.push(folder === '' ? name : `${folder}/${name}`);
        else bytes += lstatSync(at(prefix ?? '', name), { throwIfNoEntry: false })?.size ?? 0;
      }
    }
  } finally {
    folders.close();
  }
  return bytes;
}
