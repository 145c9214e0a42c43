import type { JobId, NodeId } from '../../src/base/ids.ts';
import { silentLogger } from '../../src/base/log.ts';
import type { Random } from '../../src/base/random.ts';
import type { NodeView } from '../../src/core/scheduling/candidate.ts';
import { Origin } from '../../src/core/scheduling/origin.ts';
import type {
  AttemptPlace,
  JobResult,
  LooseAttempt,
  OriginEffect,
  OriginInput,
  Submission,
} from '../../src/core/scheduling/origin-job.ts';
import { JobBook } from '../../src/node/job-book.ts';
import { recordOf } from '../../src/node/job-facts.ts';
import { looseOf, NOT_PLACED, openEntryOf, placeEntryOf, placeOf, termsOfSpec } from '../../src/node/kept-job.ts';
import type { JobSpec } from '../../src/wire/job-spec.ts';
import type { JobMessage } from '../../src/wire/jobs.ts';
import type { OpenEntry } from '../../src/wire/origin-entry.ts';
import { PLAIN_ATTEMPT } from '../fixtures/plain-spec.ts';
import type { MemoryJournalFile } from '../fixtures/memory-journal.ts';
import type { ToldOutcome } from './job-ledger.ts';
import { SimulatedOriginSync, type WorldMessage } from './simulated-sync.ts';
import type { VirtualClock } from './virtual-clock.ts';

export interface OriginSurroundings {
  readonly clock: VirtualClock;
  readonly random: Random;
  readonly self: NodeId;
  readonly nodes: () => readonly NodeView[];
  readonly prepare: (job: JobId, spec: JobSpec) => Submission;
  /** A number that changes with each link to that node. */
  readonly linkTo: (peer: NodeId) => number | null;
  readonly send: (to: NodeId, message: WorldMessage) => void;
  readonly onOutcome: (job: JobId, told: ToldOutcome) => void;
  /** How many of the starts take seconds. */
  readonly slowShare: number;
}

const SLOW_MS = 14_000;
const SYNC_MS_MAX = 5;
/** So long a foreground job waits for its client after a start of the daemon. */
const CLIENT_GRACE_MS = 15_000;
const RULES = { compatible: () => true, pinSatisfied: () => true, isCatalogued: () => true };

/** One life of a daemon's origin: the real machine and the real book, with what the daemon does on a virtual clock. */
export class SimulatedOrigin {
  readonly machine: Origin;
  readonly sync: SimulatedOriginSync;
  readonly #around: OriginSurroundings;
  readonly #book: JobBook;
  /** Unfinished jobs whose clients have not come back yet. */
  readonly #waiting = new Set<JobId>();
  /** Durable from the beginning for their executors, or told to be. */
  readonly #toldDetached = new Set<JobId>();
  /** Jobs of a damaged journal that may have been started although nothing says so. */
  readonly #uncertain = new Set<JobId>();
  #isOver = false;
  #wakeMs = Number.POSITIVE_INFINITY;

  constructor(around: OriginSurroundings, file: MemoryJournalFile) {
    this.#around = around;
    const endsWithClient = (job: JobId): boolean => this.#book.open.get(job)?.spec.durable === false;
    this.machine = new Origin({ nodes: around.nodes, rules: RULES, random: around.random, endsWithClient });
    this.sync = new SimulatedOriginSync({
      ...around,
      step: (input) => this.step(input),
      later: (delayMs, run) => this.#later(delayMs, run),
    });
    const bounds = { keepMax: 10_000, keepDays: 1000, wallMs: () => this.#wallMs };
    this.#book = new JobBook(file.open(), { log: silentLogger, ...bounds });
    this.#restore();
  }

  crash(): void {
    this.#isOver = true;
  }

  /** Unfinished, as its book says. */
  get openJobs(): readonly JobId[] {
    return [...this.#book.open.keys()];
  }

  /** Foreground jobs of an earlier daemon, which wait for their clients. */
  get waitingForClients(): readonly JobId[] {
    return [...this.#waiting];
  }

  /** @param onAccepted the job's id goes to the client: for a durable job once the journal has it */
  submit(job: JobId, spec: JobSpec, parent: JobId | null, onAccepted: () => void): void {
    const nested = parent === null ? null : { parent, nesting: 1 };
    this.#book.note(openEntryOf(job, spec, nested, this.#wallMs));
    if (spec.durable) this.#toldDetached.add(job);
    const accept = (): void => {
      onAccepted();
      const terms = termsOfSpec(spec, nested);
      this.step({ kind: 'submit', submission: { ...this.#around.prepare(job, spec), terms } });
    };
    if (spec.durable) this.#synced(accept);
    else accept();
  }

  cancel(job: JobId): void {
    const open = this.#book.open.get(job);
    if (open === undefined) return;
    this.#book.note({ e: 'cancel', job });
    if (this.#waiting.has(job)) this.#resume(job);
    else this.step({ kind: 'cancel', job });
  }

  clientGone(job: JobId): void {
    if (this.#book.open.get(job)?.spec.durable === false) this.cancel(job);
  }

  /** The client of a job of an earlier daemon is back. */
  clientIsBack(job: JobId): void {
    if (this.#waiting.has(job)) this.#resume(job);
  }

  /** @returns false where it is finished */
  detach(job: JobId): boolean {
    const open = this.#book.open.get(job);
    if (open === undefined || this.#waiting.has(job)) return false;
    this.#book.note({ e: 'detached', job });
    this.#toldDetached.add(job);
    if (open.place !== null) this.#around.send(open.place.node, { t: 'job.detach', job, attempt: open.attempt });
    return true;
  }

  /** A job that waits to be sent until its book is on the disk may have been detached, cancelled or lost meanwhile. */
  step(input: OriginInput): void {
    if (this.#isOver) return;
    for (const effect of this.machine.step(input, this.#around.clock.nowMs)) this.#perform(effect);
    this.#arm();
  }

  receive(from: NodeId, message: JobMessage): void {
    if (message.t === 'job.ended') {
      const { job, attempt } = message;
      const { open, finished } = this.#book;
      // It did not hear that its end is known.
      if (!open.has(job) && !this.#book.isLoose(job, attempt) && finished.has(job)) {
        return this.#around.send(from, { t: 'job.ack', job, attempt });
      }
    }
    this.step({ kind: 'message', from, message });
  }

  #perform(effect: OriginEffect): void {
    switch (effect.kind) {
      case 'send':
        return this.#around.send(effect.to, effect.message);
      case 'sync':
        return this.sync.begin(effect.job, effect.attempt, effect.place);
      case 'sync_abort':
        return this.sync.abort(effect);
      case 'start':
        return this.#start(effect);
      case 'attach':
        return this.#attach(effect);
      case 'detached':
      case 'state':
        return;
      case 'requeued': {
        const { job, attempt } = effect;
        this.#book.note({ e: 'requeued', job, attempt });
        if (this.#uncertain.has(job)) this.#later(0, () => this.cancel(job));
        return;
      }
      case 'rerun': {
        const { loose, text, over } = effect;
        const { job, attempt } = loose;
        this.#book.note({ e: 'rerun', job, attempt, over, text, stdout_before: 0, stderr_before: 0 });
        if (over) this.#acknowledge(loose);
        return;
      }
      case 'late':
        return this.#late(effect);
      case 'given_up':
        this.#book.note({ e: 'settled', job: effect.loose.job, attempt: effect.loose.attempt });
        return;
      case 'finish':
        return this.#finish(effect.job, effect.result);
    }
  }

  /** A slow one is as if the origin had been suspended just then; where the link went meanwhile it is never sent. */
  #start({ job, attempt, place }: Extract<OriginEffect, { kind: 'start' }>): void {
    const { random, slowShare, linkTo, send } = this.#around;
    const link = linkTo(place.node);
    const notWritten = (): void => this.step({ kind: 'start_not_written', job, attempt, reason: 'the link went down' });
    if (link === null) return notWritten();
    this.#book.note({ e: 'started', job, attempt, place: placeEntryOf(place), queue_ms: 0 });
    const write = (): void => {
      const open = this.#book.open.get(job);
      if (open?.attempt !== attempt) return;
      if (linkTo(place.node) === link) send(place.node, startMessage(job, attempt, place, open.spec.durable));
      else notWritten();
    };
    if (this.#book.open.get(job)?.spec.durable === true) this.#synced(write);
    else if (random.next() < slowShare) this.#later(random.next() * SLOW_MS, write);
    else write();
  }

  #attach({ job, attempt, place, loose }: Extract<OriginEffect, { kind: 'attach' }>): void {
    const open = loose ? undefined : this.#book.open.get(job);
    if (open !== undefined && this.#toldDetached.has(job))
      this.#around.send(place.node, { t: 'job.detach', job, attempt });
    const isRead = open?.spec.durable === false;
    const streams = isRead ? { stdin: null, stdout: 1, stderr: 2 } : null;
    const offsets = { stdout_offset: 0, stderr_offset: 0, window_bytes: 1 };
    const { instance } = place;
    this.#around.send(place.node, { t: 'job.attach', job, attempt, instance, streams, ...offsets });
  }

  #late({ loose, ended }: Extract<OriginEffect, { kind: 'late' }>): void {
    const { job, attempt } = loose;
    const record = this.#book.finished.get(job);
    const isNews = ended.outcome.kind !== 'unknown';
    if (isNews && record !== undefined && record.attempts === attempt && record.reason === 'unknown') {
      this.#book.note({ e: 'late', record: { ...record, late: true, reason: 'exited' } });
      this.#around.onOutcome(job, { kind: 'ended', attempt, outcome: ended.outcome, late: true });
    }
    this.#book.note({ e: 'settled', job, attempt });
    this.#acknowledge(loose);
  }

  #finish(job: JobId, result: JobResult): void {
    const open = this.#book.open.get(job);
    if (open === undefined) return;
    const record = recordOf(result, {
      job,
      spec: open.spec,
      submittedMs: open.submitted_ms,
      finishedMs: this.#wallMs,
      origin: { id: this.#around.self, name: 'origin' },
      factsOf: () => null,
      notices: [],
      received: null,
      cancelAsked: open.cancel_asked,
      lostBecause: null,
      staysHere: null,
    });
    if (result.kind === 'unknown') {
      const { attempts: attempt, place } = result;
      const unwanted = open.cancel_asked || !open.spec.durable;
      this.#book.note({ e: 'loose', job, attempt, place: placeEntryOf(place), unwanted });
    }
    this.#book.note({ e: 'finished', record });
    this.#around.onOutcome(job, toldOf(result));
    if (result.kind === 'ended') this.#acknowledge({ job, attempt: result.attempts, place: result.place });
  }

  #acknowledge({ job, attempt, place }: Pick<LooseAttempt, 'job' | 'attempt' | 'place'>): void {
    this.#synced(() => this.#around.send(place.node, { t: 'job.ack', job, attempt }));
  }

  #restore(): void {
    for (const loose of this.#book.loose) this.step({ kind: 'restore_loose', loose: looseOf(loose) });
    const left = [...this.#book.open];
    for (const [job, open] of left) {
      const { spec } = open;
      this.#waiting.add(job);
      if (spec.durable || (open.place === null && this.#book.isUncertain(open))) this.#resume(job);
    }
    this.#later(CLIENT_GRACE_MS, () => {
      for (const job of this.#waiting) this.cancel(job);
    });
  }

  /** Gives it to the scheduler, as it was. */
  #resume(job: JobId): void {
    const open = this.#book.open.get(job);
    if (!this.#waiting.delete(job) || open === undefined) return;
    if (open.spec.durable) this.#toldDetached.add(job);
    const isUncertain = this.#book.isUncertain(open);
    if (isUncertain) this.#uncertain.add(job);
    if (open.place === null && (open.cancel_asked || isUncertain))
      return this.#finish(job, { kind: 'cancelled', ...NOT_PLACED });
    this.step({ kind: 'restore', job: restoredOf(open, this.#around.prepare(job, open.spec)) });
  }

  get #wallMs(): number {
    return Math.floor(this.#around.clock.nowMs);
  }

  #synced(run: () => void): void {
    this.#later(this.#around.random.next() * SYNC_MS_MAX, () => {
      void this.#book.sync();
      run();
    });
  }

  #arm(): void {
    const wakeMs = this.machine.nextDeadlineMs() ?? Number.POSITIVE_INFINITY;
    if (wakeMs >= this.#wakeMs) return;
    this.#wakeMs = wakeMs;
    this.#later(Math.max(0, wakeMs - this.#around.clock.nowMs), () => {
      this.#wakeMs = Number.POSITIVE_INFINITY;
      this.step({ kind: 'timer' });
    });
  }

  #later(delayMs: number, run: () => void): void {
    this.#around.clock.after(delayMs, () => {
      if (!this.#isOver) run();
    });
  }
}

function restoredOf(open: OpenEntry, submission: Submission): Extract<OriginInput, { kind: 'restore' }>['job'] {
  const { spec, parent, nesting, place, lost_at: lostAt } = open;
  const nested = parent === null ? null : { parent, nesting };
  return {
    submission: { ...submission, terms: termsOfSpec(spec, nested) },
    attempt: open.attempt,
    place: place === null ? null : placeOf(place),
    cancelAsked: open.cancel_asked,
    reruns: open.reruns,
    avoided: open.avoided,
    lostAt: lostAt === null ? null : placeOf(lostAt),
    queueMs: open.queue_ms,
  };
}

function toldOf(result: JobResult): ToldOutcome {
  switch (result.kind) {
    case 'ended': {
      const { attempts: attempt, ended } = result;
      return { kind: 'ended', attempt, outcome: ended.outcome, late: false };
    }
    case 'unknown':
      return { kind: 'unknown', attempts: result.attempts };
    case 'refused':
    case 'cancelled':
      return { kind: result.kind };
  }
}

function startMessage(job: JobId, attempt: number, place: AttemptPlace, durable: boolean): JobMessage {
  return {
    t: 'job.start',
    job,
    attempt,
    lease: place.lease,
    spec: {
      command: { kind: 'line', line: 'make' },
      env: {},
      umask: 18,
      timeout_ms: null,
      stdin: false,
      ...PLAIN_ATTEMPT,
      durable,
    },
    cwd: place.cwd,
    streams: durable ? null : { stdin: null, stdout: 1, stderr: 2 },
    window_bytes: 1,
  };
}
