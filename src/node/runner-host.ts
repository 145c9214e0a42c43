import { startRunner, type RunnerProcess } from '../adapters/process/runner-client.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Runner } from '../ports/runner.ts';

const RESTART_MIN_MS = 200;
const RESTART_MAX_MS = 10_000;
/** A runner that lived this long was sound: the next restart is a first one again. */
const SOUND_MS = 60_000;

export interface RunnerHostOptions {
  readonly runnerPath: string;
  readonly socketPath: string;
  readonly logPath: string;
  readonly log: Logger;
  /** The runner died by itself: what ran there has an unknown outcome. */
  readonly onLost: (message: string) => void;
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

  /** @throws MeshError where the first runner cannot be started */
  async start(): Promise<void> {
    const { runnerPath, socketPath, logPath, log } = this.#options;
    const startedMs = performance.now();
    const runner = await startRunner({ runnerPath, socketPath, logPath, log, nodePath: process.execPath });
    if (this.#stopped) return runner.close();
    this.#runner = runner;
    runner.onDied(() => {
      if (this.#stopped) return;
      this.#runner = null;
      if (performance.now() - startedMs > SOUND_MS) this.#failures = 0;
      log.error('the runner died', { pid: runner.pid });
      this.#options.onLost('the runner process died');
      this.#restartLater();
    });
  }

  /** Ends every process tree, then the runner. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#runner?.close();
    this.#runner = null;
  }

  #restartLater(): void {
    const waitMs = Math.min(RESTART_MAX_MS, RESTART_MIN_MS * 2 ** Math.min(this.#failures, 10));
    this.#failures += 1;
    this.#timer = setTimeout(() => {
      this.start().catch((error: unknown) => {
        this.#options.log.error('the runner cannot be started', { error: messageOf(error) });
        if (!this.#stopped) this.#restartLater();
      });
    }, waitMs);
  }
}
