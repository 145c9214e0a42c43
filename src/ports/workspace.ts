import type { JobId, NodeId } from '../base/ids.ts';
import type { Result } from '../base/result.ts';
import type { ChangePack, Changes } from '../wire/changes.ts';
import type { ManifestHash } from '../wire/manifest.ts';
import type { IgnoreRules, WsFailure } from '../wire/workspace.ts';

/**
 * What the runtime asks of project trees on this machine's disks. All of it is carried out in a thread, so that hashing
 * and thousands of system calls hold nothing up. Every method may reject with MeshError `io`, and `internal` where the
 * thread ended; expected refusals are values.
 */

/** A project, as this side has it. */
export interface Project {
  /** Absolute, without symbolic links. */
  readonly root: string;
  /** Half a SHA-256 that names it to executors; two work trees are two projects. */
  readonly key: string;
  readonly kind: 'git' | 'plain';
}

/** Of `.meshwork.toml`, the node's settings and the job's options, all globs relative to the root. */
export interface ShipSettings {
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  /** Ignored folders that are sent as they are (`[ship] ignored`). */
  readonly ignored: readonly string[];
  /** False: without `.git` (`[ship] git = false`). */
  readonly git: boolean;
}

export interface ScanRequest {
  readonly project: Project;
  readonly ship: ShipSettings;
  /** Decisions by path relative to the root. */
  readonly secrets: Readonly<Record<string, 'send' | 'skip'>>;
  readonly filesMax: number;
  readonly bytesMax: number;
}

/** A folder of dependencies that is ignored and not sent, as found on this side. */
export interface FoundDependency {
  /** Relative to the root, as text: `node_modules`, `packages/a/.venv`. */
  readonly folder: string;
}

export interface Scan {
  readonly manifest: ManifestHash;
  readonly files: number;
  /** Of all files together. */
  readonly bytes: number;
  /** Untracked secrets that are not sent, for people, and of them those that nobody decided about and that auto routing heeds. */
  readonly withheld: readonly string[];
  readonly undecided: readonly string[];
  /** Files that somebody decided about and that go along whatever the decision is, since they are tracked; for people. */
  readonly tracked: readonly string[];
  /** Links that are not sent since they lead out of the project, for people. */
  readonly outward: readonly string[];
  /** What the executor needs beside the tree's own .gitignore files. */
  readonly rules: IgnoreRules;
  readonly dependencies: readonly FoundDependency[];
  /** Sent files that say how dependencies are made: lockfiles and the like, by path relative to the root, as text. */
  readonly lockfiles: readonly string[];
  readonly notices: readonly string[];
  /** Notices of what git there lacks or sees otherwise, with each job alike. */
  readonly standing: readonly string[];
}

export interface ScanRefusal {
  /** `too_large` names the ten largest folders; `unreadable_file`, `unstable` name the file; `bad_pack`: nothing was applied. */
  readonly code: 'too_large' | 'unreadable_file' | 'unstable' | 'no_project' | 'not_portable' | 'bad_pack';
  readonly message: string;
}

export interface ApplyRequest {
  readonly project: Project;
  /** What was sent. */
  readonly manifest: ManifestHash;
  /** The fetched change pack, whole; its hash is checked. */
  readonly pack: string;
  readonly packSha256: string;
  /**
   * Globs, relative to the root: ignored products that were asked for. They take the place of what lay there when the
   * project was scanned, as if the command had run here.
   */
  readonly outputs: readonly string[];
  /** Since 1970. */
  readonly scannedMs: number;
  /** MESHWORK_HOME/conflicts/JOB, made where it is needed. */
  readonly conflicts: string;
  /** True for `meshwork apply`: what is held back is applied too; conflicts never are. */
  readonly held: boolean;
}

export interface Applied {
  readonly changes: Changes;
  /** How many of each, beyond what the lists show. */
  readonly counts: {
    readonly returned: number;
    readonly deleted: number;
    readonly conflicts: number;
    readonly heldBack: number;
  };
  readonly notices: readonly string[];
}

/** The origin's side of projects' files. */
export interface ProjectFiles {
  /** @param named `--sync`, absolute; null: what `cwd` lies in. Null: no project (and why, where one was named) */
  findProject(cwd: string, named: string | null): Promise<Result<Project | null, ScanRefusal>>;
  /** Lists the files, hashes those that changed since the last scan, keeps the manifest on the disk. */
  scan(request: ScanRequest): Promise<Result<Scan, ScanRefusal>>;
  /** What a node that has `base` would be sent; null, or a base that is unknown here: all of it. */
  cost(manifest: ManifestHash, base: ManifestHash | null): Promise<{ readonly files: number; readonly bytes: number }>;
  /** Encoded for the up stream, compressed: whole, or what differs from `base` where that is known here. */
  encodeManifest(manifest: ManifestHash, base: ManifestHash | null): Promise<Uint8Array>;
  /** The difference as `encodeManifest` gives it, and the objects that a node with `base` lacks, where they are few bytes. */
  encodeChanged(project: Project, manifest: ManifestHash, base: ManifestHash): Promise<EncodedChange>;
  /**
   * @param want see `ws.want`
   * @param end where the other one is, as its address has it: what waits to be sent `here` waits for the processor mostly
   * @returns the name of a source of packs; null: the want list doesn't fit the manifest
   */
  openPacks(project: Project, manifest: ManifestHash, want: Uint8Array, end?: 'here' | 'away'): Promise<number | null>;
  /**
   * The next pack, at most PACK_BYTES_MAX, a view of memory that is the caller's; null at the end; a refusal where a file changed
   * since the scan.
   *
   * @param spent memory of a pack of that source which is not needed any more, for one to come: it is given away
   */
  nextPack(source: number, spent?: ArrayBuffer | null): Promise<Result<Uint8Array | null, ScanRefusal>>;
  /** For progress: how many files are whole after so many objects of it; null: each object is a file, or it is closed. */
  filesAfter(source: number): Promise<readonly number[] | null>;
  closePacks(source: number): Promise<void>;
  /** Keeps a sent manifest while a job may bring changes back. */
  pinManifest(manifest: ManifestHash, job: JobId): Promise<void>;
  unpinManifest(job: JobId): Promise<void>;
  /** Of jobs that an earlier daemon did not finish. @param jobs those that still pin one */
  unpinAllBut(jobs: readonly JobId[]): Promise<void>;
  /** Rejects with MeshError `io` where the disk is full: what was applied by then is named, applying again goes on. */
  apply(request: ApplyRequest): Promise<Result<Applied, ScanRefusal>>;
}

export interface EncodedChange {
  readonly manifest: Uint8Array;
  /** At most CHANGED_PACK_BYTES_MAX; null: it is to be asked for. */
  readonly pack: Uint8Array | null;
}

export interface WorkspaceRefusal {
  readonly code: WsFailure;
  readonly message: string;
}

export interface OpenRequest {
  readonly origin: NodeId;
  readonly project: string;
  readonly label: string;
  /** At the origin, for people. */
  readonly root: string;
  readonly job: JobId;
  readonly attempt: number;
  readonly manifest: ManifestHash;
  readonly rules: IgnoreRules;
  readonly isGit: boolean;
  readonly clean: boolean;
  readonly quotaBytes: number;
  /** Who runs commands here, where that is not the daemon's user. */
  readonly user: { readonly uid: number; readonly gid: number } | null;
}

export interface OpenedWorkspace {
  /** Names it in the calls below, until `close`; also after a restart of the daemon. */
  readonly id: string;
  /** Absolute: the project's root here. */
  readonly tree: string;
  /** From which a difference may be sent. */
  readonly base: ManifestHash | null;
}

export interface Wanted {
  /** Of `encodeWant`; empty where nothing is wanted. */
  readonly want: Uint8Array;
  readonly objects: number;
  readonly bytes: number;
}

export interface CollectRequest {
  readonly id: string;
  /** Where to write the change pack. */
  readonly pack: string;
  /** False: nothing comes back, only the state of the tree is noted. */
  readonly returns: boolean;
  readonly outputs: readonly string[];
  /** Folders that were prepared: neither products nor left there. */
  readonly prepared: readonly string[];
}

export interface KeptWorkspace {
  readonly name: string;
  readonly origin: NodeId;
  readonly root: string;
  readonly slots: number;
  readonly inUse: number;
  readonly bytes: number;
  readonly usedMs: number;
}

export interface TakenPack {
  /** Of it that were not there yet. */
  readonly objects: number;
  readonly bytes: number;
  readonly memory: ArrayBufferLike;
}

/** The executor's side. Folders are `MESHWORK_HOME/workspaces/for/<origin>/<project>/<slot>/<label>`. */
export interface WorkspaceFiles {
  /** Takes the folder of a free slot, the warmest first; clones a new one with its products where all are in use. */
  open(request: OpenRequest): Promise<Result<OpenedWorkspace, WorkspaceRefusal>>;
  /**
   * @param encoded of `encodeManifest`; null where `base` was the manifest itself
   * @param pack of objects of that manifest, which came with it: kept as `takePack` keeps it
   * @returns what is lacking then
   */
  takeManifest(id: string, encoded: Uint8Array | null, pack?: Uint8Array): Promise<Result<Wanted, WorkspaceRefusal>>;
  /**
   * Verifies and stores what a pack holds. Its memory, all of the buffer behind it, is given away, and comes back as `memory`
   * for one to come: what is made anew for each pack would have the collector go through the whole heap again and again.
   */
  takePack(id: string, pack: Uint8Array): Promise<Result<TakenPack, WorkspaceRefusal>>;
  /** Makes the tree what the manifest says; ignored products stay. `onProgress` at most a few times a second. */
  place(
    id: string,
    onProgress: (files: number) => void,
  ): Promise<
    Result<
      { readonly written: number; readonly removed: number; readonly notices: readonly string[] },
      WorkspaceRefusal
    >
  >;
  /** Is that path there, and what is its content's hash? For preparation stamps; paths relative to the root. */
  digest(id: string, paths: readonly string[]): Promise<readonly (string | null)[]>;
  /** A small text kept with the slot's folder (preparation stamps); null where there is none. */
  readNote(id: string, name: string): Promise<string | null>;
  writeNote(id: string, name: string, text: string): Promise<void>;
  /** After the job: what changed, into a change pack. */
  collect(request: CollectRequest): Promise<ChangePack>;
  /** The slot's folder is free again. */
  close(id: string): Promise<void>;
  /** Takes up again, after a restart of the daemon, what `open` gave to that attempt; null where there is nothing. */
  reopen(job: JobId, attempt: number): Promise<OpenedWorkspace | null>;
  /** Frees what an earlier life of the daemon left open, except for these attempts, which go on. */
  releaseAllBut(attempts: readonly { readonly job: JobId; readonly attempt: number }[]): Promise<void>;
  list(): Promise<{ readonly workspaces: readonly KeptWorkspace[]; readonly storeBytes: number }>;
  /** @param names null: all that are not in use. @returns what was removed */
  remove(names: readonly string[] | null): Promise<{ readonly removed: readonly string[]; readonly bytes: number }>;
  /** Removes what is older than `keepDays`, and beyond quotas. */
  sweep(limits: { readonly quotaBytes: number; readonly keepDays: number }): Promise<void>;
}
