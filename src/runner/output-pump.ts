import type { Readable } from 'node:stream';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { AttemptOutput } from './attempt-output.ts';
import type { OutputStream } from './output-log.ts';

/** Once the tree is gone, a pipe that stays silent this long is held by somebody outside the tree. */
const DRAIN_IDLE_MS = 250;
/** The most that a pipe can hold for an unprivileged user (`/proc/sys/fs/pipe-max-size`); later bytes are another's. */
const DRAIN_BYTES_MAX = 1024 * 1024;

/** Carries one output pipe of a command to its log, no faster than the readers allow. */
export class OutputPump {
  /** Settles once the pipe has given its last byte, or is closed. */
  readonly done: Promise<void>;
  readonly stream: OutputStream;
  readonly #output: AttemptOutput;
  readonly #log: Logger;
  readonly #bytesMax: number;
  #bytes = 0;
  #truncated = false;
  #source: Readable | null = null;
  #sourceEnded = false;
  #drainedBytes: number | null = null;
  #idle: NodeJS.Timeout | null = null;
  #resolveDone: () => void = () => undefined;

  /** @param bytesMax bytes beyond this are read and dropped; null = no bound */
  constructor(stream: OutputStream, output: AttemptOutput, bytesMax: number | null, log: Logger) {
    this.stream = stream;
    this.#output = output;
    this.#log = log;
    this.#bytesMax = bytesMax ?? Number.POSITIVE_INFINITY;
    this.done = new Promise((resolve) => {
      this.#resolveDone = resolve;
    });
  }

  /** Bytes that the command wrote, those dropped included. */
  get bytes(): number {
    return this.#bytes;
  }

  get truncated(): boolean {
    return this.#truncated;
  }

  attach(source: Readable): void {
    this.#source = source;
    source.on('data', (chunk: Uint8Array) => this.#onData(chunk));
    source.on('end', () => this.end());
    source.on('close', () => this.end());
    source.on('error', (error) => this.#log.warn('cannot read an output pipe', { error: messageOf(error) }));
    if (this.#sourceEnded) source.destroy();
  }

  /** Bytes of the runner's own making, where there is no process: what a shell would have said. */
  write(bytes: Uint8Array): void {
    this.#bytes += bytes.byteLength;
    this.#output.append(this.stream, bytes);
  }

  /** The tree is gone: what the pipe holds is still read, but nobody who holds the pipe open is waited for. */
  treeGone(): void {
    if (this.#sourceEnded) return;
    this.#drainedBytes = 0;
    this.#source?.resume();
    this.#armIdle();
  }

  /** Readers took some. */
  onRoom(): void {
    if (this.#source?.isPaused() === true && this.#output.hasRoom(this.stream)) this.#source.resume();
  }

  /** There is no source, or no more of it is wanted: closing the pipe tells the command so, by SIGPIPE. */
  end(): void {
    if (this.#sourceEnded) return;
    this.#sourceEnded = true;
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#idle = null;
    this.#source?.destroy();
    this.#resolveDone();
  }

  #onData(chunk: Uint8Array): void {
    if (this.#sourceEnded) return;
    const room = Math.max(0, this.#bytesMax - this.#bytes);
    this.#bytes += chunk.byteLength;
    if (chunk.byteLength > room) this.#truncated = true;
    if (room > 0) this.#output.append(this.stream, chunk.byteLength > room ? chunk.subarray(0, room) : chunk);
    if (this.#drainedBytes === null) {
      if (this.#output.isAhead(this.stream)) this.#source?.pause();
      return;
    }
    this.#drainedBytes += chunk.byteLength;
    if (this.#drainedBytes > DRAIN_BYTES_MAX) this.end();
    else this.#armIdle();
  }

  #armIdle(): void {
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      const bytesBefore = this.#bytes;
      // On a busy machine this timer may be late and fire before the pipe was looked at: it is, once more, in between.
      setImmediate(() => {
        if (this.#sourceEnded) return;
        if (this.#bytes === bytesBefore) this.end();
        else this.#armIdle();
      });
    }, DRAIN_IDLE_MS);
  }
}
