import type { ChildProcess } from 'node:child_process';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { DURATION_MS_MAX } from '../base/units.ts';
import { closeQuietly, type PipePool } from '../adapters/process/pipe-pool.ts';
import { type Spawned, spawnCommand } from '../adapters/process/spawn.ts';
import {
  LEFTOVER_GRACE_MS,
  LEFTOVER_SETTLE_MS,
  leftBehind,
  TERM_GRACE_MS,
  TreeHunt,
} from '../adapters/process/tree.ts';
import type { FromRunner, RunnerEnded, RunnerRun } from '../wire/runner.ts';
import type { StreamMux } from '../wire/stream-mux.ts';
import { OutputPump } from './output-pump.ts';
import { StdinPump } from './stdin-pump.ts';

/** A cancelled attempt ends even where nobody reads its last output; unread bytes are given up after this. */
const CANCELLED_DRAIN_MS = 1000;
const MESSAGE_CHARS_MAX = 500;
const TEXT = new TextEncoder();

export interface AttemptHost {
  readonly mux: StreamMux;
  readonly pool: PipePool;
  readonly log: Logger;
  readonly send: (message: FromRunner) => void;
  /** No other attempt of this job is open. */
  readonly isOnlyOne: () => boolean;
}

interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

type Outcome = RunnerEnded['outcome'];

/**
 * One execution of a command, from the order to the last byte:
 *
 *     starting ──► running ──► exited ──► tree gone ──► output sent ──► ended
 *         │           └─ cancel, time limit: TERM, 5 s, KILL ─┘
 *         └─ cannot start (126, 127, spawn_failed), cancelled meanwhile ──► ended
 *
 * The first cause of its end is the one that is told.
 */
export class Attempt {
  readonly #order: RunnerRun;
  readonly #host: AttemptHost;
  readonly #stdout: OutputPump;
  readonly #stderr: OutputPump;
  readonly #stdin: StdinPump | null;
  #cause: 'exited' | 'timeout' | 'cancelled' | null = null;
  #leader: { readonly pid: number; readonly hunt: TreeHunt } | null = null;
  #ending: Promise<unknown> | null = null;

  constructor(order: RunnerRun, host: AttemptHost) {
    this.#order = order;
    this.#host = host;
    const { window_bytes: windowBytes, output_bytes_max: bytesMax, stdin_stream: stdin } = order;
    const output = { mux: host.mux, windowBytes, bytesMax };
    this.#stdout = new OutputPump({ ...output, stream: order.stdout_stream }, host.log);
    this.#stderr = new OutputPump({ ...output, stream: order.stderr_stream }, host.log);
    this.#stdin = stdin === null ? null : new StdinPump(host.mux, stdin, windowBytes, host.log);
  }

  /** Settles when the end has been told; never rejects. */
  async run(): Promise<void> {
    try {
      const spawned = await this.#spawn();
      if (spawned === null) return await this.#finish({ kind: 'cancelled', code: null, signal: null }, 0, 0);
      if (spawned.kind === 'spawned') return await this.#attend(spawned);
      this.#stdin?.close();
      if (spawned.kind === 'failed') {
        const message = spawned.message.slice(0, MESSAGE_CHARS_MAX);
        return await this.#finish({ kind: 'spawn_failed', message }, 0, 0);
      }
      this.#stderr.write(TEXT.encode(`meshwork: ${spawned.message}\n`));
      await this.#finish({ kind: 'exited', code: spawned.code }, 0, 0);
    } catch (error) {
      // A bug, or a table of processes that cannot be read: what became of the command is not known.
      const message = messageOf(error).slice(0, MESSAGE_CHARS_MAX);
      this.#host.log.error('an attempt went wrong', { job: this.#order.job, error: message });
      this.#stdin?.close();
      if (this.#leader !== null) this.#leader.hunt.killGroup();
      await this.#finish({ kind: 'unknown', message }, 0, 0);
    }
  }

  /** TERM to the whole tree, 5 s, KILL. Nothing where the command has ended or is being ended. */
  cancel(): void {
    this.#end('cancelled');
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
    const { pool, log } = this.#host;
    const count = this.#stdin === null ? 2 : 3;
    const pipes = pool.takeNow(count) ?? (await pool.take(count));
    if (this.#cause !== null) {
      for (const pipe of pipes ?? []) {
        closeQuietly(pipe.readFd, log);
        closeQuietly(pipe.writeFd, log);
      }
      this.#stdin?.close();
      return null;
    }
    return spawnCommand({ ...this.#order, stdin: this.#stdin !== null }, pipes, log);
  }

  async #attend(spawned: Extract<Spawned, { kind: 'spawned' }>): Promise<void> {
    const { job, attempt, timeout_ms: timeoutMs } = this.#order;
    const startMs = performance.now();
    const { child } = spawned;
    const exited = exitOf(child, this.#host.log);
    const pid = child.pid ?? 0;
    const hunt = new TreeHunt({ job, leaderPid: pid, ownsCookie: this.#host.isOnlyOne }, this.#host.log);
    this.#leader = { pid, hunt };
    const timer =
      timeoutMs === null ? null : setTimeout(() => this.#end('timeout'), Math.min(timeoutMs, DURATION_MS_MAX));
    this.#host.send({ t: 'runner.started', job, attempt, pid });
    this.#stdout.attach(spawned.stdout);
    this.#stderr.attach(spawned.stderr);
    if (spawned.stdin !== null) this.#stdin?.attach(spawned.stdin);
    if (this.#cause !== null) this.#endTree(hunt);

    const exit = await exited;
    const durationMs = performance.now() - startMs;
    if (timer !== null) clearTimeout(timer);
    const cause = (this.#cause ??= 'exited');
    this.#stdin?.close();
    const leftRunning = cause === 'exited' ? await endLeftovers(hunt, pid, durationMs) : 0;
    await this.#ending;
    await this.#finish(outcomeOf(cause, exit), leftRunning, durationMs);
  }

  async #finish(outcome: Outcome, leftRunning: number, durationMs: number): Promise<void> {
    const { job, attempt } = this.#order;
    const pumps = [this.#stdout, this.#stderr];
    for (const pump of pumps) {
      if (this.#leader === null) pump.end();
      else pump.treeGone();
    }
    const giveUp =
      outcome.kind === 'cancelled' ? setTimeout(() => pumps.forEach((pump) => pump.abort()), CANCELLED_DRAIN_MS) : null;
    await Promise.all(pumps.map((pump) => pump.done));
    if (giveUp !== null) clearTimeout(giveUp);
    this.#host.send({
      t: 'runner.ended',
      job,
      attempt,
      outcome,
      stdout_bytes: this.#stdout.bytes,
      stderr_bytes: this.#stderr.bytes,
      truncated: this.#stdout.truncated || this.#stderr.truncated,
      left_running: leftRunning,
      duration_ms: durationMs,
    });
  }
}

function exitOf(child: ChildProcess, log: Logger): Promise<Exit> {
  child.on('error', (error) => log.warn('a child reports an error', { pid: child.pid, error: messageOf(error) }));
  return new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
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
