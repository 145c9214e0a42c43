import { unreachable } from '../base/assert.ts';
import { messageOf } from '../base/errors.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import type { AttemptPlace, JobResult, OriginEffect, OriginInput } from '../core/scheduling/origin-job.ts';
import type { JobRecord } from '../wire/job-record.ts';
import type { JobMessage, JobMessageOf } from '../wire/jobs.ts';
import { STREAM_WINDOW_BYTES } from '../wire/stream-mux.ts';
import { AckTrail } from './ack-trail.ts';
import { nowMs } from './core-loop.ts';
import { lateRecordOf, outcomeText, recordOf, withNotice } from './job-facts.ts';
import {
  JOURNAL_DAMAGED,
  noticesOf,
  placeEntryOf,
  type ExecutorEnd,
  type KeptJob,
  type OriginServiceOptions,
  type Sent,
} from './kept-job.ts';
import type { Returned } from './change-return.ts';
import { OriginStreams, type ClientStreams } from './origin-streams.ts';
import { runObjectOf } from './api-run-object.ts';

type EffectOf<K extends OriginEffect['kind']> = Extract<OriginEffect, { kind: K }>;

export interface OriginEffectsOptions extends OriginServiceOptions {
  readonly jobs: Map<JobId, KeptJob>;
  readonly post: (input: OriginInput) => void;
  /** Another daemon takes the jobs over: what is not in the book by now is that one's to do. */
  readonly isReleased: () => boolean;
  /** It has finished and is in the book. */
  readonly onGone: (record: JobRecord, kept: KeptJob) => void;
}

/** Does what the origin's scheduler wants done: the journal first, then messages, streams and answers. */
export class OriginEffects {
  readonly #options: OriginEffectsOptions;
  readonly #acked = new AckTrail();

  constructor(options: OriginEffectsOptions) {
    this.#options = options;
  }

  carryOut(effect: OriginEffect): void {
    switch (effect.kind) {
      case 'send':
        return this.#send(effect.to, effect.message);
      case 'sync': {
        const { job, attempt, place } = effect;
        const kept = this.#options.jobs.get(job);
        if (kept !== undefined) this.#options.projects?.begin(job, attempt, place, kept.spec);
        return;
      }
      case 'sync_abort':
        return this.#options.projects?.abort(effect);
      case 'start':
        return this.#start(effect);
      case 'attach':
        return this.#attach(effect);
      case 'detached': {
        const kept = this.#options.jobs.get(effect.job);
        if (kept === undefined) return;
        kept.sent = null;
        kept.streams?.detach();
        return;
      }
      case 'requeued': {
        const { job, attempt } = effect;
        this.#options.book.note({ e: 'requeued', job, attempt });
        this.#options.projects?.notStarted(job, attempt);
        const kept = this.#dropAttempt(job);
        if (kept?.uncertain === true) this.#endUncertain(kept);
        return;
      }
      case 'rerun':
        return this.#rerun(effect);
      case 'late':
        return this.#late(effect);
      case 'given_up':
        this.#options.book.note({ e: 'settled', job: effect.loose.job, attempt: effect.loose.attempt });
        return;
      case 'state':
        return this.#tell(effect);
      case 'finish':
        return this.finish(effect.job, effect.result);
      default:
        unreachable(effect);
    }
  }

  /** What people are to be told of the files that were sent for an attempt. */
  noteSync(job: JobId, notices: readonly string[]): void {
    const kept = this.#options.jobs.get(job);
    if (kept !== undefined) kept.syncNotices = notices;
  }

  linkUp(node: NodeId): void {
    for (const { job, attempt } of this.#acked.take(node)) this.#ack(node, job, attempt);
  }

  /** Messages from executors. The result of an attempt waits until its last output byte is here. */
  receive(from: NodeId, message: JobMessage): void {
    const { post, book, jobs } = this.#options;
    const kept = 'job' in message ? this.#ownerOf(from, message) : undefined;
    switch (message.t) {
      case 'job.ended': {
        const { job, attempt } = message;
        // It did not hear that its end is known, and told it again.
        if (!jobs.has(job) && !book.isLoose(job, attempt) && book.finished.has(job))
          return this.#ack(from, job, attempt);
        if (kept === undefined || kept.streams === null) return post({ kind: 'message', from, message });
        const { sent } = kept;
        kept.streams.whenOutputsClosed(() => {
          // What a lost link cut off is read over the next one, and then it ends again.
          if (kept.sent === sent && sent?.mux.isDead === false) post({ kind: 'message', from, message });
        });
        return;
      }
      case 'job.started':
        if (kept?.sent?.by === 'start') kept.streams?.started();
        return post({ kind: 'message', from, message });
      case 'job.attached':
        post({ kind: 'message', from, message });
        if (kept !== undefined) this.#attached(kept, message);
        return;
      default:
        return post({ kind: 'message', from, message });
    }
  }

  /** The job's streams to its front; the end of stdin is noted, since without it another daemon could not go on. */
  streamsOf(kept: KeptJob, client: ClientStreams): OriginStreams {
    const { job } = kept;
    const onEnded = (bytes: number): void => {
      if (this.#options.jobs.get(job) === kept) this.#options.book.note({ e: 'stdin_ended', job, bytes });
    };
    return new OriginStreams(client, { onEnded });
  }

  /** The job goes on and nobody reads along. */
  letReaderGo(kept: KeptJob): void {
    kept.streams?.finish(true);
    kept.streams = null;
  }

  /** A foreground job that became durable: its executor is told where an attempt is out. */
  detach(kept: KeptJob): void {
    const { sent, job } = kept;
    kept.toldDetached = true;
    if (sent !== null) this.#send(sent.node, { t: 'job.detach', job, attempt: sent.attempt });
    this.letReaderGo(kept);
  }

  /** What changed in a workspace comes back first, while the job is told of as one that still runs. */
  finish(job: JobId, result: JobResult): void {
    const kept = this.#options.jobs.get(job);
    if (kept === undefined || kept.ending !== null) return;
    const { projects } = this.#options;
    const shipped =
      result.kind === 'ended' ? (projects?.shippedAs(job, result.ended.attempt, result.place.node) ?? null) : null;
    if (result.kind !== 'ended' || shipped === null || projects === undefined) {
      const lost = result.kind === 'unknown' ? (projects?.lost(job, result.place.node) ?? []) : [];
      return this.#finished(kept, lost.reduce(withNotice, this.#recordOf(kept, result)), result);
    }
    const record = this.#recordOf(kept, result);
    const detail = `brings changes back from ${result.place.name}`;
    const open = { finished_ms: null, return_code: null, signal: null, reason: null, error: null } as const;
    kept.ending = { ...record, ...open, state: 'syncing', detail };
    kept.onEvent({ kind: 'state', state: 'syncing', node: result.place.name, detail });
    kept.streams?.finish();
    void this.#finishWithChanges(kept, record, result, projects.bringBack(shipped, result.ended));
  }

  async #finishWithChanges(
    kept: KeptJob,
    record: JobRecord,
    result: JobResult,
    returning: Promise<Returned>,
  ): Promise<void> {
    const { changes, notices } = await returning;
    if (this.#options.isReleased()) return;
    const told = notices.reduce(withNotice, record);
    this.#finished(kept, { ...told, changes, finished_ms: Date.now() }, result);
  }

  #recordOf(kept: KeptJob, result: JobResult): JobRecord {
    const { factsOf, self } = this.#options;
    const { job, spec, submittedMs, staysHere, lostBecause, cancelled: cancelAsked, streams } = kept;
    const received = streams?.received ?? null;
    const said = { job, spec, submittedMs, notices: noticesOf(kept), staysHere, lostBecause, cancelAsked, received };
    return recordOf(result, { ...said, factsOf, origin: self(), finishedMs: Date.now() });
  }

  #finished(kept: KeptJob, record: JobRecord, result: JobResult): void {
    const { jobs, book, projects } = this.#options;
    const { job, spec, cancelled: cancelAsked, streams } = kept;
    jobs.delete(job);
    if (result.kind === 'unknown') {
      const place = placeEntryOf(result.place);
      book.note({ e: 'loose', job, attempt: record.attempt, place, unwanted: cancelAsked || !spec.durable });
    }
    book.note({ e: 'finished', record });
    projects?.finished(job, result.kind === 'ended' ? result.place.node : null);
    if (result.kind === 'ended') this.#ackWritten(result.place.node, job, result.ended.attempt, spec.durable);
    streams?.finish();
    const object = runObjectOf(record);
    // A record is bounded; who waits for the answer gets all reasons of all nodes.
    const isRefusal = result.kind === 'refused';
    kept.resolve(isRefusal ? { ...object, error: { code: result.code, message: result.message } } : object);
    this.#options.onGone(record, kept);
  }

  /** That attempt was not started; a later one may have been, and its line lost. */
  #endUncertain(kept: KeptJob): void {
    kept.lostBecause ??= JOURNAL_DAMAGED;
    kept.cancelled = true;
    this.#options.post({ kind: 'cancel', job: kept.job });
  }

  #start({ job, attempt, place }: EffectOf<'start'>): void {
    const { jobs, book, post, origin, projects } = this.#options;
    const kept = jobs.get(job);
    const notWritten = (reason: string): void => post({ kind: 'start_not_written', job, attempt, reason });
    if (kept === undefined) return notWritten('the job is gone');
    const executor = this.#options.executor(place.node);
    if (executor === null) return notWritten('the link is down');
    // Files were sent elsewhere, and it runs without.
    if ((projects?.shippedAs(job, attempt, place.node) ?? null) === null) kept.syncNotices = [];
    const view = origin.view(job, nowMs());
    const queueMs = view === null ? 0 : Math.max(0, place.reservedAtMs - view.submittedAtMs);
    book.note({ e: 'started', job, attempt, place: placeEntryOf(place), queue_ms: queueMs });
    const sent: Sent = { node: place.node, attempt, mux: executor.mux, by: 'start' };
    kept.sent = sent;
    if (!kept.spec.durable) return this.#sendStart(kept, place, executor, notWritten);
    void this.#startOnceOnDisk(kept, place, executor, notWritten);
  }

  /** Of a job that outlives this daemon it must be known for sure that it may have been started. */
  async #startOnceOnDisk(
    kept: KeptJob,
    place: AttemptPlace,
    executor: ExecutorEnd,
    notWritten: (reason: string) => void,
  ): Promise<void> {
    const { sent } = kept;
    try {
      await this.#options.book.sync();
    } catch (error) {
      return notWritten(`the journal of jobs cannot be written: ${messageOf(error)}`);
    }
    const isStill = this.#options.jobs.get(kept.job) === kept && kept.sent === sent && !executor.mux.isDead;
    if (isStill) this.#sendStart(kept, place, executor, notWritten);
    else notWritten('the link went down');
  }

  #sendStart(kept: KeptJob, place: AttemptPlace, executor: ExecutorEnd, notWritten: (reason: string) => void): void {
    const { command, env, umask, timeout_ms, merge, terminal, durable } = kept.spec;
    const streams = kept.streams?.open(executor.mux) ?? null;
    const way = { merge, terminal, durable, nesting: kept.nested?.nesting ?? 0 };
    const isSent = executor.send({
      t: 'job.start',
      job: kept.job,
      attempt: kept.sent?.attempt ?? 1,
      lease: place.lease,
      spec: { command, env, umask, timeout_ms, stdin: (streams?.stdin ?? null) !== null, ...way },
      cwd: place.cwd,
      streams,
      window_bytes: STREAM_WINDOW_BYTES,
    });
    if (isSent) return;
    kept.sent = null;
    kept.streams?.dropAttempt();
    notWritten('the link is down');
  }

  #attach({ job, attempt, place, loose }: EffectOf<'attach'>): void {
    const executor = this.#options.executor(place.node);
    // Its link went down again: that comes as an input of its own.
    if (executor === null) return;
    const kept = loose ? undefined : this.#options.jobs.get(job);
    if (kept?.toldDetached === true) executor.send({ t: 'job.detach', job, attempt });
    const received = kept?.streams?.received ?? { stdout: 0, stderr: 0 };
    const streams = kept?.streams?.open(executor.mux) ?? null;
    if (kept !== undefined) kept.sent = { node: place.node, attempt, mux: executor.mux, by: 'attach' };
    executor.send({
      t: 'job.attach',
      job,
      attempt,
      instance: place.instance,
      streams,
      stdout_offset: received.stdout,
      stderr_offset: received.stderr,
      window_bytes: STREAM_WINDOW_BYTES,
    });
  }

  #attached(kept: KeptJob, { running, stdin_offset: offset }: JobMessageOf<'job.attached'>): void {
    if (!running || kept.streams === null) return;
    const isWhole = kept.streams.started(offset) && (kept.stdinBytes === null || offset >= kept.stdinBytes);
    if (isWhole) return;
    kept.lostBecause ??= 'part of its stdin was lost with the link to its executor: it ran in part and was ended';
    kept.cancelled = true;
    this.#options.post({ kind: 'cancel', job: kept.job });
  }

  #rerun({ loose, over, text }: EffectOf<'rerun'>): void {
    const { job, attempt, place } = loose;
    const { jobs, book } = this.#options;
    const kept = jobs.get(job);
    const streams = kept?.streams ?? null;
    const { stdout, stderr } = streams?.bytes ?? { stdout: 0, stderr: 0 };
    book.note({
      e: 'rerun',
      job,
      attempt,
      over,
      text: text.slice(0, 4096),
      stdout_before: stdout,
      stderr_before: stderr,
    });
    if (over) this.#ackWritten(place.node, job, attempt, true);
    if (kept !== undefined && stdout + stderr > 0) {
      const notice = `the output begins with that of attempt ${attempt} (${stdout} bytes of stdout, ${stderr} of stderr)`;
      kept.notices = [...kept.notices, notice];
    }
    this.#dropAttempt(job);
  }

  #late({ loose, ended }: EffectOf<'late'>): void {
    const { job, attempt, place } = loose;
    const { jobs, book } = this.#options;
    const kept = jobs.get(job);
    const record = book.finished.get(job);
    const notice = `attempt ${attempt} on ${place.name} ended after all (${outcomeText(ended.outcome)}); it does not count`;
    const held = this.#options.projects?.hold(job, ended) ?? null;
    // That its executor does not know either is no news.
    const isNews = ended.outcome.kind !== 'unknown' || held !== null;
    if (isNews && kept !== undefined) kept.notices = [...kept.notices, notice];
    else if (isNews && record !== undefined) {
      const at = { finishedMs: Date.now(), cancelAsked: loose.unwanted };
      // What ended otherwise meanwhile, by another attempt or by being cancelled while it waited for one, stays so.
      const isSuperseded = record.attempts > attempt || record.reason !== 'unknown';
      const told = isSuperseded ? withNotice(record, notice) : lateRecordOf(record, place, ended, at);
      book.note({ e: 'late', record: held === null ? told : withNotice(told, held) });
    }
    book.note({ e: 'settled', job, attempt });
    this.#ackWritten(place.node, job, attempt, true);
  }

  #tell({ job, state, detail }: EffectOf<'state'>): void {
    const kept = this.#options.jobs.get(job);
    if (kept === undefined) return;
    const isRunning = state === 'running' || state === 'cancelling' || state === 'detached';
    const isSyncing = state === 'syncing' || state === 'preparing';
    const node = isRunning || isSyncing ? this.#options.origin.nodeNameOf(job) : null;
    kept.onEvent({ kind: 'state', state: isRunning ? 'running' : isSyncing ? state : 'queued', node, detail });
  }

  #dropAttempt(job: JobId): KeptJob | undefined {
    const kept = this.#options.jobs.get(job);
    if (kept === undefined) return kept;
    kept.sent = null;
    kept.syncNotices = [];
    kept.streams?.dropAttempt();
    return kept;
  }

  /** The executor may forget it once it is in the journal, of a durable job on the disk. */
  #ackWritten(node: NodeId, job: JobId, attempt: number, onDisk: boolean): void {
    if (onDisk) void this.#ackOnceOnDisk(node, job, attempt);
    else this.#ack(node, job, attempt);
  }

  async #ackOnceOnDisk(node: NodeId, job: JobId, attempt: number): Promise<void> {
    try {
      await this.#options.book.sync();
      this.#ack(node, job, attempt);
    } catch (error) {
      this.#options.log.warn('an end is not acknowledged', { job, error: messageOf(error) });
    }
  }

  #ack(node: NodeId, job: JobId, attempt: number): void {
    this.#acked.note(node, { job, attempt });
    this.#send(node, { t: 'job.ack', job, attempt });
  }

  #send(to: NodeId, message: JobMessage): void {
    const sent = this.#options.executor(to)?.send(message) ?? false;
    // Nothing is lost silently: the link's end comes as its own input, and reservations have a deadline.
    if (!sent) this.#options.log.debug('not sent: no link', { to, message: message.t });
  }

  /** The job that such news is about: not that of another node, nor of an attempt that is past. */
  #ownerOf(from: NodeId, { job, attempt }: { readonly job: JobId; readonly attempt: number }): KeptJob | undefined {
    const kept = this.#options.jobs.get(job);
    return kept?.sent?.node === from && kept.sent.attempt === attempt ? kept : undefined;
  }
}
