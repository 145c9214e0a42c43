import { MeshError, messageOf } from '../base/errors.ts';
import type { JobId } from '../base/ids.ts';
import type { JobResult, JobView, OriginInput, Submission } from '../core/scheduling/origin-job.ts';
import type { JobRecord } from '../wire/job-record.ts';
import type { OpenEntry } from '../wire/origin-entry.ts';
import { nowMs } from './core-loop.ts';
import { liveRecordOf } from './job-facts.ts';
import {
  freshJob,
  JOURNAL_DAMAGED,
  looseOf,
  NOT_PLACED,
  placeOf,
  termsOfSpec,
  type KeptJob,
  type Nested,
  type OriginServiceOptions,
} from './kept-job.ts';
import type { OutputBytes } from './origin-streams.ts';

/** So long a foreground job waits for its client after a start of the daemon. */
const CLIENT_GRACE_MS = 15_000;

export interface OriginRestoreOptions extends OriginServiceOptions {
  readonly jobs: Map<JobId, KeptJob>;
  readonly post: (input: OriginInput) => void;
  readonly finish: (job: JobId, result: JobResult) => void;
}

/** A foreground job whose client may come back. */
export interface WaitingJob {
  readonly entry: OpenEntry;
  readonly spec: OpenEntry['spec'];
  readonly nested: Nested | null;
  readonly submittedMs: number;
  readonly stdinBytes: number | null;
  /** What its client was sent of attempts before the last. */
  readonly before: OutputBytes;
}

/**
 * Takes up what an earlier daemon left in the book: durable jobs at once, foreground jobs when their clients are back.
 * Those whose clients stay away are ended.
 */
export class OriginRestore {
  readonly #options: OriginRestoreOptions;
  readonly #waiting = new Map<JobId, WaitingJob>();
  #turn: Promise<void> = Promise.resolve();

  constructor(options: OriginRestoreOptions) {
    this.#options = options;
  }

  /** Jobs that wait for their client. */
  get waiting(): readonly JobId[] {
    return [...this.#waiting.keys()];
  }

  begin(): void {
    const { book, log, post } = this.#options;
    for (const loose of book.loose) post({ kind: 'restore_loose', loose: looseOf(loose) });
    const open = [...book.open.values()];
    for (const entry of open) {
      // At once: the next daemon would find a whole journal.
      if (entry.place === null && book.isUncertain(entry)) this.#end(waitingOf(entry), JOURNAL_DAMAGED);
      else if (entry.spec.durable) this.resume(this.#keep(entry), waitingOf(entry));
      else this.#waiting.set(entry.job, waitingOf(entry));
    }
    if (open.length > 0) {
      log.info('jobs of an earlier daemon', { jobs: open.length, waitForClient: this.#waiting.size });
    }
    if (this.#waiting.size > 0) {
      setTimeout(() => this.#expire(), this.#options.clientGraceMs ?? CLIENT_GRACE_MS).unref();
    }
  }

  /** The client of that job is back. Null where it does not wait for one. */
  take(job: JobId): WaitingJob | null {
    const waiting = this.#waiting.get(job) ?? null;
    this.#waiting.delete(job);
    return waiting;
  }

  /** @returns false where no such job waits */
  cancel(job: JobId): boolean {
    const waiting = this.take(job);
    if (waiting === null) return false;
    this.#end(waiting, null);
    return true;
  }

  /** What is told of a job that waits for its client. */
  record(job: JobId): JobRecord | null {
    const waiting = this.#waiting.get(job);
    if (waiting === undefined) return null;
    const { entry, spec, submittedMs } = waiting;
    const { factsOf, self } = this.#options;
    const atMs = nowMs();
    const view: JobView = {
      state: entry.place === null ? 'queued' : 'detached',
      detail: 'waits for its client: the daemon of this node started again',
      queuePosition: null,
      attempt: entry.attempt,
      place: entry.place === null ? null : { ...placeOf(entry.place), reservedAtMs: atMs },
      isSent: entry.place !== null,
      syncMs: entry.place?.sync_ms ?? 0,
      startedAtMs: null,
      submittedAtMs: atMs - entry.queue_ms,
      route: entry.place?.route ?? '',
      automatic: isAutomatic(spec),
      reruns: entry.reruns,
    };
    const facts = { job, spec, submittedMs, notices: entry.notices, received: null, factsOf, origin: self() };
    return liveRecordOf(view, facts, atMs);
  }

  /** Gives the job to the scheduler, as it was. Jobs keep their order. */
  resume(kept: KeptJob, waiting: WaitingJob): void {
    this.#turn = this.#turn.then(() => this.#resume(kept, waiting.entry));
  }

  async #resume(kept: KeptJob, entry: OpenEntry): Promise<void> {
    const { job, spec } = kept;
    const { jobs, post, finish } = this.#options;
    kept.cancelled ||= entry.cancel_asked;
    if (spec.stdin && (entry.place === null || entry.stdin_bytes === null)) {
      kept.lostBecause ??= 'the daemon of this node started again before all of its stdin was there';
      kept.cancelled = true;
    }
    kept.uncertain = this.#options.book.isUncertain(entry);
    if (entry.place === null && kept.cancelled) return finish(job, { kind: 'cancelled', ...NOT_PLACED });
    const prepared = await this.#prepare(kept, entry);
    if (jobs.get(job) !== kept) return;
    if (prepared instanceof MeshError) {
      const { code, message } = prepared;
      return finish(job, { kind: 'refused', code, message, rejected: [], ...NOT_PLACED });
    }
    kept.submitted = true;
    post({
      kind: 'restore',
      job: {
        submission: { ...prepared, terms: termsOfSpec(spec, kept.nested) },
        attempt: entry.attempt,
        place: entry.place === null ? null : placeOf(entry.place),
        cancelAsked: kept.cancelled,
        reruns: entry.reruns,
        avoided: entry.avoided,
        lostAt: entry.lost_at === null ? null : placeOf(entry.lost_at),
        queueMs: entry.queue_ms,
      },
    });
  }

  /** What runs already is asked after whether or not it could be placed now. */
  async #prepare({ job, spec }: KeptJob, entry: OpenEntry): Promise<Submission | MeshError> {
    try {
      return await this.#options.prepare(job, spec);
    } catch (error) {
      if (entry.place === null) {
        return error instanceof MeshError ? error : new MeshError('internal', messageOf(error), error);
      }
      return bareSubmission(job, spec);
    }
  }

  #expire(): void {
    for (const job of this.waiting) {
      const waiting = this.take(job);
      if (waiting === null) continue;
      const what = waiting.entry.place === null ? 'nothing was run' : 'it ran in part and was ended';
      this.#end(waiting, `its client did not come back after the daemon of this node had started again: ${what}`);
    }
  }

  #end(waiting: WaitingJob, lostBecause: string | null): void {
    const kept = this.#keep(waiting.entry);
    kept.lostBecause = lostBecause;
    kept.cancelled = true;
    this.resume(kept, waiting);
  }

  /** One that no client waits for. */
  #keep(entry: OpenEntry): KeptJob {
    const { spec, nested, submittedMs, stdinBytes } = waitingOf(entry);
    const nobody = { onEvent: () => undefined, resolve: () => undefined };
    const kept = freshJob({ job: entry.job, spec, nested, submittedMs, stdinBytes, ...nobody });
    kept.notices = entry.notices;
    kept.toldDetached = spec.durable;
    this.#options.jobs.set(entry.job, kept);
    return kept;
  }
}

function waitingOf(entry: OpenEntry): WaitingJob {
  const { spec, parent, nesting, submitted_ms: submittedMs, stdin_bytes: stdinBytes } = entry;
  const nested = parent === null ? null : { parent, nesting };
  const before = { stdout: entry.stdout_before, stderr: entry.stderr_before };
  return { entry, spec, nested, submittedMs, stdinBytes, before };
}

const isAutomatic = ({ target }: OpenEntry['spec']): boolean => target.kind === 'any' || target.kind === 'bash';

/** Of a job that runs and whose project cannot be read any more. */
function bareSubmission(job: JobId, spec: OpenEntry['spec']): Submission {
  const cwd = { home_relative: null, boot_id: null, device: '0', inode: '0', clean_commit: null, git_prefix: null };
  return {
    job,
    command: spec.command,
    cwd: { path: spec.cwd, ...cwd },
    placement: {
      jobClass: 'other',
      classReason: 'its project cannot be read any more',
      target: spec.target,
      requires: spec.requires,
      tools: [],
      toolsHere: [],
      pins: {},
    },
  };
}
