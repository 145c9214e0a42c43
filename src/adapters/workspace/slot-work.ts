import { lstatSync } from 'node:fs';
import { bytesOfText } from '../../base/byte-text.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { formatSize } from '../../base/units.ts';
import type { TakenPack, Wanted, WorkspaceRefusal } from '../../ports/workspace.ts';
import { objectsOf } from '../../wire/manifest-codec.ts';
import { encodeWant } from '../../wire/want-list.ts';
import { FREE_BYTES_MIN, type KeptBytes } from './kept-bytes.ts';
import { type Arrived, EarlyFiles } from './early-files.ts';
import { refreshIndexes } from './git-refresh.ts';
import { nativePath } from './native-path.ts';
import { placeTree } from './place.ts';
import { PlacingFailed, type Placed } from './placing.ts';
import { gitConfigsOf, wrongGitConfig } from './sent-git-config.ts';
import { cloneTree } from './slot-clone.ts';
import type { Slot, SlotFolders } from './slot-folders.ts';
import { copyNotes, dropNotes } from './slot-notes.ts';
import type { SlotRecord } from './slot-record.ts';
import { forgetManifests, type ManifestNeeds, readManifest, type SlotSession, writeManifest } from './slot-session.ts';
import type { Chunk, ManifestEntry, ManifestHash, ObjectHash } from '../../wire/manifest.ts';
import type { ObjectStore } from './object-store.ts';
import { Remover, type TreeOwner } from './tree-folders.ts';
import { isGitIndex, TreeIndex } from './tree-index.ts';
import { TreeState } from './tree-state.ts';
import { encodeManifest } from '../../wire/manifest-codec.ts';

type Refused<T> = Result<T, WorkspaceRefusal>;

/** Objects that are looked for again when they should have come: more of them would hold up a first sync. */
const LACKING_NOTED_MAX = 1024;

/** What works on a slot's folder needs of the whole. */
export interface SlotSurroundings {
  readonly folders: SlotFolders;
  readonly kept: KeptBytes;
  readonly owner: TreeOwner;
}

/** Of a tree whose files are made while packs come: what that needs in memory is held as long as they take. */
const EARLY_ENTRIES_MAX = 100_000;

/**
 * Which objects are lacking, and whether there is room for them.
 *
 * @param pack of objects that came with the manifest
 */
export async function wantedOf(
  session: SlotSession,
  hash: ManifestHash,
  index: TreeIndex,
  around: SlotSurroundings,
  pack?: Uint8Array,
): Promise<Refused<Wanted>> {
  const { slot } = session;
  const { kept, folders } = around;
  const store = kept.store(slot.origin);
  const known = session.completeNeeds(hash, store.losses);
  const lacking = known === null ? lackedOf(index, store, completeBase(session, store)) : [];
  const bytes = bytesOf(lacking);
  const needs = known ?? needsOf(index);
  const hashes = lacking.map((object) => object.hash);
  if (lacking.length <= LACKING_NOTED_MAX) session.noteNeeds(hash, needs, store.losses, hashes);
  const { treeBytes } = needs;
  session.slot = folders.update(slot, { bytes: Math.max(treeBytes, slot.record.bytes) });
  const quotaBytes = slot.record.wanted?.quotaBytes ?? Number.POSITIVE_INFINITY;
  if (!(await kept.fit(slot.origin, quotaBytes - bytes))) {
    const most = formatSize(quotaBytes);
    return refused(
      'quota',
      `the project needs ${formatSize(treeBytes + bytes)} there, where your workspaces may have ${most} in all and others of them are in use`,
    );
  }
  // A tree that is there needs room for what changes, once in the store and once in the tree; one object may be many files.
  const grows = Math.max(bytes, treeBytes - slot.record.bytes);
  const needed = bytes + (slot.record.manifest === null ? treeBytes : grows);
  const lackingBytes = needed - kept.freeBytes();
  if (lackingBytes > 0) await kept.fit(slot.origin, Math.max(0, kept.of(slot.origin) - lackingBytes));
  const freeBytes = kept.freeBytes();
  if (needed > freeBytes) {
    const has = `beyond ${formatSize(FREE_BYTES_MIN)} in reserve the disk there has ${formatSize(freeBytes)} free`;
    return refused('no_space', `${has}, the project needs ${formatSize(needed)}`);
  }
  session.awaitedBytes = bytes;
  session.endEarly();
  const isFirst = slot.record.manifest === null;
  if (isFirst && lacking.length > 0 && index.manifest.entries.length <= EARLY_ENTRIES_MAX)
    session.early = { kind: 'waiting', judged: gitConfigsOf(index) };
  if (pack === undefined) return ok(wantOf(index, lacking));
  const taken = await takePack(session, pack, around);
  if (!taken.ok) return taken;
  const rest = lacking.filter((object) => !store.has(object.hash));
  return ok(wantOf(index, rest));
}

/** What is placed, where the store is known to have all of it. */
function completeBase(session: SlotSession, store: ObjectStore): TreeIndex | null {
  const { manifest } = session.slot.record;
  if (manifest === null || !session.holds(manifest)) return null;
  return session.completeNeeds(manifest, store.losses) === null ? null : session.indexOf(manifest);
}

/** @param base of which the store has all objects */
function lackedOf({ manifest: { entries } }: TreeIndex, store: ObjectStore, base: TreeIndex | null): readonly Chunk[] {
  const changed = base === null ? entries : entries.filter((entry, at) => !isAt(base, at, entry));
  return objectsOf(changed).filter(({ hash }) => !store.has(hash));
}

function needsOf({ manifest: { entries } }: TreeIndex): ManifestNeeds {
  let treeBytes = 0;
  for (const entry of entries) if (entry.kind === 'file') treeBytes += entry.size;
  return { treeBytes };
}

/** The list of them, for which all objects are gone through where there are any. */
function wantOf({ manifest: { entries } }: TreeIndex, lacking: readonly Chunk[]): Wanted {
  if (lacking.length === 0) return { want: new Uint8Array(0), objects: 0, bytes: 0 };
  const hashes = new Set(lacking.map(({ hash }) => hash));
  const objects = objectsOf(entries);
  const want = encodeWant(objects.length, (at) => {
    const object = objects[at];
    return object !== undefined && hashes.has(object.hash);
  });
  return { want, objects: lacking.length, bytes: bytesOf(lacking) };
}

const bytesOf = (objects: readonly Chunk[]): number => objects.reduce((sum, { size }) => sum + size, 0);

/** Is that very entry in the manifest, too? Mostly in the same place. */
const isAt = (base: TreeIndex, at: number, entry: ManifestEntry): boolean =>
  base.manifest.entries[at] === entry || base.entryOf(entry.path) === entry;

/** Keeps what a pack holds; more than was asked for would fill the disk unseen. */
export async function takePack(
  session: SlotSession,
  pack: Uint8Array,
  around: SlotSurroundings,
): Promise<Refused<TakenPack>> {
  // Several sessions may each have found the disk large enough.
  if (around.kept.freeBytes() < pack.length) {
    const reserve = formatSize(FREE_BYTES_MIN);
    return refused('no_space', `the disk there is full, but for ${reserve} in reserve; nothing has run`);
  }
  const arrived: Arrived[] = [];
  const isEarly = session.early.kind !== 'none';
  const store = around.kept.store(session.slot.origin);
  const added = store.add(pack, isEarly ? (hash, bytes) => void arrived.push({ hash, bytes }) : null);
  if (!added.ok) return added;
  session.awaitedBytes -= added.value.bytes;
  if (session.awaitedBytes < 0) {
    session.awaitedBytes = 0;
    return refused('refused', 'more was sent than was asked for; nothing was changed');
  }
  const wrong = beginEarly(session, store, around);
  if (wrong !== null) return refused('refused', `${wrong}; nothing was changed`);
  if (session.early.kind === 'placing') await session.early.files.take(arrived);
  return ok({ ...added.value, memory: pack.buffer });
}

/**
 * Where nothing lies in a slot's tree yet, its files are made while packs come.
 *
 * @returns what is wrong with what was sent
 */
function beginEarly(session: SlotSession, store: ObjectStore, around: SlotSurroundings): string | null {
  const { early, slot } = session;
  const { wanted } = slot.record;
  if (wanted === null || early.kind !== 'waiting' || !early.judged.every((hash) => store.has(hash))) return null;
  const index = session.indexOf(wanted.manifest);
  const wrong = wrongGitConfig(index, store);
  if (wrong !== null) return wrong;
  TreeState.unhold(slot.paths.state);
  const files = EarlyFiles.begin({ ...partsOf(session, wanted.manifest, around), index });
  session.early = files === null ? { kind: 'none' } : { kind: 'placing', files };
  return null;
}

/** What making files in a slot's tree needs. */
function partsOf(session: SlotSession, hash: ManifestHash, around: SlotSurroundings) {
  const { paths, record, origin } = session.slot;
  const objects = around.kept.store(origin);
  return {
    tree: paths.tree(record),
    scratch: paths.scratch,
    hash,
    // One at a time, and written at once.
    objects: { read: (object: ObjectHash) => objects.view(object) },
    remover: new Remover(paths.trash),
    owner: around.owner,
    isUnwanted: () => session.isClosed,
  };
}

/** Makes the slot's tree what its job asked for, and notes down what lies there then. */
export async function placeSlot(
  session: SlotSession,
  onProgress: (files: number) => void,
  around: SlotSurroundings,
): Promise<Refused<Pick<Placed, 'written' | 'removed'>>> {
  const { paths, record, origin } = session.slot;
  const { wanted } = record;
  const made = session.endEarly();
  if (wanted === null) return refused('unknown', 'no manifest is expected; nothing was changed');
  const objects = around.kept.store(origin);
  session.noteArrived((object) => objects.has(object));
  // The same attempt may have been opened for another manifest since.
  const early = made?.state.manifest === wanted.manifest ? made : null;
  const before = placedBefore(session);
  const index = session.indexOf(wanted.manifest);
  const wrong = wrongGitConfig(index, objects);
  if (wrong !== null) return refused('refused', `${wrong}; nothing was changed`);
  try {
    TreeState.unhold(paths.state);
    const placed = await placeTree({
      ...partsOf(session, wanted.manifest, around),
      index,
      before,
      early,
      matcher: session.matcherFor(index),
      clean: wanted.clean,
      onProgress,
    });
    await refreshGit(paths.tree(record), index, placed.state, placed.indexes);
    if (before?.state?.isLike(placed.state) === true) TreeState.noteAgain(paths.state, Date.now());
    else placed.state.write(paths.state, Date.now(), 'placed');
    session.slot = around.folders.update(session.slot, { manifest: wanted.manifest, wanted: null });
    forgetManifests(paths, [wanted.manifest]);
    return ok({ written: placed.written, removed: placed.removed });
  } catch (error) {
    if (error instanceof PlacingFailed) return refused(error.code, error.message);
    throw error;
  }
}

/** Git's indexes get to know the files beside them, and the state of the tree what git wrote. */
async function refreshGit(tree: string, index: TreeIndex, state: TreeState, paths: readonly string[]): Promise<void> {
  const root = bytesOfText(tree);
  await refreshIndexes(
    paths.map((path) => `${root}/${path}`.replace(/\/\.git\/index$/, '')),
    process.env,
  );
  for (const path of paths) {
    const at = index.indexOf(path);
    const stat = lstatSync(nativePath(`${root}/${path}`), { throwIfNoEntry: false });
    if (at !== undefined && stat !== undefined) state.files.note(at, stat);
  }
}

function placedBefore(session: SlotSession): { readonly index: TreeIndex; readonly state: TreeState | null } | null {
  const { paths, record } = session.slot;
  if (record.manifest === null) return null;
  const isKnown = session.holds(record.manifest) || readManifest(paths, record.manifest) !== null;
  // Something was placed, so that times of the origin mean nothing any more.
  if (!isKnown) return { index: new TreeIndex({ entries: [] }), state: null };
  const index = session.indexOf(record.manifest);
  const state = TreeState.read(paths.state);
  return { index, state: state?.manifest === record.manifest && state.fits(index) ? state : null };
}

/** Gives a new slot what another of the project has; without one that can be copied it starts empty. */
export async function cloneSlot(session: SlotSession, source: SlotSession, around: SlotSurroundings): Promise<void> {
  const { slot } = session;
  const from = source.slot;
  const hash = from.record.manifest;
  const manifest = hash === null ? null : readManifest(from.paths, hash);
  const state = TreeState.read(from.paths.state);
  // While it is being placed, nothing there is sure.
  if (hash === null || manifest === null || state?.manifest !== hash || from.record.wanted !== null) return;
  const remover = new Remover(slot.paths.trash);
  const index = new TreeIndex(manifest);
  copyNotes(from.paths, slot.paths);
  try {
    const cloned = await cloneTree(
      { tree: from.paths.tree(from.record), index, state, matcher: source.matcherFor(index) },
      { tree: slot.paths.tree(slot.record), remover, owner: around.owner },
    );
    const indexes = index.manifest.entries.flatMap((entry, at) =>
      isGitIndex(entry.path) && cloned.files.isKnown(at) ? [entry.path] : [],
    );
    await refreshGit(slot.paths.tree(slot.record), index, cloned, indexes);
    writeManifest(slot.paths, hash, encodeManifest(manifest));
    cloned.write(slot.paths.state, Date.now(), 'placed');
    session.slot = around.folders.update(slot, { manifest: hash, bytes: from.record.bytes });
  } catch (error) {
    // A copy saves time and nothing else: the slot is cold, whatever kept it from being copied.
    if (!(error instanceof Error)) throw error;
    await around.folders.emptyTree(slot, remover);
    dropNotes(slot.paths);
  }
}

export const refused = (
  code: WorkspaceRefusal['code'],
  message: string,
): { readonly ok: false; readonly error: WorkspaceRefusal } => err({ code, message });

/** Of those, the slot that a new one is best made from. */
export function warmest(slots: readonly Slot[], manifest: SlotRecord['manifest']): Slot | null {
  const rank = (slot: Slot): number => (slot.record.manifest === manifest ? 1 : 0);
  return slots.toSorted((a, b) => rank(b) - rank(a) || b.record.usedMs - a.record.usedMs)[0] ?? null;
}
