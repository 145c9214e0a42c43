import { err, ok } from '../../../src/base/result.ts';
import type {
  EncodedChange,
  OpenedWorkspace,
  ProjectFiles,
  Scan,
  ScanRefusal,
  WorkspaceFiles,
  WorkspaceRefusal,
} from '../../../src/ports/workspace.ts';
import { NO_CHANGE_PACK, type ChangePack } from '../../../src/wire/changes.ts';
import type { ManifestHash } from '../../../src/wire/manifest.ts';

export const MANIFEST = 'a'.repeat(64) as ManifestHash;
export const PROJECT = { root: '/projects/p', key: '0'.repeat(32), kind: 'git' } as const;
export const SCAN: Scan = {
  manifest: MANIFEST,
  files: 3,
  bytes: 3000,
  withheld: [],
  undecided: [],
  tracked: [],
  outward: [],
  rules: [],
  dependencies: [],
  lockfiles: [],
  notices: [],
  standing: [],
};

/** An origin's project in memory: a manifest of some bytes and packs of some bytes. */
export class MemoryProject {
  scan: Scan = SCAN;
  packs: readonly Uint8Array[] = [new Uint8Array(1_500_000).fill(1), new Uint8Array(900_000).fill(2)];
  /** Packs that were read and not sent yet, at most. */
  readonly calls: string[] = [];
  /** What is told instead of a pack. */
  unstable: ScanRefusal | null = null;
  change: EncodedChange = { manifest: new Uint8Array(100).fill(8), pack: new Uint8Array(300).fill(7) };
  #next = 0;

  get files(): ProjectFiles {
    const none = (): Promise<never> => Promise.reject(new Error('not in this test'));
    return {
      findProject: async () => ok(PROJECT),
      scan: async () => ok(this.scan),
      cost: async (_manifest, base) => ({ files: 1, bytes: base === null ? this.scan.bytes : 7 }),
      encodeManifest: async (_manifest, base) => {
        this.calls.push(`manifest from ${base === null ? 'nothing' : 'a base'}`);
        return new Uint8Array(3_000_000).fill(9);
      },
      encodeChanged: async () => {
        this.calls.push('change ahead');
        return this.change;
      },
      openPacks: async () => {
        this.calls.push('open packs');
        this.#next = 0;
        return 1;
      },
      nextPack: async () => (this.unstable === null ? ok(this.packs[this.#next++] ?? null) : err(this.unstable)),
      filesAfter: async () => null,
      closePacks: async () => void this.calls.push('close packs'),
      pinManifest: async () => void this.calls.push('pin'),
      unpinManifest: async () => void this.calls.push('unpin'),
      unpinAllBut: none,
      apply: none,
    };
  }
}

/** An executor's workspaces in memory: what was asked of them is in `calls`. */
export class MemoryWorkspaces {
  readonly calls: string[] = [];
  readonly notes = new Map<string, string>();
  readonly opened: OpenedWorkspace = { id: 'w', tree: '/there/p', base: null };
  base: ManifestHash | null = null;
  objects = 3;
  refusal: WorkspaceRefusal | null = null;
  /** Where it stops until the test lets it go on. */
  hold: Promise<void> = Promise.resolve();
  /** The only call that stops; null: all do. */
  heldCall: string | null = null;
  kept: OpenedWorkspace | null = null;
  changes: ChangePack = { ...NO_CHANGE_PACK, changed: 1 };

  get files(): WorkspaceFiles {
    const step = async <T>(name: string, value: T): Promise<T> => {
      this.calls.push(name);
      if (this.heldCall === null || this.heldCall === name) await this.hold;
      return value;
    };
    return {
      open: () => step('open', this.refusal === null ? ok({ ...this.opened, base: this.base }) : err(this.refusal)),
      takeManifest: (_id, encoded, pack) =>
        step(
          `${encoded === null ? 'same manifest' : `manifest of ${encoded.byteLength}`}${pack === undefined ? '' : ` with ${pack.byteLength}`}`,
          ok({ want: new Uint8Array([7]), objects: this.objects, bytes: this.objects * 1000 }),
        ),
      takePack: (_id, pack) =>
        step(`pack of ${pack.byteLength}`, ok({ objects: 1, bytes: pack.byteLength, memory: pack.buffer })),
      place: async (_id, onProgress) => {
        onProgress(2);
        return step('place', ok({ written: 3, removed: 0, notices: ['placed'] }));
      },
      digest: async () => [],
      readNote: async (_id, name) => this.notes.get(name) ?? null,
      writeNote: async (_id, name, text) => void this.notes.set(name, text),
      collect: async ({ pack, outputs }) =>
        step(`collect ${outputs.join()} ${pack === '' ? '' : 'to a pack'}`, this.changes),
      close: async () => void this.calls.push('close'),
      reopen: async () => this.kept,
      releaseAllBut: async (attempts) => void this.calls.push(`release all but ${attempts.length}`),
      list: async () => ({ workspaces: [], storeBytes: 0 }),
      remove: async () => ({ removed: [], bytes: 0 }),
      sweep: async () => undefined,
    };
  }
}
