import { randomBytes } from 'node:crypto';
import { MeshError, messageOf } from '../base/errors.ts';
import { isJobId, makeJobId, type JobId, type NodeId } from '../base/ids.ts';
import type { OriginEffect, OriginInput } from '../core/scheduling/origin-job.ts';
import type { JobEvent, RunObject } from '../wire/api.ts';
import type { JobRecord } from '../wire/job-record.ts';
import type { JobSpec, TerminalSize } from '../wire/job-spec.ts';
import type { JobMessage } from '../wire/jobs.ts';
import type { OpenEntry } from '../wire/origin-entry.ts';
import type { SubmittedJob } from './control-server.ts';
import { nowMs } from './core-loop.ts';
import { whenAsked } from './first-answer.ts';
import { liveRecordOf } from './job-facts.ts';
import { JobWaits } from './job-waits.ts';
import type { OriginJobs } from './job-sources.ts';
import {
  NOT_PLACED,
  openEntryOf,
  DAEMON_DOWN,
  freshJob,
  noticesOf,
  termsOfSpec,
  type KeptJob,
  type Nested,
  type OriginServiceOptions,
} from './kept-job.ts';
import { OriginEffects } from './origin-effects.ts';
import { OriginRestore } from './origin-restore.ts';
import { OriginStreams, type ClientStreams, type OutputBytes } from './origin-streams.ts';
import { runObjectOf } from './api-run-object.ts';

const NESTED_KNOWN_MAX = 4096;

/**
 * The jobs that were submitted at this node: from the front's request to the record that is kept. What the scheduler
 * wants done is in `origin-effects.ts`, what an earlier daemon left in `origin-restore.ts`.
 */
export class OriginService implements OriginJobs {
  readonly #options: OriginServiceOptions;
  readonly #jobs = new Map<JobId, KeptJob>();
  /** Those that are being read for placement: bounded by those submitted. */
  readonly #preparing = new Set<JobId>();
  readonly #waits = new JobWaits();
  /** Nested jobs, finished ones too, and the jobs that they were submitted from. */
  readonly #within = new Map<JobId, JobId>();
  readonly #post: (input: OriginInput) => void;
  readonly #effects: OriginEffects;
  readonly #restore: OriginRestore;
  #released = false;
  #idle: (() => void)[] = [];

  constructor(options: OriginServiceOptions) {
    this.#options = options;
    const { post } = options.loop.add<OriginInput, OriginEffect>(options.origin, { kind: 'timer' }, (effect) =>
      this.#effects.carryOut(effect),
    );
    this.#post = (input) => {
      if (!this.#released) post(input);
    };
    this.#effects = new OriginEffects({
      ...options,
      jobs: this.#jobs,
      post: this.#post,
      isReleased: () => this.#released,
      onGone: (record, kept) => this.#gone(record, kept),
    });
    options.projects?.listen({
      post: this.#post,
      notify: (job, notices) => this.#effects.noteSync(job, notices),
    });
    this.#restore = new OriginRestore({
      ...options,
      jobs: this.#jobs,
      post: this.#post,
      finish: (job, result) => this.#effects.finish(job, result),
    });
  }

  get notices(): readonly string[] {
    return this.#options.book.notices;
  }

  get openJobs(): readonly JobId[] {
    return [...this.#jobs.keys()];
  }

  endsWithClient(job: JobId): boolean {
    return this.#jobs.get(job)?.spec.durable === false;
  }

  /** What a node may rerun; see `OriginOptions.rerunObstacle`. */
  rerunObstacle(job: JobId): string | null {
    const streams = this.#jobs.get(job)?.streams ?? null;
    return streams === null || streams.canRestart ? null : 'part of its stdin is used up';
  }

  /**
   * Takes up what an earlier daemon left. Call once, when this node's own executor knows what runs here; links may come
   * before or after.
   */
  restore(): void {
    this.#restore.begin();
  }

  /** Settles when no job of this origin is under way. */
  whenIdle(): Promise<void> {
    if (this.#jobs.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /**
   * Opens the front's streams at once; placement follows when the project has been read. The result of a durable job
   * comes once its submission is on the disk and the first nodes have answered: unfinished, unless it was refused.
   */
  submit(
    spec: JobSpec,
    client: ClientStreams,
    onEvent: (event: JobEvent) => void,
    nested: Nested | null = null,
  ): SubmittedJob {
    const job = newJobId();
    if (spec.durable && spec.stdin) {
      throw new MeshError('bad_argument', 'a job in the background has no stdin; nothing was run');
    }
    const submittedMs = Date.now();
    const { kept, result } = this.#keep(job, spec, nested, submittedMs, onEvent);
    kept.streams = this.#effects.streamsOf(kept, client);
    const entry = openEntryOf(job, spec, nested, submittedMs);
    if (spec.durable) void this.#submitDurable(kept, result, entry);
    else {
      onEvent({ kind: 'accepted', job });
      this.#options.book.note(entry);
      void this.#prepare(kept);
    }
    return { job, result };
  }

  /**
   * A client that lost its connection, with this daemon's restart, goes on reading.
   *
   * @param received what it has of both outputs
   * @throws MeshError `job_unknown`
   */
  attach(
    job: JobId,
    client: Omit<ClientStreams, 'stdin'>,
    received: OutputBytes,
    onEvent: (event: JobEvent) => void,
  ): SubmittedJob {
    const waiting = this.#restore.take(job);
    if (waiting === null) return { job, result: Promise.resolve(this.#attachLate(job, client, received)) };
    const { kept, result } = this.#keep(
      job,
      waiting.spec,
      waiting.nested,
      waiting.submittedMs,
      onEvent,
      waiting.stdinBytes,
    );
    const { before } = waiting;
    const ofThis = (all: number, earlier: number): number => Math.max(0, all - earlier);
    const have = {
      stdout: ofThis(received.stdout, before.stdout),
      stderr: ofThis(received.stderr, before.stderr),
    };
    kept.streams = new OriginStreams({ ...client, stdin: null }, undefined, have, before);
    this.#restore.resume(kept, waiting);
    return { job, result };
  }

  /**
   * The client reads no more: the job goes on as a durable one, and its `submit` is answered unfinished.
   *
   * @returns false where it is unknown or has finished
   * @throws MeshError `io`: it is a foreground job still
   */
  async detach(job: JobId): Promise<boolean> {
    const kept = this.#jobs.get(job);
    if (kept === undefined) return false;
    if (kept.spec.durable) return true;
    await this.#options.book.noteDurably({ e: 'detached', job });
    if (this.#jobs.get(job) !== kept) return false;
    kept.spec = { ...kept.spec, durable: true };
    this.#effects.detach(kept);
    this.#answerUnfinished(kept);
    return true;
  }

  /** The terminal of the submitter has another size. @returns false where no attempt of it is out */
  resize(job: JobId, size: TerminalSize): boolean {
    const kept = this.#jobs.get(job);
    if (kept === undefined || kept.spec.terminal === null) return false;
    kept.spec = { ...kept.spec, terminal: size };
    if (kept.sent === null) return false;
    const { node, attempt } = kept.sent;
    return this.#options.executor(node)?.send({ t: 'job.resize', job, attempt, size }) ?? false;
  }

  /** @returns false where no such job is under way */
  cancel(job: JobId): boolean {
    const kept = this.#jobs.get(job);
    if (this.#released) return false;
    if (kept === undefined) return this.#restore.cancel(job);
    if (!kept.cancelled) this.#options.book.note({ e: 'cancel', job });
    kept.cancelled = true;
    if (kept.submitted) this.#post({ kind: 'cancel', job });
    // Nothing of it is anywhere yet, and looking through a large project takes long.
    else if (this.#preparing.has(job)) this.#effects.finish(job, { kind: 'cancelled', ...NOT_PLACED });
    if (kept.ending !== null) this.#options.projects?.giveUp(job);
    return true;
  }

  /** Ends every job of this origin, as `down` does: nobody cancelled them, so they are told as lost. */
  cancelAll(): void {
    for (const kept of this.#jobs.values()) kept.lostBecause ??= DAEMON_DOWN;
    for (const job of [...this.openJobs, ...this.#restore.waiting]) this.cancel(job);
  }

  /** This daemon ends and another takes its jobs over: nothing is cancelled or written any more. */
  async release(): Promise<void> {
    this.#released = true;
    await this.#options.book.close();
  }

  /** Newest first. */
  records(): readonly JobRecord[] {
    return [...this.#all()].sort((a, b) => (a.job < b.job ? 1 : -1));
  }

  find(prefix: string): readonly JobRecord[] {
    if (isJobId(prefix)) {
      const record = this.record(prefix);
      return record === null ? [] : [record];
    }
    const { finished, open } = this.#options.book;
    const ids = [...open.keys(), ...finished.keys()].filter((job) => job.startsWith(prefix));
    return ids.flatMap((job) => this.record(job) ?? []);
  }

  droppedAt(prefix: string): number | null {
    for (const [job, atMs] of this.#options.book.dropped) if (job.startsWith(prefix)) return atMs;
    return null;
  }

  parentOf(job: JobId): JobId | null {
    return this.#within.get(job) ?? null;
  }

  /** How deep an unfinished job is inside others; null where it is unknown or has finished. */
  nestingOf(job: JobId): number | null {
    return this.#options.book.open.get(job)?.nesting ?? null;
  }

  /** True where `name`, an id or the beginning of one, means a job that was submitted from within `parent`. */
  isWithin(name: string, parent: string): boolean {
    for (const [job, within] of this.#within) if (within === parent && job.startsWith(name.toUpperCase())) return true;
    return false;
  }

  record(job: JobId): JobRecord | null {
    const kept = this.#jobs.get(job);
    if (kept !== undefined) return this.#liveRecord(kept);
    return this.#options.book.finished.get(job) ?? this.#restore.record(job);
  }

  wait(job: JobId, waitMs: number, signal?: AbortSignal): Promise<JobRecord | null> {
    return this.#waits.wait(job, () => this.record(job), waitMs, signal);
  }

  /** Messages from executors. */
  receive(from: NodeId, message: JobMessage): void {
    this.#effects.receive(from, message);
  }

  linkUp(node: NodeId): void {
    this.#effects.linkUp(node);
    this.#post({ kind: 'link_up', node });
  }

  linkDown(node: NodeId): void {
    this.#post({ kind: 'link_down', node });
  }

  nodesChanged(): void {
    this.#post({ kind: 'nodes_changed' });
  }

  #keep(
    job: JobId,
    spec: JobSpec,
    nested: Nested | null,
    submittedMs: number,
    onEvent: (event: JobEvent) => void,
    stdinBytes: number | null = null,
  ): { readonly kept: KeptJob; readonly result: Promise<RunObject> } {
    let resolve: (result: RunObject) => void = () => undefined;
    const result = new Promise<RunObject>((settle) => {
      resolve = settle;
    });
    const kept = freshJob({ job, spec, nested, submittedMs, onEvent, stdinBytes, resolve });
    this.#jobs.set(job, kept);
    if (nested !== null) this.#noteNested(job, nested);
    return { kept, result };
  }

  #noteNested(job: JobId, { parent }: Nested): void {
    this.#within.set(job, parent);
    const [oldest] = this.#within.keys();
    if (this.#within.size > NESTED_KNOWN_MAX && oldest !== undefined) this.#within.delete(oldest);
  }

  async #submitDurable(kept: KeptJob, result: Promise<RunObject>, entry: OpenEntry): Promise<void> {
    const { job } = kept;
    // Nobody reads along: the output is in the executor's log.
    this.#effects.letReaderGo(kept);
    try {
      await this.#options.book.noteDurably(entry);
    } catch (error) {
      const message = `the job could not be written to the disk (${messageOf(error)}); nothing was run`;
      this.#effects.finish(job, { kind: 'refused', code: 'io', message, rejected: [], ...NOT_PLACED });
      this.#options.book.forget(job);
      return;
    }
    kept.onEvent({ kind: 'accepted', job });
    await this.#prepare(kept);
    await whenAsked(kept, result, () => this.#options.origin.view(job, nowMs())?.state === 'reserving');
    if (this.#jobs.get(job) === kept) this.#answerUnfinished(kept);
  }

  async #prepare(kept: KeptJob): Promise<void> {
    const { job, spec, nested } = kept;
    // While its submission was written to the disk.
    if (kept.cancelled) return this.#effects.finish(job, { kind: 'cancelled', ...NOT_PLACED });
    this.#preparing.add(job);
    try {
      const { notices = [], ...submission } = await this.#options.prepare(job, spec);
      if (this.#jobs.get(job) !== kept) return;
      kept.notices = [...kept.notices, ...notices];
      kept.submitted = true;
      kept.staysHere = submission.placement.workspace?.staysHere ?? null;
      this.#post({ kind: 'submit', submission: { ...submission, terms: termsOfSpec(spec, nested) } });
    } catch (error) {
      const code = error instanceof MeshError ? error.code : 'internal';
      if (!(error instanceof MeshError))
        this.#options.log.error('a job could not be prepared', { job, error: messageOf(error) });
      this.#effects.finish(job, { kind: 'refused', code, message: messageOf(error), rejected: [], ...NOT_PLACED });
    } finally {
      this.#preparing.delete(job);
      // What was noted of its project after it had been cancelled.
      if (this.#jobs.get(job) !== kept) this.#options.projects?.finished(job, null);
    }
  }

  /** The client of a job that is no foreground job any more. */
  #attachLate(job: JobId, client: Omit<ClientStreams, 'stdin'>, received: OutputBytes): RunObject {
    new OriginStreams({ ...client, stdin: null }).finish();
    const record = this.record(job);
    if (record === null) {
      throw new MeshError('job_unknown', `no job ${job} was under way here; what became of it is not known`);
    }
    const object = runObjectOf(record);
    const missing = record.stdout_bytes - received.stdout + (record.stderr_bytes - received.stderr);
    if (record.state !== 'finished' || missing <= 0) return object;
    const notice = `${missing} bytes of output came while nobody read: \`meshwork logs ${job}\` has them`;
    return { ...object, notices: [...object.notices, notice] };
  }

  #answerUnfinished(kept: KeptJob): void {
    kept.resolve(runObjectOf(this.#liveRecord(kept)));
    kept.onEvent = () => undefined;
  }

  #liveRecord(kept: KeptJob, atMs = nowMs()): JobRecord {
    if (kept.ending !== null) return kept.ending;
    const { job, spec, submittedMs, streams } = kept;
    const { origin, factsOf, self } = this.#options;
    const received = streams?.received ?? null;
    const facts = { job, spec, submittedMs, notices: noticesOf(kept), received, factsOf, origin: self() };
    return liveRecordOf(kept.submitted ? origin.view(job, atMs) : null, facts, atMs);
  }

  *#all(): Iterable<JobRecord> {
    const atMs = nowMs();
    for (const kept of this.#jobs.values()) yield this.#liveRecord(kept, atMs);
    for (const job of this.#restore.waiting) {
      const record = this.#restore.record(job);
      if (record !== null) yield record;
    }
    yield* this.#options.book.finished.values();
  }

  #gone(record: JobRecord, kept: KeptJob): void {
    this.#options.onFinished?.(record, kept.spec);
    this.#waits.finished(record.job);
    if (this.#jobs.size === 0) for (const settle of this.#idle.splice(0)) settle();
  }
}

export const newJobId = (): JobId => makeJobId(Date.now(), randomBytes(16));
