import { basename } from 'node:path';
import { unreachable } from '../base/assert.ts';
import { MeshError, messageOf } from '../base/errors.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { formatDuration } from '../base/units.ts';
import { reasonOf } from '../core/scheduling/reason.ts';
import type { AttemptPlace, SyncInput, SyncKey } from '../core/scheduling/origin-job.ts';
import type { EncodedChange, ProjectFiles, ScanRefusal } from '../ports/workspace.ts';
import type { JobSpec } from '../wire/job-spec.ts';
import type { ManifestHash } from '../wire/manifest.ts';
import type { WorkspaceMessageOf, WsFailure, WsOpen } from '../wire/workspace.ts';
import type { WorkspaceLink } from './change-packs.ts';
import { nowMs } from './core-loop.ts';
import { PackSender } from './pack-sender.ts';
import type { ProjectBook } from './project-book.ts';
import type { JobProject, ProjectService } from './project-service.ts';
import type { ShippedJob, ShippedJobs } from './shipped-jobs.ts';
import { StandingNotices } from './standing-notices.ts';
import { syncProgress, type Wanted } from './sync-progress.ts';

const WITHHELD_MAX = 64;
const LABEL_CHARS_MAX = 255;
/** An executor that only says that it is there, while nothing moves, holds a job for nothing. */
export const STILL_MS_MAX = 10 * 60_000;
/** What is prepared may be quiet, for as long as an executor lets one step take. */
export const STILL_PREPARING_MS_MAX = 35 * 60_000;
/** Executors tell of it a few times a second. */
const PROGRESS_MS_MIN = 50;

export type SyncMessage = WorkspaceMessageOf<'ws.base' | 'ws.want' | 'ws.progress' | 'ws.ready' | 'ws.failed'>;

export interface WorkspaceSyncOptions {
  readonly files: ProjectFiles;
  readonly projects: ProjectService;
  readonly book: ProjectBook;
  readonly shipped: ShippedJobs;
  readonly log: Logger;
  /** Null where no link is up. */
  readonly executor: (node: NodeId) => WorkspaceLink | null;
  readonly post: (input: SyncInput) => void;
  /** What people are to be told of the job, once its files are there. */
  readonly notify: (job: JobId, notices: readonly string[]) => void;
}

interface Sync extends SyncKey {
  readonly spec: JobSpec;
  readonly node: NodeId;
  readonly name: string;
  readonly link: WorkspaceLink;
  readonly startedAtMs: number;
  /** Null until the project was looked at. */
  job_project: JobProject | null;
  sender: PackSender | null;
  /** The manifest is kept for the job: needed when it starts, not before. */
  pinned: Promise<void>;
  /** What differs from the manifest that the executor is taken to have: made while that answers. */
  ahead: { readonly base: ManifestHash; readonly change: Promise<EncodedChange | null> } | null;
  isBaseKnown: boolean;
  progress: { readonly phase: string; readonly atMs: number };
  moved: { readonly what: string; readonly atMs: number };
  want: Wanted | null;
}

/** Sends projects to executors that granted a slot: the scheduler's `sync` effects. */
export class WorkspaceSync {
  readonly #options: WorkspaceSyncOptions;
  /** By job: a job is sent to one node at a time. */
  readonly #syncs = new Map<JobId, Sync>();
  /** Jobs that are not finished, and whose manifest is kept for them. */
  readonly #pinned = new Set<JobId>();
  readonly #standing = new StandingNotices();

  constructor(options: WorkspaceSyncOptions) {
    this.#options = options;
  }

  begin(job: JobId, attempt: number, place: AttemptPlace, spec: JobSpec): void {
    const { node, name, lease } = place;
    const key = { job, attempt, lease };
    const link = this.#options.executor(node);
    // Its end comes as an input of its own.
    if (link === null) return;
    const fresh = {
      startedAtMs: nowMs(),
      job_project: null,
      sender: null,
      pinned: Promise.resolve(),
      ahead: null,
      isBaseKnown: false,
      want: null,
      progress: { phase: '', atMs: 0 },
      moved: { what: '', atMs: nowMs() },
    };
    const sync: Sync = { ...key, spec, node, name, link, ...fresh };
    this.#syncs.set(job, sync);
    void this.#guard(sync, () => this.#open(sync));
  }

  abort({ job, attempt, lease }: SyncKey): void {
    const sync = this.#syncs.get(job);
    if (sync?.lease !== lease) return;
    this.#end(sync);
    sync.link.send({ t: 'ws.close', job, attempt });
  }

  /** The job is over. What it was sent with is needed for changes that are held, and else no more. */
  finished(job: JobId): void {
    const { files, shipped, log } = this.#options;
    if (!this.#pinned.delete(job) || shipped.get(job) !== null) return;
    files
      .unpinManifest(job)
      .catch((error: unknown) => log.warn('a manifest stays pinned', { job, error: messageOf(error) }));
  }

  /** Jobs whose manifest is kept for them: those under way, and those whose changes may still come. */
  get pinning(): readonly JobId[] {
    return [...new Set([...this.#pinned, ...this.#options.shipped.all.map(({ job }) => job)])];
  }

  /** @returns false where no such sync is under way */
  receive(from: NodeId, message: SyncMessage): boolean {
    const sync = this.#syncs.get(message.job);
    if (sync?.node !== from || sync.attempt !== message.attempt) return false;
    switch (message.t) {
      case 'ws.base':
        void this.#guard(sync, () => this.#sendManifest(sync, message));
        return true;
      case 'ws.want':
        void this.#guard(sync, () => this.#sendPacks(sync, message));
        return true;
      case 'ws.progress':
        this.#progress(sync, message);
        return true;
      case 'ws.ready':
        void this.#guard(sync, () => this.#ready(sync, message));
        return true;
      case 'ws.failed':
        this.#fail(sync, message.code, message.message);
        return true;
      default:
        return unreachable(message);
    }
  }

  async #open(sync: Sync): Promise<void> {
    const { job, attempt, lease, spec, link } = sync;
    const looked = await this.#options.projects.fresh(job, spec);
    if (!this.#isLive(sync)) return;
    if (looked === null) return this.#failHere(sync, 'its project is not known any more');
    if (!looked.ok) return this.#failHere(sync, looked.error.message, FINAL.has(looked.error.code));
    const jobProject = looked.value;
    sync.job_project = jobProject;
    const { project, scan, folder, prepare, outputs } = jobProject;
    this.#pinned.add(job);
    const sender = new PackSender(link.mux);
    sync.sender = sender;
    const open: WsOpen = {
      t: 'ws.open',
      job,
      attempt,
      lease,
      project: project.key,
      label: basename(project.root).slice(0, LABEL_CHARS_MAX),
      root: project.root,
      folder,
      manifest: scan.manifest,
      files: scan.files,
      bytes: scan.bytes,
      rules: [...scan.rules],
      is_git: project.kind === 'git',
      prepare: [...prepare],
      env: spec.env,
      umask: spec.umask,
      outputs: [...outputs],
      returns: jobProject.sync.returns,
      clean: jobProject.sync.clean,
      up: sender.id,
    };
    link.send(open);
    sync.ahead = this.#changeFor(sync, jobProject);
    sync.pinned = this.#options.files.pinManifest(scan.manifest, job);
    await sync.pinned;
  }

  async #sendManifest(sync: Sync, { base }: WorkspaceMessageOf<'ws.base'>): Promise<void> {
    const { sender, job_project: jobProject } = sync;
    if (sender === null || jobProject === null) return;
    const { manifest } = jobProject.scan;
    if (sync.isBaseKnown) return this.#failHere(sync, 'the executor said twice what it has');
    sync.isBaseKnown = true;
    if (base === manifest) return;
    const { ahead } = sync;
    sync.ahead = null;
    const change = ahead !== null && ahead.base === base ? await ahead.change : null;
    if (change !== null && this.#isLive(sync)) {
      if (change.pack === null) sender.send('manifest', change.manifest);
      else sender.sendChanged(change.manifest, change.pack);
    }
    if (change !== null) return;
    const encoded = await this.#options.files.encodeManifest(manifest, base);
    if (this.#isLive(sync)) sender.send('manifest', encoded);
  }

  #changeFor({ node }: Sync, { project, scan }: JobProject): Sync['ahead'] {
    const { book, files, log } = this.#options;
    const base = book.warm(project).find((one) => one.node === node)?.manifest;
    if (base === undefined || base === scan.manifest) return null;
    const change = files.encodeChanged(project, scan.manifest, base).catch((error: unknown) => {
      // It is done again once the executor has said what it has.
      log.debug('what changed was not encoded ahead', { error: messageOf(error) });
      return null;
    });
    return { base, change };
  }

  async #sendPacks(sync: Sync, message: WorkspaceMessageOf<'ws.want'>): Promise<void> {
    const { sender, job_project: jobProject } = sync;
    if (sender === null || jobProject === null) return;
    const { objects, bytes } = message;
    if (sync.want !== null) return this.#failHere(sync, 'the executor said twice what it lacks');
    sync.want = { objects, bytes, atMs: nowMs(), filesAfter: null };
    if (objects === 0) return sender.end();
    const { files } = this.#options;
    const { project, scan } = jobProject;
    const want = new Uint8Array(Buffer.from(message.want, 'base64'));
    const source = await files.openPacks(project, scan.manifest, want, sync.link.isHere ? 'here' : 'away');
    if (source === null) return this.#fail(sync, 'refused', 'wants objects that were not offered');
    void this.#guard(sync, () => this.#countFiles(sync, source));
    try {
      while (this.#isLive(sync)) {
        const pack = await files.nextPack(source, sender.spent());
        if (!this.#isLive(sync)) return;
        if (!pack.ok) {
          this.#options.projects.outdated(sync.job);
          return this.#failHere(sync, pack.error.message);
        }
        if (pack.value === null) {
          sender.send('end', null);
          return sender.end();
        }
        sender.send('pack', pack.value);
        await sender.drained();
      }
    } finally {
      await files.closePacks(source);
    }
  }

  /** Executors count objects, of which a large file has many. */
  async #countFiles(sync: Sync, source: number): Promise<void> {
    const filesAfter = await this.#options.files.filesAfter(source);
    if (sync.want !== null) sync.want = { ...sync.want, filesAfter };
  }

  /** An executor that tells it without pause is heard now and then. */
  #progress(sync: Sync, message: WorkspaceMessageOf<'ws.progress'>): void {
    const { phase: before, atMs } = sync.progress;
    if (message.phase === before && nowMs() - atMs < PROGRESS_MS_MIN) return;
    sync.progress = { phase: message.phase, atMs: nowMs() };
    const what = [message.phase, message.files, message.bytes, message.line].join('/');
    if (what !== sync.moved.what) sync.moved = { what, atMs: nowMs() };
    const patienceMs = message.phase === 'preparing' ? STILL_PREPARING_MS_MAX : STILL_MS_MAX;
    if (nowMs() - sync.moved.atMs > patienceMs) {
      return this.#failHere(sync, `nothing has moved there for ${formatDuration(patienceMs)}`);
    }
    const { job, attempt, lease } = sync;
    const phase = message.phase === 'preparing' ? 'preparing' : 'syncing';
    const detail = syncProgress(message, sync.want, nowMs());
    this.#options.post({ kind: 'sync_progress', job, attempt, lease, phase, detail });
  }

  async #ready(sync: Sync, { cwd, notices }: WorkspaceMessageOf<'ws.ready'>): Promise<void> {
    const { job, attempt, lease, node, name, job_project: jobProject, spec } = sync;
    if (jobProject === null) return;
    await sync.pinned;
    if (!this.#isLive(sync)) return;
    this.#end(sync);
    const { project, scan, sync: options, settings, outputs, scannedAtMs } = jobProject;
    const { root, key, kind } = project;
    const withheld = scan.withheld.slice(0, WITHHELD_MAX);
    const shipped: ShippedJob = {
      job,
      attempt,
      node,
      node_name: name,
      project: { root, key, kind },
      manifest: scan.manifest,
      withheld,
      returns: options.returns,
      outputs: [...outputs],
      asked: outputs.slice(settings.outputs.length),
      // That clock has another beginning.
      scanned_ms: Date.now() - (nowMs() - scannedAtMs),
      held: null,
      at_ms: Date.now(),
    };
    try {
      this.#options.shipped.note(shipped, spec.durable);
    } catch (error) {
      const why = `this node's disk does not take what is needed to bring changes back (${messageOf(error)})`;
      sync.link.send({ t: 'ws.close', job, attempt });
      return this.#options.post({
        kind: 'sync_failed',
        job,
        attempt,
        lease,
        reason: reasonOf('sync', why),
        final: true,
      });
    }
    this.#options.log.info('project sent', { job, node, ms: Math.round(nowMs() - sync.startedAtMs) });
    const more = scan.withheld.length - withheld.length;
    const told =
      withheld.length === 0
        ? []
        : [`not sent: ${withheld.join(', ')}${more > 0 ? ` and ${more} more` : ''} (untracked secrets)`];
    const standing = this.#standing.dueFor(job, spec.command, project.key, scan.standing, nowMs());
    this.#options.notify(job, [...told, ...scan.notices, ...standing, ...notices]);
    this.#options.post({ kind: 'synced', job, attempt, lease, cwd });
    // Only a guess about the next job, and on its way to the disk the command would wait for it.
    this.#options.book.sentTo(project, node, scan.manifest);
  }

  /** What this side can't do; the executor waits for it. */
  #failHere(sync: Sync, why: string, isFinal = false): void {
    const { job, attempt } = sync;
    sync.link.send({ t: 'ws.close', job, attempt });
    // A file that changed while it was read: another try sees it as it is then.
    this.#fail(sync, isFinal ? 'refused' : 'busy', why);
  }

  #fail(sync: Sync, code: WsFailure, why: string): void {
    if (!this.#isLive(sync)) return;
    const { job, attempt, lease } = sync;
    this.#end(sync);
    this.#options.log.info('files were not sent', { job, node: sync.node, code, why });
    // What a package manager said is shown whole: it is bounded by the message that it came in, and goes no further.
    const reason =
      code === 'prepare_failed'
        ? ({ code: 'sync', text: why } as const)
        : reasonOf(code === 'needs_prepare' ? 'needs_prepare' : 'sync', why);
    this.#options.post({ kind: 'sync_failed', job, attempt, lease, reason, final: !PASSING.has(code) });
  }

  #end(sync: Sync): void {
    if (this.#isLive(sync)) this.#syncs.delete(sync.job);
    sync.sender?.close();
  }

  #isLive(sync: Sync): boolean {
    return this.#syncs.get(sync.job) === sync;
  }

  async #guard(sync: Sync, step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      if (!this.#isLive(sync)) return;
      if (!(error instanceof MeshError)) this.#options.log.error('files cannot be sent', { error: messageOf(error) });
      this.#failHere(sync, messageOf(error));
    }
  }
}

/** What would be the same a moment later. */
const FINAL: ReadonlySet<ScanRefusal['code']> = new Set(['too_large', 'no_project', 'not_portable']);

/** What may be otherwise at another try. */
const PASSING: ReadonlySet<WsFailure> = new Set(['busy', 'io', 'expired', 'unknown']);
