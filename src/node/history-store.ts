import { messageOf } from '../base/errors.ts';
import type { NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { MS_PER_SECOND } from '../base/units.ts';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { commandKey, type CommandKey } from '../core/history/command-key.ts';
import { DurationHistory } from '../core/history/duration-history.ts';
import type { JobHistory } from '../core/scheduling/placement-request.ts';
import type { JobRecord } from '../wire/job-record.ts';
import type { Command, JobSpec } from '../wire/job-spec.ts';
import { readHistory, writeHistory } from './history-file.ts';
import { ProjectPlaces } from './project-place.ts';

/** News are written so long after the first of them. */
const WRITE_DELAY_MS = 20_000;
/** Estimates made before others have a turn. */
const ESTIMATES_A_TURN = 100;

/** What is asked of a job's history: any `Submission` is one. */
export interface Timed {
  readonly command: Command;
  readonly cwd: { readonly path: string };
}

/**
 * How long commands took, kept in `MESHWORK_HOME/jobs/history.json` without any of their words. All figures are seconds
 * as on this node.
 */
export class HistoryStore {
  readonly #path: string;
  readonly #self: () => NodeId;
  readonly #log: Logger;
  readonly #history: DurationHistory;
  readonly #places = new ProjectPlaces();
  readonly #keys = new WeakMap<Timed, CommandKey>();
  #timer: NodeJS.Timeout | null = null;
  #writing: Promise<void> = Promise.resolve();
  #isFailing = false;

  private constructor(path: string, self: () => NodeId, log: Logger, history: DurationHistory) {
    this.#path = path;
    this.#self = self;
    this.#log = log;
    this.#history = history;
  }

  /**
   * @param path of history.json, whose folder exists; what cannot be used is made anew, with a line in the log
   * @param self this node, which may get another id with another mesh; not asked while this opens
   */
  static async open(path: string, self: () => NodeId, log: Logger): Promise<HistoryStore> {
    const read = await readHistory(path);
    if (!read.ok) log.warn('the history of durations cannot be used and begins anew', { path, error: read.error });
    const snapshot = read.ok ? read.value : null;
    return new HistoryStore(path, self, log, snapshot === null ? new DurationHistory() : new DurationHistory(snapshot));
  }

  /** Of a job that has finished: only success tells how long a command takes. */
  onFinished(record: JobRecord, spec: JobSpec): void {
    const { reason, return_code: code, executed_on_id: node, duration_ms: durationMs } = record;
    // Someone at a terminal takes as long as he likes.
    if (reason !== 'exited' || code !== 0 || node === null || durationMs <= 0 || spec.terminal !== null) return;
    this.record(spec.cwd, spec.command, node, durationMs / MS_PER_SECOND);
  }

  record(cwd: string, command: Command, node: NodeId, seconds: number): void {
    this.#history.record(this.#keyOf(cwd, command), node, Number(seconds.toPrecision(4)));
    this.#timer ??= setTimeout(() => void this.#write(), WRITE_DELAY_MS).unref();
  }

  /** Null where nobody knows. */
  estimate(cwd: string, command: Command): number | null {
    return this.#here(this.#keyOf(cwd, command));
  }

  /** Of many commands in one directory, seconds each; null where nobody knows. */
  async estimates(cwd: string, commands: readonly string[]): Promise<(number | null)[]> {
    const found: (number | null)[] = [];
    for (const line of commands) {
      found.push(this.estimate(cwd, { kind: 'line', line }));
      if (found.length % ESTIMATES_A_TURN === 0) await nextTurn();
    }
    return found;
  }

  /** What placement asks of a job; cheap when asked again for the same object. */
  readonly of = (job: Timed): JobHistory => {
    const key = this.#keys.get(job) ?? this.#keyOf(job.cwd.path, job.command);
    this.#keys.set(job, key);
    return { durationS: this.#here(key), slownessOf: this.#slownessOf };
  };

  /** How many times longer commands take there than here; null where too little is known. */
  readonly #slownessOf = (node: NodeId): number | null => {
    if (node === this.#self()) return 1;
    const there = this.#history.slownessOf(node);
    return there === null ? null : there / (this.#history.slownessOf(this.#self()) ?? 1);
  };

  /** Writes what is new. */
  async close(): Promise<void> {
    if (this.#timer !== null) await this.#write();
    await this.#writing;
  }

  #keyOf(cwd: string, command: Command): CommandKey {
    return commandKey(this.#places.at(cwd), command);
  }

  #here(key: CommandKey): number | null {
    const seconds = this.#history.estimate(key);
    return seconds === null ? null : seconds * (this.#history.slownessOf(this.#self()) ?? 1);
  }

  #write(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#writing = this.#writing.then(() => this.#writeNow());
    return this.#writing;
  }

  async #writeNow(): Promise<void> {
    try {
      await writeHistory(this.#path, this.#history.snapshot());
      this.#isFailing = false;
    } catch (error) {
      // It is a help, not a promise; that it is lost at the next start is said once.
      if (!this.#isFailing) {
        this.#log.warn('the history of durations cannot be written', { path: this.#path, error: messageOf(error) });
      }
      this.#isFailing = true;
    }
  }
}
