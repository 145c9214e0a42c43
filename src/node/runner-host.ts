import type { RunnerProcess } from '../adapters/process/runner-client.ts';
import { startRunner } from '../adapters/process/runner-start.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Runner } from '../ports/runner.ts';
import type { Home } from './home.ts';

const RESTART_MIN_MS = 200;
const RESTART_MAX_MS = 10_000;
/** A runner that lived this long was sound: the next restart is a first one again. */
const SOUND_MS = 60_000;

export interface RunnerHostOptions {
  readonly runnerPath: string;
  readonly home: Home;
  readonly log: Logger;
  /** Bound of one attempt's output log. */
  readonly logBytesMax: number;
  /** Attempts get control groups, where those are to be had. */
  readonly contain: boolean;
  /** The runner died by itself: what ran there has an unknown outcome. */
  readonly onLost: (message: string) => void;
}

/** What a runner found of one that died below this daemon: how that ended has been told already. */
function forgetKept(runner: Runner): void {
  for (const name of runner.kept) {
    runner.adopt(name, { onStarted: () => undefined, onEnded: () => runner.acknowledge(name) });
  }
}

/** Keeps one runner running beside the daemon. */
export class RunnerHost {
  readonly #options: RunnerHostOptions;
  #runner: RunnerProcess | null = null;
  #stopped = false;
  #failures = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: RunnerHostOptions) {
    this.#options = options;
  }

  /** Null while it is being started again. */
  get runner(): Runner | null {
    return this.#runner;
  }

  /**
   * Connects to the runner that an earlier daemon left, or starts one. Adopt or cancel all of its `kept` then.
   *
   * @throws MeshError where it cannot be started
   */
  async start(): Promise<void> {
    await this.#connect();
  }

  async #connect(): Promise<Runner | null> {
    const { log, home, runnerPath, logBytesMax, contain } = this.#options;
    const startedMs = performance.now();
    const paths = { runnerPath, socketPath: home.runnerSocket, logPath: home.runnerLog };
    const runner = await startRunner({ ...paths, log, logBytesMax, contain, nodePath: process.execPath });
    if (this.#stopped) {
      await runner.close();
      return null;
    }
    this.#runner = runner;
    runner.onDied(() => {
      if (this.#stopped) return;
      this.#runner = null;
      if (performance.now() - startedMs > SOUND_MS) this.#failures = 0;
      log.error('the runner died', { pid: runner.pid });
      this.#options.onLost('the runner process died');
      this.#restartLater();
    });
    return runner;
  }

  /** Ends every process tree, then the runner. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#runner?.close();
    this.#runner = null;
  }

  /** Leaves the runner and its attempts to the next daemon. */
  release(): void {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#runner?.release();
    this.#runner = null;
  }

  async #reconnect(): Promise<void> {
    try {
      const runner = await this.#connect();
      if (runner !== null) forgetKept(runner);
    } catch (error) {
      this.#options.log.error('the runner cannot be started', { error: messageOf(error) });
      if (!this.#stopped) this.#restartLater();
    }
  }

  #restartLater(): void {
    const waitMs = Math.min(RESTART_MAX_MS, RESTART_MIN_MS * 2 ** Math.min(this.#failures, 10));
    this.#failures += 1;
    this.#timer = setTimeout(() => {
      void this.#reconnect();
    }, waitMs);
  }
}
