import { Worker } from 'node:worker_threads';
import type { Readable } from 'node:stream';
import { assert, unreachable } from '../../base/assert.ts';
import { messageOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { MS_PER_SECOND } from '../../base/units.ts';
import type { Announcement, Discovery, DiscoveryHandlers, DiscoveryState } from '../../ports/discovery.ts';
import { fromThreadSchema, MESSAGE_CHARS_MAX, type ThreadSettings, type ToThread } from './protocol.ts';
import { RestartBudget } from './restart-budget.ts';

export interface DiscoveryTiming {
  /** Between two pings; a thread with two of them unanswered is ended. */
  readonly pingMs: number;
  /** Within this time a new thread must run. */
  readonly startMsMax: number;
  readonly firstRestartMs: number;
  /** How long `stop` waits for the goodbye packets. */
  readonly stopMsMax: number;
}

const TIMING: DiscoveryTiming = {
  pingMs: 5 * MS_PER_SECOND,
  startMsMax: 30 * MS_PER_SECOND,
  firstRestartMs: 1 * MS_PER_SECOND,
  stopMsMax: 1500,
};
const UNANSWERED_PINGS_MAX = 2;
/** Enough for the library and what it remembers of a busy network; beyond, the thread ends, not the daemon. */
const RESOURCE_LIMITS = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 8 };
const ALL_ADDRESSES = new Set(['0.0.0.0', '::', '*']);

export interface DiscoveryOptions {
  /** The bundled `worker.ts`. */
  readonly workerUrl: URL;
  readonly log: Logger;
  readonly timing?: Partial<DiscoveryTiming>;
}

/**
 * Finds nodes by multicast DNS (RFC 6762, 6763), service type `_meshwork._tcp`, in a thread of its own. The thread may
 * die, hang or be flooded: it is watched, ended and started again, and `onState` says so. Nothing here throws or
 * rejects after construction. Hints come at most 20 announcements a second, well-formed, `claimedName` always null (mDNS
 * tells no names); those of one announcement come in the order to dial, and an unchanged one again every 30 s.
 */
export function createDiscovery(options: DiscoveryOptions): Discovery {
  return new MdnsDiscovery(options);
}

class MdnsDiscovery implements Discovery {
  readonly #workerUrl: URL;
  readonly #log: Logger;
  readonly #timing: DiscoveryTiming;
  readonly #restarts: RestartBudget;
  #started: { readonly settings: ThreadSettings; readonly handlers: DiscoveryHandlers } | null = null;
  #thread: Worker | null = null;
  #isStopped = false;
  #stateText = '';
  #unanswered = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: DiscoveryOptions) {
    this.#workerUrl = options.workerUrl;
    this.#log = options.log;
    this.#timing = { ...TIMING, ...options.timing };
    this.#restarts = new RestartBudget(this.#timing.firstRestartMs);
  }

  start(announcement: Announcement, handlers: DiscoveryHandlers): void {
    assert(this.#started === null, 'discovery is started once');
    const { nodeId, port, productVersion, onlyHost } = announcement;
    const literal = onlyHost === null || ALL_ADDRESSES.has(onlyHost) ? null : onlyHost;
    this.#started = { settings: { nodeId, port, productVersion, onlyHost: literal }, handlers };
    this.#setState({ kind: 'starting' });
    this.#launch();
  }

  refresh(): void {
    this.#post({ t: 'refresh' });
  }

  async stop(): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#clearTimer();
    const thread = this.#thread;
    if (thread !== null) {
      await new Promise<void>((resolve) => {
        const deadline = setTimeout(resolve, this.#timing.stopMsMax);
        thread.once('exit', () => {
          clearTimeout(deadline);
          resolve();
        });
        this.#post({ t: 'stop' });
      });
      this.#thread = null;
      await thread.terminate();
    }
    this.#setState({ kind: 'off' });
  }

  #post(message: ToThread): void {
    this.#thread?.postMessage(message);
  }

  #launch(): void {
    if (this.#isStopped || this.#started === null) return;
    let thread: Worker;
    try {
      thread = new Worker(this.#workerUrl, {
        name: 'mdns',
        workerData: this.#started.settings,
        resourceLimits: RESOURCE_LIMITS,
        // The library prints: neither the daemon's stdout nor its stderr is the place for that.
        stdout: true,
        stderr: true,
        // It reads the network: it gets no environment, and none of the daemon's flags.
        env: {},
        execArgv: [],
      });
    } catch (error) {
      this.#restartAfter(messageOf(error));
      return;
    }
    this.#thread = thread;
    this.#unanswered = 0;
    thread.once('online', () => {
      if (thread === this.#thread) this.#watch(thread);
    });
    thread.on('message', (message: unknown) => this.#received(thread, message));
    thread.on('messageerror', (error) => this.#lost(thread, messageOf(error)));
    thread.on('error', (error) => this.#lost(thread, messageOf(error)));
    thread.on('exit', (code) => this.#lost(thread, `its thread ended with code ${code}`));
    this.#logOutput(thread.stdout);
    this.#logOutput(thread.stderr);
    thread.unref();
    this.#arm(this.#timing.startMsMax, () => this.#lost(thread, 'its thread did not start in time'));
  }

  /** Pings are counted, not timed: after a sleep, or when the daemon itself was busy, the thread is not to blame. */
  #watch(thread: Worker): void {
    this.#arm(this.#timing.pingMs, () => {
      if (this.#unanswered >= UNANSWERED_PINGS_MAX) return this.#lost(thread, 'its thread did not answer');
      this.#unanswered += 1;
      this.#post({ t: 'ping' });
      this.#watch(thread);
    });
  }

  #received(thread: Worker, raw: unknown): void {
    if (thread !== this.#thread || this.#started === null || this.#isStopped) return;
    const parsed = fromThreadSchema.safeParse(raw);
    if (!parsed.success) return this.#lost(thread, 'its thread sent something malformed');
    this.#unanswered = 0;
    const message = parsed.data;
    switch (message.t) {
      case 'pong':
        break;
      case 'running':
        this.#setState({ kind: 'running' });
        break;
      case 'failed':
        this.#setState({ kind: 'failed', message: message.message });
        break;
      case 'notice':
        this.#log.warn(`mdns: ${message.text}`);
        break;
      case 'hint':
        this.#started.handlers.onHint({
          host: message.host,
          port: message.port,
          claimedId: message.claimed_id,
          claimedName: null,
        });
        break;
      default:
        unreachable(message);
    }
  }

  /** The first cause of an end wins; the thread's own `exit` follows its `error`. */
  #lost(thread: Worker, reason: string): void {
    if (thread !== this.#thread || this.#isStopped) return;
    this.#thread = null;
    thread.terminate().catch((error: unknown) => this.#log.debug('mdns: terminate', { error: messageOf(error) }));
    this.#restartAfter(reason);
  }

  #restartAfter(reason: string): void {
    const delayMs = this.#restarts.next(performance.now(), Math.random());
    this.#log.debug('mdns: will be started again', { restart_ms: Math.round(delayMs) });
    this.#setState({ kind: 'failed', message: reason.slice(0, MESSAGE_CHARS_MAX) });
    this.#arm(delayMs, () => this.#launch());
  }

  /** One timer at a time: waiting for a start, for the next ping, or for the next restart. */
  #arm(delayMs: number, then: () => void): void {
    this.#clearTimer();
    this.#timer = setTimeout(then, delayMs);
    this.#timer.unref();
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #setState(state: DiscoveryState): void {
    const text = JSON.stringify(state);
    if (text === this.#stateText) return;
    this.#stateText = text;
    if (state.kind === 'failed') this.#log.warn('mdns: discovery is failing', { reason: state.message });
    else this.#log.info(`mdns: ${state.kind}`);
    this.#started?.handlers.onState(state);
  }

  #logOutput(output: Readable): void {
    output.setEncoding('utf8');
    output.on('data', (text: string) => this.#log.debug('mdns: output', { text: text.slice(0, MESSAGE_CHARS_MAX) }));
    output.on('error', (error: Error) => this.#log.debug('mdns: output', { error: error.message }));
  }
}
