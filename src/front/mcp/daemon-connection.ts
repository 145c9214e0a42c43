import { setTimeout as delay } from 'node:timers/promises';
import { MeshError, messageOf } from '../../base/errors.ts';
import type { ApiClient } from '../../node/api-client.ts';

/** What the tools use of the daemon: a part of ApiClient, so that tests can stand in for it. */
export type DaemonApi = Pick<ApiClient, 'call' | 'submit' | 'logs' | 'closed' | 'whenClosed' | 'close'>;

/** `[mcp]` of the daemon's settings. */
export interface DaemonSettings {
  readonly timeoutS: number;
  /** How long a call waits for its command; null: as is usual for the client. */
  readonly waitS: number | null;
  readonly roots: readonly string[];
}

export interface Daemon {
  readonly api: DaemonApi;
  readonly settings: DaemonSettings;
}

/** A daemon that is just going down may still answer the door: so often, and this far apart, it is tried anew. */
const TRIES_MAX = 5;
const TRY_AGAIN_MS = 200;

/**
 * A daemon that crashed below calls that wait for it is started again after so long: not at once, since whoever else starts
 * it (a person, a service manager, `meshwork restart`) gives it the flags that it had. Short of ApiClient's COME_BACK_MS.
 */
const START_AFTER_MS = 9000;

/** The one connection of this server, made when it is first needed and again after it was lost. */
export class DaemonConnection {
  readonly #open: () => Promise<DaemonApi>;
  readonly #warn: (text: string) => void;
  readonly #startAfterMs: number;
  #current: Promise<Daemon> | null = null;
  #api: DaemonApi | null = null;
  #ended = false;

  /** @param open connects, and starts the daemon where none runs */
  constructor(
    open: () => Promise<DaemonApi>,
    options: { readonly warn?: (text: string) => void; readonly startAfterMs?: number } = {},
  ) {
    this.#open = open;
    this.#warn = options.warn ?? (() => undefined);
    this.#startAfterMs = options.startAfterMs ?? START_AFTER_MS;
  }

  /** @throws MeshError where the daemon cannot be reached or started; the next call tries again */
  async daemon(): Promise<Daemon> {
    if (this.#api?.closed === true) this.#forget();
    const connecting = this.#current ?? this.#connect();
    this.#current = connecting;
    try {
      return await connecting;
    } catch (error) {
      if (this.#current === connecting) this.#forget();
      throw error;
    }
  }

  end(): void {
    this.#ended = true;
    this.#api?.close();
  }

  #forget(): void {
    this.#current = null;
    this.#api = null;
  }

  async #connect(): Promise<Daemon> {
    for (let tries = 1; ; tries++) {
      try {
        const api = await this.#open();
        if (this.#ended) {
          api.close();
          throw new MeshError('cancelled', 'the MCP server is ending; nothing was run');
        }
        const { mcp } = await api.call('settings', {});
        this.#api = api;
        void this.#watch(api);
        return {
          api,
          settings: { timeoutS: mcp.timeout_s, waitS: mcp.wait_s > 0 ? mcp.wait_s : null, roots: mcp.roots },
        };
      } catch (error) {
        const goingDown = error instanceof MeshError && error.code === 'lost';
        if (!goingDown || tries >= TRIES_MAX) throw error;
        await delay(TRY_AGAIN_MS);
      }
    }
  }

  /** Jobs and logs on a connection wait for their daemon to come back (ApiClient): somebody has to start it. */
  async #watch(api: DaemonApi): Promise<void> {
    for (;;) {
      const lost = api.whenClosed;
      await lost;
      await delay(this.#startAfterMs, undefined, { ref: false });
      if (this.#ended || api.closed) return;
      // Another one is there by now: that one is watched.
      if (api.whenClosed !== lost) continue;
      try {
        (await this.#open()).close();
      } catch (error) {
        this.#warn(`the daemon went away and could not be started again: ${messageOf(error)}`);
        return;
      }
      await delay(this.#startAfterMs, undefined, { ref: false });
    }
  }
}
