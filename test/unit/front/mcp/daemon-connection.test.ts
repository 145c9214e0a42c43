import { describe, expect, it } from 'vitest';
import { MeshError } from '../../../../src/base/errors.ts';
import { DaemonConnection } from '../../../../src/front/mcp/daemon-connection.ts';
import { FakeDaemon } from './fake-daemon.ts';

/** A client whose connection is lost and made again, as ApiClient's is while calls wait. */
class ReconnectingDaemon extends FakeDaemon {
  /** How often somebody looked at the connection. */
  looks = 0;
  #lose: () => void = () => undefined;
  #lost: Promise<string>;

  constructor() {
    super();
    this.#lost = this.#connection();
    Object.defineProperty(this, 'whenClosed', {
      get: () => {
        this.looks += 1;
        return this.#lost;
      },
    });
  }

  lose(): void {
    this.#lose();
  }

  reconnect(): void {
    this.#lost = this.#connection();
  }

  #connection(): Promise<string> {
    return new Promise((resolve) => {
      this.#lose = () => resolve('lost');
    });
  }
}

function rig(startAgain: (api: ReconnectingDaemon) => FakeDaemon) {
  const api = new ReconnectingDaemon();
  const opened: FakeDaemon[] = [];
  const warnings: string[] = [];
  const open = async (): Promise<FakeDaemon> => {
    const next = opened.length === 0 ? api : startAgain(api);
    opened.push(next);
    return next;
  };
  const connection = new DaemonConnection(open, { startAfterMs: 5, warn: (text) => warnings.push(text) });
  return { api, opened, warnings, connection };
}

const started = (api: ReconnectingDaemon): FakeDaemon => {
  api.reconnect();
  return new FakeDaemon();
};

describe('the connection to the daemon', () => {
  it('starts a daemon that crashed below calls, and looks after the next', async () => {
    const { api, opened, connection } = rig(started);
    await connection.daemon();
    for (const times of [2, 3]) {
      api.lose();
      await expect.poll(() => opened.length).toBe(times);
      await expect.poll(() => opened.at(-1)?.closed).toBe(true);
      expect(api.closed).toBe(false);
    }
  });

  it('leaves it where another one has started it', async () => {
    const { api, opened, connection } = rig(started);
    await connection.daemon();
    const { looks } = api;
    api.lose();
    api.reconnect();
    // Looked at to see whether it is another one, and again to watch that.
    await expect.poll(() => api.looks).toBeGreaterThanOrEqual(looks + 2);
    expect(opened).toHaveLength(1);
  });

  it('starts one that went down in order only for the next call', async () => {
    const { api, opened, connection } = rig(started);
    await connection.daemon();
    api.closed = true;
    api.lose();
    await connection.daemon();
    expect(opened).toHaveLength(2);
  });

  it('says where none can be started', async () => {
    const { api, warnings, connection } = rig(() => {
      throw new MeshError('bad_config', 'slotz');
    });
    await connection.daemon();
    api.lose();
    await expect.poll(() => warnings.join()).toContain('slotz');
  });
});
