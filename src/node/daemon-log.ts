import { closeSync, existsSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';
import pino from 'pino';
import type { LogFields, Logger } from '../base/log.ts';
import { limitLog } from './log-limit.ts';

/** A file that never grows beyond `bytesMax`: the full one is kept once, as `<path>.1`. */
class BoundedFile {
  readonly #path: string;
  readonly #bytesMax: number;
  #fd: number;
  #bytes: number;

  constructor(path: string, bytesMax: number) {
    this.#path = path;
    this.#bytesMax = bytesMax;
    this.#fd = openSync(path, 'a', 0o600);
    this.#bytes = fstatSync(this.#fd).size;
  }

  write(line: string): void {
    const bytes = Buffer.from(line, 'utf8');
    if (this.#bytes + bytes.byteLength > this.#bytesMax && this.#bytes > 0) {
      // Where an earlier turn got no further than this, the full file has its new name already.
      if (existsSync(this.#path)) renameSync(this.#path, `${this.#path}.1`);
      const fresh = openSync(this.#path, 'a', 0o600);
      // Only now: a closed descriptor's number may come to name any other file.
      closeSync(this.#fd);
      this.#fd = fresh;
      this.#bytes = fstatSync(fresh).size;
    }
    this.#bytes += writeSync(this.#fd, bytes);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function ignoreFailure(): void {}

export interface DaemonLogOptions {
  readonly path: string;
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  /** Size of daemon.log before it is turned over; at most twice as much is on disk. */
  readonly bytesMax: number;
  /** True where people watch: the same lines go to stderr as well. */
  readonly alsoStderr: boolean;
}

/**
 * JSON lines in a bounded daemon.log, each kind of line at a bounded rate; a log that can't be written (disk full) is
 * reported on stderr, never fatal.
 */
export function openDaemonLog(options: DaemonLogOptions): { readonly log: Logger; close(): void } {
  const file = new BoundedFile(options.path, options.bytesMax);
  // A detached daemon's stderr is a file beside the log, on a disk that may be full too: an error of it that nobody
  // hears would end the daemon, and there is nowhere left to say it.
  process.stderr.on('error', ignoreFailure);
  let broken = false;
  let closed = false;
  const destination = {
    write(line: string): void {
      if (closed) return;
      try {
        file.write(line);
        broken = false;
      } catch (error) {
        if (!broken) process.stderr.write(`meshwork: ${options.path} can't be written: ${String(error)}\n`);
        broken = true;
      }
      if (options.alsoStderr) process.stderr.write(line);
    },
  };
  const logger = pino({ level: options.level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
  const at =
    (level: 'debug' | 'info' | 'warn' | 'error') =>
    (message: string, fields?: LogFields): void =>
      logger[level](fields ?? {}, message);
  const all: Logger = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
  const { log, flush } = limitLog(all, () => performance.now());
  return {
    log,
    close: () => {
      flush();
      closed = true;
      process.stderr.off('error', ignoreFailure);
      file.close();
    },
  };
}
