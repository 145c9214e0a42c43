import { openJournal } from '../adapters/journal/journal.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { MIB } from '../base/units.ts';
import { AttemptBook, type KeepBounds } from '../core/jobs/attempt-book.ts';
import type { Journal, OpenedJournal } from '../ports/journal.ts';
import { attemptEntrySchema, lackingEntrySchema, type AttemptEntry, type LackingEntry } from '../wire/attempt-entry.ts';

/** Below this the journal is left as it is; above, it is rewritten once it has grown to GROWTH_MAX times its content. */
const REWRITE_BYTES_MIN = MIB;
const GROWTH_MAX = 3;

/** The book of the attempts that ran here, and its file: `MESHWORK_HOME/jobs/executor.journal`. */
export class AttemptJournal {
  readonly book: AttemptBook;
  /** For `status`: what of the journal could not be read; null where it is whole. */
  readonly notice: string | null;
  readonly #log: Logger;
  /** Null where it could not be opened, or is closed. */
  #journal: Journal | null;
  #rewriteAtBytes: number;
  #failing = false;
  #lacking: LackingEntry | null = null;

  /** Never throws: without its journal a node runs jobs all the same, and says so. */
  static open(path: string, bounds: KeepBounds, log: Logger): AttemptJournal {
    try {
      return new AttemptJournal(openJournal(path), bounds, log, path);
    } catch (error) {
      log.error('the journal of attempts cannot be opened', { path, error: messageOf(error) });
      return new AttemptJournal(null, bounds, log, path);
    }
  }

  constructor(opened: OpenedJournal | null, bounds: KeepBounds, log: Logger, path: string) {
    this.book = new AttemptBook(bounds);
    this.#log = log;
    this.#journal = opened?.journal ?? null;
    let damaged = opened?.damage.length ?? 0;
    for (const { line, offset, bytes, what } of opened?.damage ?? []) {
      log.error('the journal of attempts is damaged', { path, line, offset, bytes, what });
    }
    for (const entry of opened?.entries ?? []) {
      const parsed = attemptEntrySchema.safeParse(entry);
      const lacking = parsed.success ? null : lackingEntrySchema.safeParse(entry);
      if (parsed.success) this.book.apply(parsed.data);
      else if (lacking?.success === true) this.#lacking = lacking.data;
      else {
        damaged += 1;
        log.error('the journal of attempts holds an entry of no known shape', { path });
      }
    }
    this.notice = noticeOf(opened === null ? null : damaged, path);
    this.#rewriteAtBytes = Math.max(REWRITE_BYTES_MIN, (this.#journal?.bytes ?? 0) * GROWTH_MAX);
    // Damage is told once; what was whole is written anew.
    if (damaged > 0) this.#rewrite();
  }

  /**
   * Is every attempt known here that this run of the runner was given? Call it once it is connected: damage is remembered
   * for as long as that runner lives, since the journal is whole again when the next daemon reads it.
   */
  knowsAllOf(instance: string | null): boolean {
    if (this.notice !== null && instance !== null) {
      this.#lacking = { e: 'lacking', instance };
      this.#append(this.#lacking);
    }
    if (this.#lacking !== null && this.#lacking.instance !== instance) this.#lacking = null;
    return this.notice === null && this.#lacking === null;
  }

  /** In the book in any case. @returns true where it is in the file too: a crash of this process loses it no more */
  record(entry: AttemptEntry): boolean {
    this.book.apply(entry);
    return this.#append(entry);
  }

  async close(): Promise<void> {
    const journal = this.#journal;
    this.#journal = null;
    await journal?.close();
  }

  #append(entry: AttemptEntry | LackingEntry): boolean {
    if (this.#journal === null) return false;
    try {
      this.#journal.append(entry);
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#log.error('the journal of attempts cannot be written', { error: messageOf(error) });
      this.#failing = true;
      return false;
    }
    if (this.#journal.bytes > this.#rewriteAtBytes && !this.#journal.isRewriting) this.#rewrite();
    return true;
  }

  #rewrite(): void {
    const journal = this.#journal;
    if (journal === null) return;
    // Not again before it has grown, should this fail.
    this.#rewriteAtBytes = Math.max(REWRITE_BYTES_MIN, journal.bytes * GROWTH_MAX);
    void this.#rewriteAll(journal);
  }

  async #rewriteAll(journal: Journal): Promise<void> {
    try {
      const lacking = this.#lacking === null ? [] : [this.#lacking];
      await journal.rewrite([...lacking, ...this.book.entries()]);
      this.#rewriteAtBytes = Math.max(REWRITE_BYTES_MIN, journal.bytes * GROWTH_MAX);
    } catch (error) {
      this.#log.error('the journal of attempts cannot be rewritten', { error: messageOf(error) });
    }
  }
}

function noticeOf(damaged: number | null, path: string): string | null {
  if (damaged === null)
    return `${path} cannot be opened: jobs that run here are not known after a restart of this daemon`;
  if (damaged === 0) return null;
  const lines = damaged === 1 ? '1 line' : `${damaged} lines`;
  return `${path} was damaged: ${lines} could not be read, the others were (see daemon.log)`;
}
