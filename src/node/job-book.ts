import { openJournal } from '../adapters/journal/journal.ts';
import { MeshError, messageOf } from '../base/errors.ts';
import type { JobId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { MIB } from '../base/units.ts';
import type { Journal, OpenedJournal } from '../ports/journal.ts';
import type { JobRecord } from '../wire/job-record.ts';
import { originEntrySchema, type OpenEntry, type OriginEntry } from '../wire/origin-entry.ts';
import { JobBookState, type LooseEntry } from './job-book-state.ts';

/** A journal below this is not rewritten. */
const REWRITE_BYTES_MIN = 8 * MIB;
/** It is once it has grown by this factor since. */
const REWRITE_GROWTH = 2;
const DAY_MS = 86_400_000;
/** Records dropped at once, so that a setting that was lowered does not stop the daemon for long. */
const DROPPED_AT_ONCE_MAX = 256;
const DAMAGE_LOGGED_MAX = 20;

export interface JobBookOptions {
  readonly log: Logger;
  /** Finished jobs that are kept. */
  readonly keepMax: number;
  /** And for so long after their end. */
  readonly keepDays: number;
  /** Wall clock, milliseconds. */
  readonly wallMs: () => number;
}

/**
 * The jobs of this origin on its disk: what is under way, so that the next daemon takes it up, and what has finished.
 * Every change is applied in memory and appended; where the disk refuses that, the memory is right and the journal is
 * rewritten as soon as the disk takes it.
 */
export class JobBook {
  /** Null where the file could not be opened, or was closed. */
  #journal: Journal | null;
  readonly #options: JobBookOptions;
  readonly #state = new JobBookState();
  readonly #damage: string | null;
  readonly #lacksLines: boolean;
  #rewriteAtBytes: number;
  /** Why appended entries are missing from the journal, or null. */
  #failing: string | null = null;
  /** Entries that the disk refused, ever. */
  #refusals = 0;

  /** Never throws: without its journal a node runs foreground jobs all the same, and says so. */
  static open(path: string, options: JobBookOptions): JobBook {
    try {
      return new JobBook(openJournal(path), options);
    } catch (error) {
      options.log.error('the journal of jobs cannot be opened', { path, error: messageOf(error) });
      return new JobBook(null, options, messageOf(error));
    }
  }

  /** @param failing why there is no journal */
  constructor(opened: OpenedJournal | null, options: JobBookOptions, failing: string | null = null) {
    this.#journal = opened?.journal ?? null;
    this.#failing = failing;
    this.#options = options;
    const damage = opened?.damage ?? [];
    let unread = 0;
    for (const raw of opened?.entries ?? []) {
      const entry = originEntrySchema.safeParse(raw);
      if (entry.success) this.#state.apply(entry.data);
      else unread += 1;
    }
    for (const { line, offset, bytes, what } of damage.slice(0, DAMAGE_LOGGED_MAX)) {
      options.log.error('the journal of jobs is damaged', { line, offset, bytes, what });
    }
    const bad = damage.length + unread;
    // A torn last line is no loss: nothing was done about it before it was whole.
    const torn = damage.filter(({ offset }) => offset === opened?.journal.bytes).length;
    this.#lacksLines = bad > torn;
    if (unread > 0) options.log.error('entries of the journal of jobs are not understood', { entries: unread });
    this.#damage =
      bad === 0
        ? null
        : `${bad} ${bad === 1 ? 'entry' : 'entries'} of the journal of jobs could not be read at the start (see daemon.log): ` +
          'what was submitted here before may be missing or be told wrong';
    this.#rewriteAtBytes = Math.max(REWRITE_BYTES_MIN, (this.#journal?.bytes ?? 0) * REWRITE_GROWTH);
    this.dropOld();
    if (bad > 0) this.#rewrite();
  }

  /**
   * Of an unfinished job of an earlier daemon: lines of a damaged journal are missing, one of which may have said that it
   * was started, and its submitter did not allow another run.
   */
  isUncertain({ reruns, spec }: OpenEntry): boolean {
    return this.#lacksLines && reruns.length >= spec.retries;
  }

  /** For `status`. */
  get notices(): readonly string[] {
    const failing =
      this.#failing === null
        ? []
        : [`jobs are not written to this node's disk, a restart forgets them: ${this.#failing}`];
    return [...(this.#damage === null ? [] : [this.#damage]), ...failing];
  }

  /** Unfinished jobs. */
  get open(): ReadonlyMap<JobId, OpenEntry> {
    return this.#state.open;
  }

  /** Not those of jobs under way in that very attempt: a power cut took the line that said that they had finished. */
  get loose(): readonly LooseEntry[] {
    return this.#state.loose.filter(({ job, attempt }) => this.#state.open.get(job)?.attempt !== attempt);
  }

  /** In the order in which they finished. */
  get finished(): ReadonlyMap<JobId, JobRecord> {
    return this.#state.finished;
  }

  get dropped(): ReadonlyMap<JobId, number> {
    return this.#state.dropped;
  }

  isLoose(job: JobId, attempt: number): boolean {
    return this.#state.isLoose(job, attempt);
  }

  /** @returns false where the disk refused it: it is known until this daemon ends */
  note(entry: OriginEntry): boolean {
    this.#state.apply(entry);
    const written = this.#append(entry);
    if (entry.e === 'finished') this.dropOld();
    return written;
  }

  /**
   * As `note`, and settles once it is on the disk.
   *
   * @throws MeshError `io`; it is known until this daemon ends
   */
  async noteDurably(entry: OriginEntry): Promise<void> {
    const written = this.note(entry);
    if (!written) throw new MeshError('io', this.#failing ?? 'the journal of jobs is closed');
    await this.sync();
  }

  /** A job that could not be written and is not taken. */
  forget(job: JobId): void {
    this.#state.open.delete(job);
  }

  /** @throws MeshError `io` */
  sync(): Promise<void> {
    if (this.#failing === null && this.#journal !== null) return this.#journal.sync();
    return Promise.reject(new MeshError('io', this.#failing ?? 'the journal of jobs is closed'));
  }

  /** Drops what is beyond the bounds on finished jobs. */
  dropOld(): void {
    const { keepMax, keepDays, wallMs } = this.#options;
    const nowMs = wallMs();
    let dropped = 0;
    for (const [job, record] of this.#state.finished) {
      const isOld = nowMs - (record.finished_ms ?? nowMs) > keepDays * DAY_MS;
      if (dropped >= DROPPED_AT_ONCE_MAX || (!isOld && this.#state.finished.size <= keepMax)) return;
      this.note({ e: 'dropped', job, at_ms: nowMs });
      dropped += 1;
    }
  }

  async close(): Promise<void> {
    const journal = this.#journal;
    this.#journal = null;
    await journal?.close();
  }

  #append(entry: OriginEntry): boolean {
    const journal = this.#journal;
    if (journal === null) return false;
    try {
      journal.append(entry);
    } catch (error) {
      if (this.#failing === null) this.#options.log.warn('jobs cannot be written', { error: messageOf(error) });
      this.#failing = messageOf(error);
      this.#refusals += 1;
      return false;
    }
    // Entries before this one are missing: all is written anew.
    if (this.#failing !== null || journal.bytes > this.#rewriteAtBytes) this.#rewrite();
    return true;
  }

  #rewrite(): void {
    const journal = this.#journal;
    if (journal !== null && !journal.isRewriting) void this.#rewriteOnce(journal);
  }

  async #rewriteOnce(journal: Journal): Promise<void> {
    const refusals = this.#refusals;
    try {
      await journal.rewrite(this.#state.entries());
      this.#rewriteAtBytes = Math.max(REWRITE_BYTES_MIN, journal.bytes * REWRITE_GROWTH);
      // Whatever was missing is there now, but for what was refused meanwhile.
      if (this.#refusals === refusals) this.#failing = null;
    } catch (error) {
      this.#rewriteAtBytes = journal.bytes + REWRITE_BYTES_MIN;
      this.#options.log.warn('the journal of jobs cannot be rewritten', { error: messageOf(error) });
    }
  }
}
