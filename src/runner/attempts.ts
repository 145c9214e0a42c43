import path from 'node:path';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { PipePool } from '../adapters/process/pipe-pool.ts';
import type { ControlGroup } from '../adapters/process/control-group.ts';
import type { ControlGroups } from '../adapters/process/control-groups.ts';
import { type AttemptKey, attemptName, killTrees } from '../adapters/process/tree.ts';
import type { TerminalSize } from '../wire/job-spec.ts';
import type { FromRunner, RunnerRead, RunnerReadEnd, RunnerRun } from '../wire/runner.ts';
import { STREAMS_MAX, type StreamMux } from '../wire/stream-mux.ts';
import { Attempt, type AttemptResult } from './attempt.ts';
import { type AttemptJournal, parseAttemptName } from './attempt-journal.ts';
import { parseResult, unknownResult } from './attempt-result.ts';
import { type ReaderEnd, startReader } from './log-reader.ts';
import { OutputLog, removeLog } from './output-log.ts';

/** Three streams each, with room to spare. */
const ATTEMPTS_OPEN_MAX = STREAMS_MAX / 4;
/** Results that nobody acknowledges: the oldest are told no more then. */
const ENDED_MAX = 16_384;
/** Of a log that is read back: nothing is written to it but a result. */
const LOADED_BYTES_MAX = Number.MAX_SAFE_INTEGER;
const KILLED = 'the runner was killed while it ran this';

export interface AttemptsOptions {
  readonly pool: PipePool;
  readonly groups: ControlGroups;
  readonly journal: AttemptJournal;
  /** Holds a folder with the output log of each attempt. */
  readonly logsFolder: string;
  readonly log: Logger;
  /** To the daemon, if one is there. */
  readonly tell: (message: FromRunner) => void;
  /** Nothing runs any more. */
  readonly onIdle: () => void;
}

type ReadOutcome = RunnerReadEnd['end'];

/** All attempts of this runner, whichever connection ordered them, and what earlier runners left. */
export class Attempts {
  readonly #options: AttemptsOptions;
  readonly #running = new Map<string, { readonly key: AttemptKey; readonly attempt: Attempt }>();
  /** Ended, and not acknowledged. */
  readonly #ended = new Map<string, { readonly key: AttemptKey; readonly result: AttemptResult; log: OutputLog }>();
  /** Of an earlier runner that was killed: their trees are being ended. */
  readonly #lost = new Map<string, AttemptKey>();

  constructor(options: AttemptsOptions) {
    this.#options = options;
  }

  get isIdle(): boolean {
    return this.#running.size === 0 && this.#lost.size === 0;
  }

  /** What a daemon that connects must know. */
  kept(): FromRunner[] {
    const running = [...this.#running.values()].map(({ key, attempt }): FromRunner => {
      return { t: 'runner.kept', ...key, durable: attempt.output.isDurable, stdin_bytes: attempt.stdinBytes };
    });
    const lost = [...this.#lost.values()].map((key): FromRunner => {
      return { t: 'runner.kept', ...key, durable: true, stdin_bytes: 0 };
    });
    const ended = [...this.#ended.values()].map(({ key, result }): FromRunner => {
      return { t: 'runner.ended', ...key, ...result };
    });
    return [...running, ...lost, ...ended];
  }

  expect(): void {
    this.#options.groups.expect();
  }

  /**
   * Takes over what earlier runners left: results that were not acknowledged, and trees, which are ended.
   *
   * @param left the control groups that are there still; what is in them goes, whatever else is known of it
   */
  restore(left: ReadonlyMap<string, ControlGroup>): void {
    for (const key of this.#options.journal.list()) {
      const name = attemptName(key);
      try {
        const loaded = this.#load(name);
        const result = loaded?.result ?? null;
        if (loaded !== null && result !== null) this.#ended.set(name, { key, result, log: loaded.output });
        else this.#lost.set(name, key);
      } catch (error) {
        this.#options.log.error('an output log cannot be read', { name, error: messageOf(error) });
        this.#lost.set(name, key);
      }
    }
    const strays = [...left.keys()].filter((name) => !this.#lost.has(name)).map(parseAttemptName);
    if (strays.length > 0)
      void this.#endTrees(
        strays.filter((key) => key !== null),
        left,
      );
    if (this.#lost.size > 0) void this.#endLost([...this.#lost.values()], left);
  }

  /** @returns null, or what is wrong with the order */
  run(order: RunnerRun, mux: StreamMux): string | null {
    const key = { job: order.job, attempt: order.attempt };
    const name = attemptName(key);
    const streams = [order.stdout_stream, order.stderr_stream, order.stdin_stream].filter((id) => id !== null);
    if (this.#running.has(name) || this.#ended.has(name) || this.#lost.has(name)) return `it ordered ${name} twice`;
    if (this.#running.size >= ATTEMPTS_OPEN_MAX) return `it ordered more than ${ATTEMPTS_OPEN_MAX} attempts at once`;
    if (!mux.canOpen(streams)) return `it named streams that cannot be opened, for ${name}`;
    const { pool, groups, log, journal, tell } = this.#options;
    const folder = this.#folderOf(name);
    const onStarted = (pid: number): void => tell({ t: 'runner.started', ...key, pid });
    const attempt = new Attempt(order, mux, { pool, groups, log, folder, onStarted });
    this.#running.set(name, { key, attempt });
    journal.add(key);
    void attempt.run().then((result) => this.#onEnded(key, result, attempt.output.log));
    return null;
  }

  cancel(key: AttemptKey): void {
    this.#of(key)?.cancel();
  }

  /** @param only leaves durable ones alone */
  cancelAll(only: 'foreground' | 'all'): void {
    for (const { attempt } of this.#running.values()) {
      if (only === 'all' || !attempt.output.isDurable) attempt.cancel();
    }
  }

  park(key: AttemptKey): void {
    this.#of(key)?.park();
  }

  detach(key: AttemptKey): void {
    this.#of(key)?.output.detach();
  }

  resize(key: AttemptKey, size: TerminalSize): void {
    this.#of(key)?.resize(size);
  }

  /** @returns the bytes that had arrived, or null where stdin is closed */
  resumeStdin(key: AttemptKey, mux: StreamMux, stream: number): number | null {
    const attempt = this.#of(key);
    if (attempt !== undefined) return attempt.resumeStdin(mux, stream);
    return null;
  }

  read(order: RunnerRead, mux: StreamMux): void {
    const { stream_id: streamId, window_bytes: windowBytes } = order;
    const onEnd = (end: ReaderEnd): void => this.#tellReadEnd(streamId, outcomeOf(end));
    try {
      const attempt = this.#of(order);
      if (attempt !== undefined) return attempt.read(mux, order, onEnd);
      const log = this.#ended.get(attemptName(order))?.log ?? this.#loadEnded(attemptName(order));
      if (log !== null) {
        startReader(log, { mux, streamId, windowBytes }, order, { onEnd });
        return;
      }
      this.#refuseRead(mux, streamId, { kind: 'unknown', message: 'no output of this attempt is kept here' });
    } catch (error) {
      this.#refuseRead(mux, streamId, { kind: 'io', message: `the output cannot be read: ${messageOf(error)}` });
    }
  }

  acknowledge(key: AttemptKey): void {
    const name = attemptName(key);
    const ended = this.#ended.get(name);
    if (ended === undefined) return;
    this.#ended.delete(name);
    this.#options.journal.remove(key);
    ended.log.trim();
  }

  drop(key: AttemptKey): void {
    const name = attemptName(key);
    if (this.#running.has(name) || this.#lost.has(name)) return;
    this.acknowledge(key);
    removeLog(this.#folderOf(name), this.#options.log);
  }

  #of(key: AttemptKey): Attempt | undefined {
    return this.#running.get(attemptName(key))?.attempt;
  }

  #folderOf(name: string): string {
    return path.join(this.#options.logsFolder, name);
  }

  #onEnded(key: AttemptKey, result: AttemptResult, log: OutputLog): void {
    const name = attemptName(key);
    this.#running.delete(name);
    this.#lost.delete(name);
    const oldest = this.#ended.values().next().value;
    if (this.#ended.size >= ENDED_MAX && oldest !== undefined) this.acknowledge(oldest.key);
    this.#ended.set(name, { key, result, log });
    this.#options.tell({ t: 'runner.ended', ...key, ...result });
    if (this.isIdle) this.#options.onIdle();
  }

  async #endTrees(keys: readonly AttemptKey[], left: ReadonlyMap<string, ControlGroup>): Promise<void> {
    const { log } = this.#options;
    log.warn('ending what an earlier runner left', { attempts: keys.length });
    try {
      await killTrees(keys, left, log);
    } catch (error) {
      log.error('cannot look for what an earlier runner left', { error: messageOf(error) });
    }
  }

  async #endLost(keys: readonly AttemptKey[], left: ReadonlyMap<string, ControlGroup>): Promise<void> {
    await this.#endTrees(keys, left);
    for (const key of keys) {
      const name = attemptName(key);
      const output = this.#loadForEnd(name);
      const result = unknownResult(KILLED, output.ends);
      output.end(JSON.stringify(result));
      this.#onEnded(key, result, output);
    }
  }

  #loadForEnd(name: string): OutputLog {
    const { log } = this.#options;
    const empty = (): OutputLog => new OutputLog(this.#folderOf(name), LOADED_BYTES_MAX, () => false, log);
    try {
      return this.#load(name)?.output ?? empty();
    } catch (error) {
      log.error('an output log cannot be read', { name, error: messageOf(error) });
      return empty();
    }
  }

  #load(name: string): { readonly output: OutputLog; readonly result: AttemptResult | null } | null {
    const loaded = OutputLog.load(this.#folderOf(name), LOADED_BYTES_MAX, this.#options.log);
    if (loaded === null) return null;
    return { output: loaded.output, result: loaded.result === null ? null : parseResult(loaded.result) };
  }

  /** A log of an attempt that was acknowledged. */
  #loadEnded(name: string): OutputLog | null {
    const output = this.#load(name)?.output ?? null;
    if (output === null || output.isEnded) return output;
    output.end(JSON.stringify(unknownResult('no result was kept', output.ends)));
    return output;
  }

  #refuseRead(
    mux: StreamMux,
    stream: number,
    why: { readonly kind: 'unknown' | 'io'; readonly message: string },
  ): void {
    mux.openOutgoing(stream, 0, {}).abort();
    this.#tellReadEnd(stream, { ok: false, ...why, end: 0 });
  }

  #tellReadEnd(stream: number, end: ReadOutcome): void {
    this.#options.tell({ t: 'runner.read_end', stream_id: stream, end });
  }
}

function outcomeOf(end: ReaderEnd): ReadOutcome {
  if (!end.ok) return end;
  return { ok: true, from: end.from, next_offset: end.next, ended: end.ended };
}
