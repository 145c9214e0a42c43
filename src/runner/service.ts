import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { FromRunner } from '../wire/runner.ts';
import { PROTOCOL_VERSION } from '../wire/version.ts';
import type { Attempts } from './attempts.ts';
import { Session } from './session.ts';

/** A runner whose daemon died before it came to connect has nothing to live for. */
const CONNECT_DEADLINE_MS = 10_000;
/** Without a daemon for so long, foreground attempts are ended, and a runner with nothing to run ends. */
export const DAEMON_GRACE_MS = 60_000;
/** Connections that have not shown the key. */
const STRANGERS_MAX = 8;

export interface ServiceOptions {
  readonly socketPath: string;
  readonly key: string;
  readonly instance: string;
  readonly daemonGraceMs: number;
  readonly log: Logger;
}

/**
 * Whom the runner serves, and for how long it lives. While a daemon is there, the socket has no name by which a command
 * could find it; without one it listens, for whoever has the key.
 */
export class Service {
  /** Settles when the runner has nothing left to do. */
  readonly finished: Promise<void>;
  readonly #options: ServiceOptions;
  #attempts: Attempts | null = null;
  #server: Server | null = null;
  #session: Session | null = null;
  readonly #strangers = new Set<Session>();
  #lonely: NodeJS.Timeout | null = null;
  #isStopping = false;
  #finish: () => void = () => undefined;
  #fail: (error: Error) => void = () => undefined;

  constructor(options: ServiceOptions) {
    this.#options = options;
    this.finished = new Promise((resolve, reject) => {
      this.#finish = resolve;
      this.#fail = reject;
    });
  }

  start(attempts: Attempts): void {
    this.#attempts = attempts;
    this.#listen();
    this.#lonely = setTimeout(() => this.#onLonely(), CONNECT_DEADLINE_MS);
  }

  tell(message: FromRunner): void {
    this.#session?.send(message);
  }

  /** Ends every tree, tells the daemon about each, then finishes. */
  stop(): void {
    this.#isStopping = true;
    this.#attempts?.cancelAll('all');
    this.onIdle();
  }

  onIdle(): void {
    if (this.#attempts?.isIdle !== true) return;
    if (!this.#isStopping) {
      if (this.#session === null) this.#armLonely();
      return;
    }
    this.#close();
    if (this.#session === null) this.#finish();
    // What was said last must leave before this process does.
    else this.#session.end();
  }

  #listen(): void {
    const { socketPath } = this.#options;
    const server = createServer((socket) => this.#onConnection(socket));
    this.#server = server;
    server.on('error', (error) => this.#fail(error));
    rmSync(socketPath, { force: true });
    const own = process.umask(0o177);
    server.listen(socketPath);
    process.umask(own);
  }

  #close(): void {
    this.#server?.close();
    this.#server = null;
    for (const stranger of this.#strangers) stranger.close('another is served');
  }

  #onConnection(socket: Socket): void {
    const { attempts } = { attempts: this.#attempts };
    if (attempts === null || this.#strangers.size >= STRANGERS_MAX) {
      socket.destroy();
      return;
    }
    const session = new Session(socket, {
      attempts,
      onKey: (from, key) => this.#onKey(from, key),
      onStop: () => this.stop(),
      onRefused: (order) => this.#options.log.warn('an order of another version is not understood', { order }),
      onClose: (from, reason) => this.#onClose(from, reason),
    });
    this.#strangers.add(session);
  }

  #onKey(session: Session, key: string): boolean {
    if (key !== this.#options.key || this.#session !== null || this.#isStopping) return false;
    const { instance } = this.#options;
    this.#strangers.delete(session);
    this.#session = session;
    this.#close();
    if (this.#lonely !== null) clearTimeout(this.#lonely);
    this.#lonely = null;
    session.send({ t: 'runner.hello', protocol: PROTOCOL_VERSION, instance, pid: process.pid });
    for (const kept of this.#attempts?.kept() ?? []) session.send(kept);
    session.send({ t: 'runner.ready' });
    return true;
  }

  #onClose(session: Session, reason: string | null): void {
    this.#strangers.delete(session);
    if (reason !== null) this.#options.log.warn('a connection was lost', { reason });
    if (session !== this.#session) return;
    this.#session = null;
    if (this.#isStopping) return this.onIdle();
    try {
      this.#listen();
    } catch (error) {
      // MESHWORK_HOME is gone: no daemon can come back to this runner.
      this.#options.log.error('cannot listen again', { error: messageOf(error) });
      return this.stop();
    }
    this.#armLonely();
  }

  #armLonely(): void {
    if (this.#lonely !== null) clearTimeout(this.#lonely);
    this.#lonely = setTimeout(() => this.#onLonely(), this.#options.daemonGraceMs);
  }

  #onLonely(): void {
    this.#lonely = null;
    if (this.#attempts?.isIdle !== false) return this.stop();
    this.#attempts.cancelAll('foreground');
  }
}
