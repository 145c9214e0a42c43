import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { DURATION_MS_MAX } from '../base/units.ts';
import { closeQuietly, type PipePool } from '../adapters/process/pipe-pool.ts';
import type { ControlGroup } from '../adapters/process/control-group.ts';
import type { ControlGroups } from '../adapters/process/control-groups.ts';
import { type Exit, type ForkPlace, pipesNeeded, type Spawned, spawnCommand } from '../adapters/process/spawn.ts';
import {
  attemptName,
  LEFTOVER_GRACE_MS,
  LEFTOVER_SETTLE_MS,
  leftBehind,
  TERM_GRACE_MS,
  TreeHunt,
} from '../adapters/process/tree.ts';
import { spawnTerminal } from '../adapters/process/terminal.ts';
import type { LogStream } from '../wire/job-query.ts';
import type { TerminalSize } from '../wire/job-spec.ts';
import type { RunnerEnded, RunnerRead, RunnerRun } from '../wire/runner.ts';
import type { StreamMux } from '../wire/stream-mux.ts';
import { AttemptOutput } from './attempt-output.ts';
import type { ReaderEnd } from './log-reader.ts';
import { OutputPump } from './output-pump.ts';
import { StdinPump } from './stdin-pump.ts';

/** A cancelled attempt's streams end even where nobody reads them: unread bytes are given up after this. */
const CANCELLED_DRAIN_MS = 1000;
const MESSAGE_CHARS_MAX = 500;
const TEXT = new TextEncoder();

export interface AttemptHost {
  readonly pool: PipePool;
  readonly groups: ControlGroups;
  readonly log: Logger;
  /** Of this attempt's output log. */
  readonly folder: string;
  readonly onStarted: (pid: number) => void;
}

type Outcome = RunnerEnded['outcome'];
/** How an attempt ended, as it is told and as it is kept. */
export type AttemptResult = Omit<RunnerEnded, 't' | 'job' | 'attempt'>;

/**
 * One execution of a command, from the order to the last byte:
 *
 *     starting ──► running ──► exited ──► tree gone ──► output logged ──► ended
 *         │           └─ cancel, time limit: TERM, 5 s, KILL ─┘
 *         └─ cannot start (126, 127, spawn_failed), cancelled meanwhile ──► ended
 *
 * The first cause of its end is the one that is told. Who reads its output, and whether a daemon is there, is no part
 * of this.
 */
export class Attempt {
  readonly #order: RunnerRun;
  readonly #host: AttemptHost;
  readonly output: AttemptOutput;
  readonly #pumps: readonly OutputPump[];
  readonly #stdin: StdinPump | null;
  #cause: 'exited' | 'timeout' | 'cancelled' | null = null;
  #leader: { readonly pid: number; readonly hunt: TreeHunt } | null = null;
  #group: ControlGroup | null = null;
  #ending: Promise<unknown> | null = null;
  #resize: ((size: TerminalSize) => void) | null = null;
  #size: TerminalSize | null = null;

  constructor(order: RunnerRun, mux: StreamMux, host: AttemptHost) {
    this.#order = order;
    this.#host = host;
    const { log } = host;
    const { window_bytes: windowBytes, output_bytes_max: bytesMax } = order;
    const handlers = {
      onRoom: () => this.#pumps.forEach((pump) => pump.onRoom()),
      onReaderGone: (stream: LogStream) => this.#onReaderGone(stream),
    };
    this.output = new AttemptOutput(host.folder, order, handlers, log);
    const streams = order.merge || order.terminal !== null ? (['stdout'] as const) : (['stdout', 'stderr'] as const);
    this.#pumps = streams.map((stream) => new OutputPump(stream, this.output, bytesMax, log));
    const live = { offset: 0, follow: true, holds: true } as const;
    for (const stream of ['stdout', 'stderr'] as const) {
      const streamId = order[`${stream}_stream`];
      if (streamId !== null) this.output.read({ mux, streamId, windowBytes }, { ...live, stream }, () => undefined);
    }
    this.#stdin = order.stdin_stream === null ? null : new StdinPump(windowBytes, log);
    if (order.stdin_stream !== null) this.#stdin?.open(mux, order.stdin_stream);
  }

  get stdinBytes(): number {
    return this.#stdin?.bytes ?? 0;
  }

  /** Settles with the end: the tree is gone, and the log ends with the result. Never rejects. */
  async run(): Promise<AttemptResult> {
    try {
      const spawned = await this.#spawn();
      if (spawned === null) return await this.#finish({ kind: 'cancelled', code: null, signal: null }, 0, 0);
      if (spawned.kind === 'spawned') return await this.#attend(spawned);
      this.#stdin?.close();
      if (spawned.kind === 'failed') {
        const message = spawned.message.slice(0, MESSAGE_CHARS_MAX);
        return await this.#finish({ kind: 'spawn_failed', message }, 0, 0);
      }
      this.#pumps.at(-1)?.write(TEXT.encode(`meshwork: ${spawned.message}\n`));
      return await this.#finish({ kind: 'exited', code: spawned.code }, 0, 0);
    } catch (error) {
      // A bug, or a table of processes that cannot be read: what became of the command is not known.
      const message = messageOf(error).slice(0, MESSAGE_CHARS_MAX);
      this.#host.log.error('an attempt went wrong', { job: this.#order.job, error: message });
      this.#stdin?.close();
      if (this.#leader !== null) this.#leader.hunt.killGroup();
      return this.#finish({ kind: 'unknown', message }, 0, 0);
    }
  }

  /** TERM to the whole tree, 5 s, KILL. Nothing where the command has ended or is being ended. */
  cancel(): void {
    this.#end('cancelled');
  }

  read(mux: StreamMux, order: RunnerRead, onEnd: (end: ReaderEnd) => void): void {
    this.output.read({ mux, streamId: order.stream_id, windowBytes: order.window_bytes }, order, onEnd);
  }

  resize(size: TerminalSize): void {
    this.#size = size;
    this.#resize?.(size);
  }

  /** The link of its reader is lost. */
  park(): void {
    this.output.park();
    this.#stdin?.park();
  }

  /** @returns the bytes that had arrived, or null where stdin is closed */
  resumeStdin(mux: StreamMux, stream: number): number | null {
    if (this.#stdin === null) return null;
    const { bytes } = this.#stdin;
    return this.#stdin.open(mux, stream) ? bytes : null;
  }

  /** The pipe whose only reader is gone is closed. */
  #onReaderGone(stream: LogStream): void {
    for (const pump of this.#pumps) if (stream === 'merged' || pump.stream === stream) pump.end();
  }

  #end(cause: 'timeout' | 'cancelled'): void {
    if (this.#cause !== null) return;
    this.#cause = cause;
    // Without a leader yet, `#attend` does it.
    if (this.#leader !== null) this.#endTree(this.#leader.hunt);
  }

  #endTree(hunt: TreeHunt): void {
    this.#ending = hunt.end(hunt.look(), TERM_GRACE_MS);
    // Awaited after the leader's exit; until then a failure must not count as unhandled.
    this.#ending.catch((error: unknown) => this.#host.log.error('cannot end a tree', { error: messageOf(error) }));
  }

  /** @returns null where the attempt was cancelled before there was a process */
  async #spawn(): Promise<Spawned | null> {
    const { terminal, contain } = this.#order;
    const { pool, groups, log } = this.#host;
    const name = attemptName(this.#order);
    const inPlace: ForkPlace = (fork) =>
      contain ? groups.around(name, fork, (group) => (this.#group = group)) : fork();
    if (terminal !== null) return spawnTerminal(this.#order, this.#size ?? terminal, inPlace, log);
    const request = { ...this.#order, stdin: this.#stdin !== null };
    const count = pipesNeeded(request);
    const pipes = pool.takeNow(count) ?? (await pool.take(count));
    if (this.#cause !== null) {
      for (const pipe of pipes ?? []) {
        closeQuietly(pipe.readFd, log);
        closeQuietly(pipe.writeFd, log);
      }
      this.#stdin?.close();
      return null;
    }
    return spawnCommand(request, pipes, inPlace, log);
  }

  async #attend(spawned: Extract<Spawned, { kind: 'spawned' }>): Promise<AttemptResult> {
    const { job, attempt, timeout_ms: timeoutMs } = this.#order;
    const startMs = performance.now();
    const { pid, exited, resize } = spawned;
    this.#resize = resize;
    if (this.#size !== null) resize?.(this.#size);
    const hunt = new TreeHunt({ job, attempt, leaderPid: pid }, this.#group, this.#host.log);
    this.#leader = { pid, hunt };
    const timer =
      timeoutMs === null ? null : setTimeout(() => this.#end('timeout'), Math.min(timeoutMs, DURATION_MS_MAX));
    this.#host.onStarted(pid);
    const sources = [spawned.stdout, spawned.stderr];
    for (const [index, pump] of this.#pumps.entries()) {
      const source = sources[index] ?? null;
      if (source === null) pump.end();
      else pump.attach(source);
    }
    if (spawned.stdin !== null) this.#stdin?.attach(spawned.stdin);
    if (this.#cause !== null) this.#endTree(hunt);

    const exit = await exited;
    const durationMs = performance.now() - startMs;
    if (timer !== null) clearTimeout(timer);
    const cause = (this.#cause ??= 'exited');
    this.#stdin?.close();
    const leftRunning = cause === 'exited' ? await endLeftovers(hunt, pid, durationMs) : 0;
    await this.#ending;
    return this.#finish(outcomeOf(cause, exit), leftRunning, durationMs);
  }

  async #finish(outcome: Outcome, leftRunning: number, durationMs: number): Promise<AttemptResult> {
    for (const pump of this.#pumps) {
      if (this.#leader === null) pump.end();
      else pump.treeGone();
    }
    await Promise.all(this.#pumps.map((pump) => pump.done));
    const bytesOf = (stream: LogStream): number => this.#pumps.find((pump) => pump.stream === stream)?.bytes ?? 0;
    const result: AttemptResult = {
      outcome,
      stdout_bytes: bytesOf('stdout'),
      stderr_bytes: bytesOf('stderr'),
      truncated: this.output.isCut || this.#pumps.some((pump) => pump.truncated),
      left_running: leftRunning,
      duration_ms: durationMs,
    };
    this.output.end(JSON.stringify(result));
    // After the result is told: nobody need wait for it.
    setImmediate(() => void this.#group?.remove());
    if (outcome.kind === 'cancelled') setTimeout(() => this.output.abandon(), CANCELLED_DRAIN_MS).unref();
    return result;
  }
}

/** @returns how many processes the command had left running */
async function endLeftovers(hunt: TreeHunt, leaderPid: number, ageMs: number): Promise<number> {
  const found = leftBehind(hunt, leaderPid, ageMs);
  if (found.length === 0) return 0;
  const left = await hunt.waitUntilGone(found, LEFTOVER_SETTLE_MS, []);
  if (left.length > 0) await hunt.end(left, LEFTOVER_GRACE_MS);
  return left.length;
}

function outcomeOf(cause: 'exited' | 'timeout' | 'cancelled', exit: Exit): Outcome {
  if (cause !== 'exited') return { kind: cause, code: exit.code, signal: exit.signal };
  if (exit.signal !== null) return { kind: 'signaled', signal: exit.signal };
  return { kind: 'exited', code: exit.code ?? 0 };
}
