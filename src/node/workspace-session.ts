import { messageOf } from '../base/errors.ts';
import type { NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { OpenedWorkspace, Wanted, WorkspaceFiles, WorkspaceRefusal } from '../ports/workspace.ts';
import { REASON_CHARS_MAX } from '../wire/jobs.ts';
import type { WorkspaceFrame } from '../wire/workspace-frame.ts';
import type { WorkspaceMessageOf, WsOpen } from '../wire/workspace.ts';
import type { WorkspaceLink } from './change-packs.ts';
import { nowMs } from './core-loop.ts';
import { FrameInbox, type FrameRoom } from './frame-inbox.ts';
import type { Prepared } from './preparer.ts';
import { folderWithin } from './workspace-folder.ts';
import type { WorkspacePreparer } from './workspace-preparer.ts';

/** Messages of progress are at least so far apart, and while nothing changes at most so far. */
const PROGRESS_MS_MIN = 200;
export const SIGN_OF_LIFE_MS = 2500;
/** The thread has the next one at hand when it is done with one. */
const PACKS_TAKEN_MAX = 2;
const NOTICES_MAX = 16;
/** A workspace that lacks no more is ready in some 10 ms. */
const SOON_BYTES_MAX = 1024 * 1024;
const LINE_CHARS_MAX = 200;

type Progress = Omit<WorkspaceMessageOf<'ws.progress'>, 't' | 'job' | 'attempt'>;

/** Prepares the dependencies that a project's commands need in a workspace. */
export type Preparer = Pick<WorkspacePreparer, 'prepare'>;

export interface SessionOptions {
  readonly files: WorkspaceFiles;
  readonly preparer: Preparer;
  readonly log: Logger;
  readonly quotaBytes: number;
  /** For manifests, which come whole. */
  readonly room: FrameRoom;
  readonly user: { readonly uid: number; readonly gid: number } | null;
  /** The workspace is warm: its job is likely to start soon. */
  readonly expect: () => void;
  /** The lease goes on: the files are on their way. */
  readonly renew: () => void;
  /** All is in place: the attempt may start, and runs in `cwd`. */
  readonly ready: (cwd: string) => void;
  /** It came to nothing: the slot is free. */
  readonly unlease: (wasted: boolean) => void;
}

/** What is remembered of a session beside the workspace, for the end of the job: also by the next daemon. */
export interface SessionNote {
  readonly returns: boolean;
  readonly outputs: readonly string[];
  readonly prepared: readonly string[];
}
export const SESSION_NOTE = 'session';

export interface ReadyWorkspace extends SessionNote {
  readonly workspace: OpenedWorkspace;
}

/**
 * One project on its way from an origin into a workspace here, from `ws.open` to `ws.ready`. Frames come at the origin's
 * pace and are dealt with one at a time: no more than a window of them is in memory.
 */
export class WorkspaceSession {
  readonly from: NodeId;
  readonly open: WsOpen;
  readonly #options: SessionOptions;
  readonly #link: WorkspaceLink;
  readonly #inbox: FrameInbox;
  readonly #over = new AbortController();
  readonly #lifeSign: NodeJS.Timeout;
  #opened: OpenedWorkspace | null = null;
  #released: Promise<void> = Promise.resolve();
  #isPlacing = false;
  #ready: ReadyWorkspace | null = null;
  #progress: Progress = {
    phase: 'receiving',
    files: 0,
    bytes: 0,
    line: '',
  };
  #toldAtMs = 0;
  #isExpected = false;
  /** The origin let it down. */
  #isWasted = false;

  constructor(from: NodeId, open: WsOpen, link: WorkspaceLink, options: SessionOptions) {
    this.from = from;
    this.open = open;
    this.#link = link;
    this.#options = options;
    this.#inbox = new FrameInbox(link.mux, open.up, options.room);
    this.#lifeSign = setInterval(() => this.#tell(true), SIGN_OF_LIFE_MS);
  }

  /** Null before it is ready, and afterwards where it is over. */
  get ready(): ReadyWorkspace | null {
    return this.isOver ? null : this.#ready;
  }

  get isOver(): boolean {
    return this.#over.signal.aborted;
  }

  /** Settles when the workspace is ready, or the session over and its folder free. */
  async serve(): Promise<void> {
    try {
      const served = await this.#serve();
      if (this.isOver) return await this.#release();
      // Its origin has said all, and is not heard any longer.
      if (served.ok) return this.#inbox.finish();
      await this.#fail(served.error);
    } catch (error) {
      if (this.isOver) return await this.#release();
      this.#options.log.error('a workspace session failed', { error: messageOf(error) });
      await this.#fail({ code: 'io', message: messageOf(error) });
    } finally {
      this.#inbox.free();
      clearInterval(this.#lifeSign);
    }
  }

  /** It is not wanted any more. What is under way in it ends soon; the folder is free then. */
  close(why: string): void {
    if (this.isOver) return;
    this.#over.abort();
    this.#inbox.close(why);
    clearInterval(this.#lifeSign);
    // A placing ends where it is then. What else is under way is done soon, and waited for.
    if (this.#isPlacing || this.#ready !== null) void this.#release();
  }

  async #serve(): Promise<Result<null, WorkspaceRefusal>> {
    const { files, quotaBytes, user, log } = this.#options;
    const { open } = this;
    const { project, label, root, job, attempt, manifest, rules, clean } = open;
    const request = { origin: this.from, project, label, root, job, attempt, manifest, rules, clean, quotaBytes, user };
    const [startedMs, times] = [nowMs(), new Array<number>()];
    const lap = (): number => times.push(Math.round(nowMs() - startedMs));
    const opened = await files.open({ ...request, isGit: open.is_git });
    if (!opened.ok) return opened;
    this.#opened = opened.value;
    if (this.isOver) return ok(null);
    lap();
    const received = await this.#receive(opened.value);
    if (!received.ok || this.isOver) return received;
    lap();
    this.#now({ phase: 'placing', files: 0, bytes: 0, line: '' });
    this.#isPlacing = true;
    const placed = await this.#place(opened.value.id);
    this.#isPlacing = false;
    if (!placed.ok || this.isOver) return placed.ok ? ok(null) : placed;
    lap();
    const cwd = await folderWithin(opened.value.tree, open.folder, user);
    if (!cwd.ok) return err({ code: 'refused', message: cwd.error });
    const prepared = await this.#prepare(opened.value);
    if (!prepared.ok || this.isOver) return prepared.ok ? ok(null) : prepared;
    const note = this.#noteOf(prepared.value.prepared);
    if (open.prepare.length > 0) await files.writeNote(opened.value.id, SESSION_NOTE, JSON.stringify(note));
    if (this.isOver) return ok(null);
    this.#ready = { workspace: opened.value, ...note };
    const [open_ms, received_ms, placed_ms] = times;
    log.info('workspace ready', { job, open_ms, received_ms, placed_ms, ready_ms: Math.round(nowMs() - startedMs) });
    this.#options.ready(cwd.value);
    this.#send({
      t: 'ws.ready',
      job,
      attempt,
      cwd: cwd.value,
      notices: [...placed.value.notices, ...prepared.value.notices]
        .slice(0, NOTICES_MAX)
        .map((notice) => notice.slice(0, REASON_CHARS_MAX)),
      prepare_ms: prepared.value.ms,
    });
    return ok(null);
  }

  #noteOf(prepared: readonly string[]): SessionNote {
    const { returns, outputs } = this.open;
    return { returns, outputs, prepared };
  }

  /** Where nothing is to be prepared the note goes along: the job waits for one answer instead of two. */
  async #place(id: string): ReturnType<WorkspaceFiles['place']> {
    const { files } = this.#options;
    const placing = files.place(id, (count) => this.#now({ ...this.#progress, files: count }));
    if (this.open.prepare.length > 0) return placing;
    const noting = files.writeNote(id, SESSION_NOTE, JSON.stringify(this.#noteOf([])));
    const [placed] = await Promise.all([placing, noting]);
    return placed;
  }

  #expect(): void {
    if (this.open.prepare.length === 0 && !this.#isExpected) this.#options.expect();
    this.#isExpected = true;
  }

  async #receive({ id, base }: OpenedWorkspace): Promise<Result<null, WorkspaceRefusal>> {
    const { files } = this.#options;
    const { job, attempt, manifest } = this.open;
    const isKnown = base === manifest;
    this.#send({ t: 'ws.base', job, attempt, base });
    this.#inbox.begin(!isKnown);
    if (isKnown) this.#expect();
    const wanted = isKnown ? await files.takeManifest(id, null) : await this.#takeManifest(id);
    if (!wanted.ok || this.isOver) return wanted.ok ? ok(null) : wanted;
    const { want, objects, bytes } = wanted.value;
    this.#send({ t: 'ws.want', job, attempt, want: Buffer.from(want).toString('base64'), objects, bytes });
    if (base !== null && !isKnown && bytes <= SOON_BYTES_MAX) this.#expect();
    if (objects === 0) return ok(null);
    const taking: Promise<Result<null, WorkspaceRefusal>>[] = [];
    try {
      for (;;) {
        // What is wrong with one is said at once where nothing else has come.
        while (taking.length >= PACKS_TAKEN_MAX || (taking.length > 0 && !this.#inbox.hasFrame)) {
          const taken = await taking.shift();
          if (taken?.ok === false) return taken;
        }
        const pack = await this.#next('pack', 'end');
        if (!pack.ok) return pack;
        if (pack.value.kind === 'end') break;
        taking.push(this.#takePack(id, pack.value.payload));
      }
      for (const taken of await Promise.all(taking)) if (!taken.ok) return taken;
      return ok(null);
    } finally {
      await Promise.allSettled(taking);
    }
  }

  async #takePack(id: string, pack: Uint8Array): Promise<Result<null, WorkspaceRefusal>> {
    // It is the other thread's then.
    const packBytes = pack.byteLength;
    const taken = await this.#options.files.takePack(id, pack);
    if (!taken.ok) return taken;
    this.#inbox.packDone(packBytes, taken.value.memory);
    const { files, bytes } = this.#progress;
    this.#now({
      phase: 'receiving',
      files: files + taken.value.objects,
      bytes: bytes + taken.value.bytes,
      line: '',
    });
    return ok(null);
  }

  /** On its own, so that nothing of it is in memory while packs come. */
  async #takeManifest(id: string): Promise<Result<Wanted, WorkspaceRefusal>> {
    const frame = await this.#next('manifest', 'changed');
    if (!frame.ok) return frame;
    const { kind, payload } = frame.value;
    // What is sent unasked is little, and mostly all.
    if (kind === 'changed') this.#expect();
    const ahead = kind === 'changed' ? [frame.value.pack] : [];
    const wanted = await this.#options.files.takeManifest(id, payload, ...ahead);
    this.#inbox.manifestDone();
    return wanted;
  }

  async #prepare(workspace: OpenedWorkspace): Promise<Result<Prepared, WorkspaceRefusal>> {
    if (this.open.prepare.length === 0) return ok({ notices: [], ms: 0, prepared: [] });
    this.#now({ phase: 'preparing', files: 0, bytes: 0, line: '' });
    const onLine = (line: string): void => this.#now({ ...this.#progress, line: line.slice(-LINE_CHARS_MAX) });
    return this.#options.preparer.prepare(this.from, workspace, this.open, onLine, this.#over.signal);
  }

  /** The next frame; one of another kind is the origin's fault. */
  async #next<K extends WorkspaceFrame['kind']>(
    ...kinds: readonly K[]
  ): Promise<Result<Extract<WorkspaceFrame, { readonly kind: K }>, WorkspaceRefusal>> {
    const frame = await this.#inbox.next();
    const isOf = (value: WorkspaceFrame): value is Extract<WorkspaceFrame, { readonly kind: K }> =>
      kinds.some((kind) => kind === value.kind);
    if (frame.ok && isOf(frame.value)) return ok(frame.value);
    this.#isWasted = !frame.ok ? frame.error.code !== 'busy' : true;
    if (!frame.ok) return frame;
    return err({ code: 'refused', message: `a ${frame.value.kind} came where the ${kinds.join(' or ')} belongs` });
  }

  async #fail(refusal: WorkspaceRefusal): Promise<void> {
    const { job, attempt } = this.open;
    this.#over.abort();
    this.#inbox.close('the session failed');
    await this.#release();
    this.#options.unlease(this.#isWasted);
    const message = refusal.message.slice(0, REASON_CHARS_MAX * 8);
    this.#send({ t: 'ws.failed', job, attempt, code: refusal.code, message });
  }

  /** The folder is free again; what arrived is kept. */
  #release(): Promise<void> {
    const opened = this.#opened;
    this.#opened = null;
    if (opened !== null) this.#released = this.#closeFolder(opened);
    return this.#released;
  }

  async #closeFolder({ id }: OpenedWorkspace): Promise<void> {
    try {
      await this.#options.files.close(id);
    } catch (error) {
      this.#options.log.error('a workspace could not be released', { id, error: messageOf(error) });
    }
  }

  #now(progress: Progress): void {
    const isNewPhase = progress.phase !== this.#progress.phase;
    this.#progress = progress;
    this.#tell(isNewPhase);
  }

  #tell(force: boolean): void {
    if (this.isOver || this.#ready !== null) return;
    if (!force && nowMs() - this.#toldAtMs < PROGRESS_MS_MIN) return;
    this.#toldAtMs = nowMs();
    this.#options.renew();
    const { job, attempt } = this.open;
    this.#send({ t: 'ws.progress', job, attempt, ...this.#progress });
  }

  #send(message: Parameters<WorkspaceLink['send']>[0]): void {
    if (!this.#link.send(message)) this.#options.log.debug('not sent: no link', { message: message.t });
  }
}
