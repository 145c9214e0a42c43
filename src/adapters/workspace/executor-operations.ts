import { existsSync } from 'node:fs';
import { MeshError, messageOf } from '../../base/errors.ts';
import type { JobId, NodeId } from '../../base/ids.ts';
import { ok, type Result } from '../../base/result.ts';
import type {
  CollectRequest,
  KeptWorkspace,
  OpenedWorkspace,
  OpenRequest,
  TakenPack,
  Wanted,
  WorkspaceFiles,
  WorkspaceRefusal,
} from '../../ports/workspace.ts';
import { CHANGE_PROBLEM_CHARS_MAX, type ChangePack, NO_CHANGE_PACK } from '../../wire/changes.ts';
import { isDifference } from '../../wire/manifest-difference.ts';
import { ChangedContents } from './changed-contents.ts';
import { collectTree } from './collect.ts';
import { HeldIndexes } from './held-indexes.ts';
import { KeptBytes } from './kept-bytes.ts';
import { expandManifest } from './manifest-transport.ts';
import { collisionIn, foldsNames } from './name-folding.ts';
import { LARGE_MANIFEST_BYTES, OneLargeTree } from './one-large-tree.ts';
import type { ThreadSettings } from './operations.ts';
import { receivedManifest } from './received-manifest.ts';
import { wrongIgnoreFiles } from './sent-git-config.ts';
import { SlotFolders, SLOTS_PER_PROJECT_MAX, type Slot } from './slot-folders.ts';
import { isDiskFull } from './slot-record.ts';
import { dropNotes, readNote, writeNote } from './slot-notes.ts';
import { MANIFEST_LOST, manifestBytes, readManifest, SlotSession, writeManifest } from './slot-session.ts';
import { cloneSlot, placeSlot, refused, type SlotSurroundings, takePack, wantedOf, warmest } from './slot-work.ts';
import { digestsOf } from './tree-digest.ts';
import { TreeState } from './tree-state.ts';
import { Turn } from './turn.ts';

type Refused<T> = Result<T, WorkspaceRefusal>;

/** The executor's side of the thread. */
export function createExecutorOperations(settings: ThreadSettings): WorkspaceFiles {
  return new ExecutorOperations(settings);
}

/**
 * Slots' folders for jobs of other nodes. An id stays valid from `open` to `close`, also in another life of the thread:
 * what isn't in memory is read from the slot's folder.
 */
class ExecutorOperations implements WorkspaceFiles {
  readonly #around: SlotSurroundings;
  readonly #folders: SlotFolders;
  readonly #kept: KeptBytes;
  readonly #sessions = new Map<string, SlotSession>();
  /** The one that was released last: what it knows of its tree saves the next job reading it again. */
  #resting: SlotSession | null = null;
  readonly #held = new HeldIndexes();
  readonly #largeTree = new OneLargeTree();
  /** By project folder: whether names fold there. */
  readonly #folding = new Map<string, boolean>();

  constructor(settings: ThreadSettings) {
    this.#folders = new SlotFolders(settings.folder);
    this.#kept = new KeptBytes(settings.folder, this.#folders);
    this.#around = { folders: this.#folders, kept: this.#kept, owner: settings.user };
  }

  open = async (request: OpenRequest): Promise<Refused<OpenedWorkspace>> => {
    const result = await this.#open(request);
    if (result.ok || result.error.code !== 'no_space') return result;
    // What fills the disk may be what a job of theirs left in a workspace: without that there may be room.
    await this.#kept.fit(request.origin, 0);
    return this.#open(request);
  };

  #open = (request: OpenRequest): Promise<Refused<OpenedWorkspace>> =>
    orFull(async () => {
      for (;;) {
        const result = await this.#openOnce(request);
        if (result !== null) return result;
      }
    });

  /** Null where the same attempt, which was open before, was closed meanwhile: its slot is free, maybe for another. */
  async #openOnce(request: OpenRequest): Promise<Refused<OpenedWorkspace> | null> {
    if (!(await this.#kept.hasRoomFor(request.origin, request.project))) {
      return refused('busy', 'there are too many of your projects there, and all are in use');
    }
    const taken = this.#folders.take(request, Date.now());
    if (taken === null) return refused('busy', `there are ${SLOTS_PER_PROJECT_MAX} workspaces of this project there`);
    const session = this.#sessionOf(taken.slot);
    return session.inTurn(async () => {
      if (this.#sessions.get(taken.slot.id) !== session) return null;
      session.isClosed = false;
      session.collected = null;
      session.slot = taken.slot;
      try {
        const result = await this.#opened(session, request, taken.isNew);
        if (!result.ok) this.#release(session);
        return result;
      } catch (error) {
        // Nobody will be told its id.
        this.#release(session);
        throw error;
      }
    });
  }

  takeManifest = (id: string, encoded: Uint8Array | null, pack?: Uint8Array): Promise<Refused<Wanted>> => {
    const small = encoded === null ? null : expandManifest(encoded, LARGE_MANIFEST_BYTES);
    // A large one, which may have to wait, is not in memory meanwhile.
    const isLarge = small !== null && !small.ok;
    return orFull(() =>
      this.#withTree(
        id,
        async (session) => {
          const expanded = encoded !== null && isLarge ? expandManifest(encoded) : small;
          if (expanded === null) return this.#takeKnown(session);
          if (!expanded.ok) return refused('refused', `${expanded.error}; nothing was changed`);
          return this.#takeManifest(session, expanded.value, pack);
        },
        isLarge,
      ),
    );
  };

  takePack = (id: string, pack: Uint8Array): Promise<Refused<TakenPack>> =>
    this.#with(id, (session) => takePack(session, pack, this.#around));

  place = (
    id: string,
    onProgress: (files: number) => void,
  ): Promise<Refused<{ readonly written: number; readonly removed: number; readonly notices: readonly string[] }>> =>
    orFull(() =>
      this.#withTree(id, async (session) => {
        const placed = await placeSlot(session, onProgress, this.#around);
        return placed.ok ? ok({ ...placed.value, notices: [] }) : placed;
      }),
    );

  digest = (id: string, paths: readonly string[]): Promise<readonly (string | null)[]> =>
    this.#with(id, ({ slot }) => digestsOf(slot.paths.tree(slot.record), paths));

  readNote = (id: string, name: string): Promise<string | null> =>
    this.#with(id, ({ slot }) => readNote(slot.paths, name));

  writeNote = (id: string, name: string, text: string): Promise<void> =>
    this.#with(id, ({ slot }) => writeNote(slot.paths, name, text));

  collect = (request: CollectRequest): Promise<ChangePack> =>
    this.#withTree(request.id, (session) => this.#collect(session, request)).catch((error: unknown) =>
      nothingCollected(`the changes could not be collected there: ${messageOf(error)}`),
    );

  close = async (id: string): Promise<void> => {
    const slot = this.#folders.find(id);
    if (slot === null || slot.record.lease === null) return;
    const session = this.#sessionOf(slot);
    // A placing that goes on ends where it is.
    session.isClosed = true;
    await session.inTurn(() => this.#release(session));
  };

  reopen = async (job: JobId, attempt: number): Promise<OpenedWorkspace | null> => {
    const slot = this.#folders.findLease(job, attempt);
    return slot === null ? null : opened(slot);
  };

  releaseAllBut = async (attempts: readonly { readonly job: JobId; readonly attempt: number }[]): Promise<void> => {
    const kept = new Set(attempts.map(({ job, attempt }) => `${job}/${attempt}`));
    for (const slot of this.#folders.all()) {
      const lease = slot.record.lease;
      if (lease !== null && !kept.has(`${lease.job}/${lease.attempt}`)) await this.close(slot.id);
    }
  };

  list = async (): Promise<{ readonly workspaces: readonly KeptWorkspace[]; readonly storeBytes: number }> => {
    const workspaces: KeptWorkspace[] = [];
    for (const origin of this.#folders.origins()) {
      for (const project of this.#folders.projects(origin)) {
        const slots = this.#folders.slots(origin, project);
        if (slots.length === 0) continue;
        let bytes = 0;
        for (const slot of slots) {
          const { record } = slot;
          const isKnown = record.measuredMs >= record.usedMs && record.lease === null;
          bytes += isKnown ? record.bytes : await this.#kept.measure(slot, Date.now());
        }
        workspaces.push({
          name: this.#nameOf(origin, project),
          origin,
          root: this.#folders.label(origin, project).root,
          slots: slots.length,
          inUse: slots.filter((slot) => slot.record.lease !== null).length,
          bytes,
          usedMs: Math.max(...slots.map((slot) => slot.record.usedMs)),
        });
      }
    }
    return { workspaces, storeBytes: this.#kept.storeBytes() };
  };

  remove = async (
    names: readonly string[] | null,
  ): Promise<{ readonly removed: readonly string[]; readonly bytes: number }> => {
    const turn = new Turn();
    const removed: string[] = [];
    let bytes = 0;
    for (const origin of this.#folders.origins()) {
      for (const project of this.#folders.projects(origin)) {
        const name = this.#nameOf(origin, project);
        if (names !== null && !names.includes(name)) continue;
        const slots = this.#folders.slots(origin, project);
        if (slots.some((slot) => slot.record.lease !== null)) continue;
        for (const slot of slots) bytes += await this.#kept.remove(slot, turn);
        removed.push(name);
      }
    }
    return { removed, bytes };
  };

  sweep = (limits: { readonly quotaBytes: number; readonly keepDays: number }): Promise<void> =>
    this.#kept.sweep(limits, Date.now());

  async #takeKnown(session: SlotSession): Promise<Refused<Wanted>> {
    const { manifest, wanted } = session.slot.record;
    if (wanted === null) return nothingExpected();
    if (manifest !== wanted.manifest) return refused('refused', 'a manifest is missing; nothing was changed');
    return wantedOf(session, manifest, session.indexOf(manifest), this.#around);
  }

  async #takeManifest(session: SlotSession, expanded: Uint8Array, pack?: Uint8Array): Promise<Refused<Wanted>> {
    const { slot } = session;
    const { wanted, manifest: base } = slot.record;
    if (wanted === null) return nothingExpected();
    const held = base !== null && session.holds(base) ? session.indexOf(base) : null;
    const known = held?.manifest ?? (base === null ? null : readManifest(slot.paths, base));
    // What comes may be a difference from it.
    if (base !== null && known === null && isDifference(expanded)) return refused('io', MANIFEST_LOST);
    const turn = new Turn();
    const received = await receivedManifest(
      expanded,
      wanted.manifest,
      base === null || known === null ? null : { hash: base, manifest: known, encoded: held?.encoded ?? null },
      turn,
    );
    // It takes a while to decode a large one.
    if (turn.isOver()) await turn.pass();
    checkOpen(session);
    if (!received.ok) return refused('refused', `${received.error}; nothing was changed`);
    const wrong = wrongIgnoreFiles(received.value.manifest.entries);
    if (wrong !== null) return refused('refused', `${wrong}; nothing was changed`);
    const collision = this.#foldsNames(slot) ? collisionIn(received.value.manifest.entries) : null;
    if (collision !== null) {
      return refused(
        'collision',
        `${collision.join(' and ')} are one file where the workspace is: its file system does not tell them apart. Nothing was changed; rename one, or choose another node`,
      );
    }
    writeManifest(slot.paths, wanted.manifest, received.value.bytes);
    const index = session.hold(wanted.manifest, received.value.manifest, received.value.encoded);
    if (turn.isOver()) await turn.pass();
    return wantedOf(session, wanted.manifest, index, this.#around, pack);
  }

  async #collect(session: SlotSession, request: CollectRequest): Promise<ChangePack> {
    const { slot } = session;
    const hash = slot.record.manifest;
    const state = TreeState.read(slot.paths.state);
    if (hash === null || state?.manifest !== hash || slot.record.wanted !== null) {
      return nothingCollected('what was placed there is not known any more');
    }
    const index = session.indexOf(hash);
    const matcher = session.matcherFor(index);
    const made = new ChangedContents(this.#kept.store(slot.origin), this.#kept.freeBytes());
    const onObject = made.keep.bind(made);
    const collected = await collectTree({ ...request, tree: treeOf(slot), index, state, matcher, onObject });
    session.collected = { state: collected.state, atMs: Date.now() };
    return collected.changes;
  }

  async #opened(session: SlotSession, request: OpenRequest, isNew: boolean): Promise<Refused<OpenedWorkspace>> {
    session.slot = this.#folders.update(session.slot, {});
    const blocked = this.#folders.blockedAt(treeOf(session.slot), this.#around.owner);
    if (blocked !== null) {
      return refused(
        'refused',
        `the user that jobs run as there cannot pass through ${blocked}: it needs chmod o+x, or another MESHWORK_HOME`,
      );
    }
    if (request.clean) dropNotes(session.slot.paths);
    else if (isNew) await this.#clone(session);
    return ok(opened(session.slot));
  }

  async #clone(session: SlotSession): Promise<void> {
    const { slot } = session;
    const others = this.#folders.slots(slot.origin, slot.project).filter((other) => other.id !== slot.id);
    const source = warmest(others, slot.record.wanted?.manifest ?? null);
    if (source === null) return;
    const isLarge = manifestBytes(source.paths, [source.record.manifest]) > LARGE_MANIFEST_BYTES;
    const from = new SlotSession(source, this.#kept.store(source.origin), this.#held);
    await this.#largeTree.run(isLarge, () => cloneSlot(session, from, this.#around));
  }

  async #with<T>(id: string, act: (session: SlotSession) => Promise<T> | T): Promise<T> {
    const slot = this.#folders.find(id);
    if (slot === null || slot.record.lease === null) {
      throw new MeshError('io', 'the workspace is not open any more; run the command again');
    }
    const session = this.#sessionOf(slot);
    return session.inTurn(() => {
      checkOpen(session);
      return act(session);
    });
  }

  /** With its manifests decoded. @param isLarge a large one comes, whatever is there */
  #withTree<T>(id: string, act: (session: SlotSession) => Promise<T> | T, isLarge = false): Promise<T> {
    return this.#with(id, (session) => {
      const { paths, record } = session.slot;
      const known = manifestBytes(paths, [record.manifest, record.wanted?.manifest ?? null]);
      return this.#largeTree.run(isLarge || known > LARGE_MANIFEST_BYTES, () => {
        checkOpen(session);
        return act(session);
      });
    });
  }

  #sessionOf(slot: Slot): SlotSession {
    const known = this.#sessions.get(slot.id);
    if (known !== undefined) return known;
    const store = this.#kept.store(slot.origin);
    const resting = this.#resting?.slot.id === slot.id && this.#resting.isOn(store) ? this.#resting : null;
    if (resting !== null) {
      this.#resting = null;
      resting.slot = slot;
      resting.isClosed = false;
    }
    const session = resting ?? new SlotSession(slot, store, this.#held);
    this.#sessions.set(slot.id, session);
    return session;
  }

  #release(session: SlotSession): void {
    session.endEarly();
    this.#sessions.delete(session.slot.id);
    session.slot = this.#folders.update(session.slot, { lease: null, wanted: null, usedMs: Date.now() });
    session.noteCollected();
    if (!session.rest()) return;
    this.#resting?.forgetAll();
    this.#resting = session;
  }

  #foldsNames(slot: Slot): boolean {
    const known = this.#folding.get(slot.paths.meta);
    if (known !== undefined) return known;
    const folds = foldsNames(slot.paths.meta);
    this.#folding.set(slot.paths.meta, folds);
    return folds;
  }

  /** For people: the project's own name, and enough of its key that two of one name differ. */
  #nameOf(origin: NodeId, project: string): string {
    return `${this.#folders.label(origin, project).label}-${project.slice(0, KEY_CHARS_SHOWN)}`;
  }
}

const KEY_CHARS_SHOWN = 8;

/** A full disk is no surprise. */
async function orFull<T>(act: () => Promise<Refused<T>>): Promise<Refused<T>> {
  try {
    return await act();
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    return refused('no_space', 'the disk there is full; nothing has run');
  }
}

const nothingExpected = (): Refused<never> => refused('unknown', 'no manifest is expected; nothing was changed');

function checkOpen(session: SlotSession): void {
  if (session.isClosed) throw new MeshError('io', 'the workspace was closed meanwhile');
}

const treeOf = (slot: Slot): string => slot.paths.tree(slot.record);

function opened(slot: Slot): OpenedWorkspace {
  const { manifest } = slot.record;
  const base = manifest !== null && existsSync(slot.paths.manifest(manifest)) ? manifest : null;
  return { id: slot.id, tree: treeOf(slot), base };
}

const nothingCollected = (problem: string): ChangePack => ({
  ...NO_CHANGE_PACK,
  problem: problem.slice(0, CHANGE_PROBLEM_CHARS_MAX),
});
