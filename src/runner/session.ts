import type { Socket } from 'node:net';
import { messageOf } from '../base/errors.ts';
import type { JobId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { unreachable } from '../base/assert.ts';
import { FrameSocket } from '../adapters/process/frame-socket.ts';
import type { PipePool } from '../adapters/process/pipe-pool.ts';
import { killJobTrees } from '../adapters/process/tree.ts';
import type { FromRunner, RunnerRun } from '../wire/runner.ts';
import { STREAMS_MAX } from '../wire/stream-mux.ts';
import { PROTOCOL_VERSION } from '../wire/version.ts';
import { Attempt } from './attempt.ts';
import type { JobJournal } from './job-journal.ts';
import { parseOrder } from './orders.ts';

/** Three streams each, with room to spare. */
const ATTEMPTS_OPEN_MAX = STREAMS_MAX / 4;
const FLUSH_DEADLINE_MS = 2000;

export interface SessionHost {
  readonly instance: string;
  readonly pool: PipePool;
  readonly journal: JobJournal;
  readonly log: Logger;
}

/** The daemon's connection and the attempts that were ordered on it. */
export class Session {
  /** Settles once the connection has ended and every tree with it. */
  readonly finished: Promise<void>;
  readonly #host: SessionHost;
  readonly #frames: FrameSocket;
  readonly #attempts = new Map<string, Attempt>();
  /** Jobs of which several attempts were open at once, until the last has ended. */
  readonly #shared = new Set<JobId>();
  #ending = false;
  #connected = true;
  #resolveFinished: () => void = () => undefined;

  constructor(socket: Socket, host: SessionHost) {
    this.#host = host;
    this.finished = new Promise((resolve) => {
      this.#resolveFinished = resolve;
    });
    this.#frames = new FrameSocket(socket, 'second', {
      onControl: (json) => this.#onControl(json),
      onClose: (reason) => this.#onClose(reason),
    });
    const { instance } = host;
    this.#frames.sendControl({ t: 'runner.hello', protocol: PROTOCOL_VERSION, instance, pid: process.pid });
  }

  /** Ends every tree, tells the daemon about each, then closes. */
  end(): void {
    this.#ending = true;
    for (const attempt of this.#attempts.values()) attempt.cancel();
    this.#settle();
  }

  #onControl(json: string): string | null {
    const order = parseOrder(json);
    if (typeof order === 'string') return order;
    switch (order.t) {
      case 'runner.run':
        return this.#run(order);
      case 'runner.cancel':
        this.#attempts.get(`${order.job}/${order.attempt}`)?.cancel();
        return null;
      default:
        return unreachable(order);
    }
  }

  #run(order: RunnerRun): string | null {
    const { mux } = this.#frames;
    const key = `${order.job}/${order.attempt}`;
    const streams = [order.stdout_stream, order.stderr_stream, order.stdin_stream].filter((id) => id !== null);
    if (this.#attempts.has(key)) return `it ordered ${key} twice`;
    if (this.#attempts.size >= ATTEMPTS_OPEN_MAX) return `it ordered more than ${ATTEMPTS_OPEN_MAX} attempts at once`;
    if (!mux.canOpen(streams)) return `it named streams that cannot be opened, for ${key}`;
    const { pool, log, journal } = this.#host;
    const send = (message: FromRunner): boolean => this.#frames.sendControl(message);
    const isOnlyOne = (): boolean => this.#attemptsOf(order.job) === 1;
    const attempt = new Attempt(order, { mux, pool, log, send, isOnlyOne });
    this.#attempts.set(key, attempt);
    if (!isOnlyOne()) this.#shared.add(order.job);
    journal.add(order.job);
    void this.#attend(key, attempt, order);
    if (this.#ending) attempt.cancel();
    return null;
  }

  async #attend(key: string, attempt: Attempt, order: RunnerRun): Promise<void> {
    await attempt.run();
    if (this.#attemptsOf(order.job) === 1) {
      // Two that end at one moment each leave what carries their cookie to the other.
      if (this.#shared.delete(order.job)) await this.#endStrays(order.job);
      this.#host.journal.remove(order.job);
    }
    this.#attempts.delete(key);
    this.#settle();
  }

  async #endStrays(job: JobId): Promise<void> {
    try {
      await killJobTrees([job], this.#host.log);
    } catch (error) {
      this.#host.log.error('cannot look for what attempts of one job left', { job, error: messageOf(error) });
    }
  }

  #attemptsOf(job: JobId): number {
    return [...this.#attempts.keys()].filter((key) => key.startsWith(`${job}/`)).length;
  }

  /** Stage 1: what a daemon ordered ends with its connection. Jobs that outlive it would be kept here. */
  #onClose(reason: string | null): void {
    if (reason !== null) this.#host.log.warn('the connection to the daemon was lost', { reason });
    this.#connected = false;
    this.end();
  }

  #settle(): void {
    if (!this.#ending || this.#attempts.size > 0) return;
    if (!this.#connected) return this.#resolveFinished();
    // What was said last must leave before this process does.
    this.#frames.end();
    setTimeout(() => this.#frames.close('the daemon does not close'), FLUSH_DEADLINE_MS).unref();
  }
}
