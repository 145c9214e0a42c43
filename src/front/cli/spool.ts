import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemCodeOf } from '../../base/errors.ts';
import { GIB, KIB, MIB } from '../../base/units.ts';

export interface SpoolLimits {
  /** Outputs of all jobs together that are kept in memory. */
  readonly memoryBytesMax: number;
  /** The temporary file. */
  readonly fileBytesMax: number;
}

const LIMITS: SpoolLimits = { memoryBytesMax: 16 * MIB, fileBytesMax: 2 * GIB };
const BLOCK_BYTES = 64 * KIB;
const BUFFER_BYTES_MIN = 256;

type Write = (bytes: Uint8Array) => void | Promise<void>;
type Piece =
  | { readonly kind: 'memory'; readonly bytes: Uint8Array }
  | { readonly kind: 'block'; readonly block: number; readonly size: number };

/**
 * Where the outputs of a batch wait for their turn: in memory up to a bound, beyond it in blocks of one temporary file,
 * and where that is full in the command itself, which is held back.
 */
export class Spool {
  readonly #limits: SpoolLimits;
  #memoryBytes = 0;
  #file: { readonly folder: string; readonly fd: number } | null = null;
  #blocks = 0;
  readonly #freeBlocks: number[] = [];
  /** Set where the disk is smaller than our own bound. */
  #blocksMax: number;
  #full = false;
  #waiting: (() => void)[] = [];
  #onFull: () => void = () => undefined;

  constructor(limits: SpoolLimits = LIMITS) {
    this.#limits = limits;
    this.#blocksMax = Math.floor(limits.fileBytesMax / BLOCK_BYTES);
  }

  /** `listener` hears each time that an output has to wait for room. */
  whenFull(listener: () => void): void {
    this.#onFull = listener;
  }

  /** The last output found no room, and none was given back since. */
  get full(): boolean {
    return this.#full;
  }

  /** @returns false where the memory is used up */
  takeMemory(bytes: number): boolean {
    if (this.#memoryBytes + bytes > this.#limits.memoryBytesMax) return false;
    this.#memoryBytes += bytes;
    return true;
  }

  freeMemory(bytes: number): void {
    this.#memoryBytes -= bytes;
    this.#full = false;
    this.wake();
  }

  /** @returns the block that holds `bytes` now (at most one block), or null where there is no room */
  writeBlock(bytes: Uint8Array): number | null {
    const block = this.#freeBlocks.pop() ?? (this.#blocks < this.#blocksMax ? this.#blocks : null);
    if (block === null) {
      this.#full = true;
      return null;
    }
    try {
      const { fd } = (this.#file ??= openFile());
      for (let at = 0; at < bytes.byteLength;)
        at += writeSync(fd, bytes, at, bytes.byteLength - at, block * BLOCK_BYTES + at);
    } catch (error) {
      if (block < this.#blocks) this.#freeBlocks.push(block);
      if (!['ENOSPC', 'EDQUOT', 'EFBIG'].includes(systemCodeOf(error))) throw error;
      this.#blocksMax = this.#blocks;
      this.#full = true;
      return null;
    }
    if (block === this.#blocks) this.#blocks += 1;
    return block;
  }

  readBlock(block: number, size: number): Uint8Array {
    const bytes = Buffer.alloc(size);
    if (this.#file !== null) readSync(this.#file.fd, bytes, 0, size, block * BLOCK_BYTES);
    return bytes;
  }

  freeBlock(block: number): void {
    this.#freeBlocks.push(block);
    this.#full = false;
    this.wake();
  }

  /** Settles when there may be room again. */
  room(): Promise<void> {
    const waited = new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#onFull();
    return waited;
  }

  /** Lets those that wait look again: there may be room, or they may be written through by now. */
  wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  close(): void {
    const file = this.#file;
    this.#file = null;
    if (file === null) return;
    closeSync(file.fd);
    rmSync(file.folder, { recursive: true, force: true });
  }
}

function openFile(): { folder: string; fd: number } {
  const folder = mkdtempSync(join(tmpdir(), 'meshwork-map-'));
  return { folder, fd: openSync(join(folder, 'output'), 'wx+', 0o600) };
}

/** One stream of one job until its turn has come. */
export class HeldOutput {
  readonly #spool: Spool;
  #pieces: Piece[] = [];
  #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #used = 0;
  /** Set while a push waits: those behind it keep their place. */
  #blocked: Promise<void> | null = null;
  #live: Write | null = null;
  #discarded = false;

  constructor(spool: Spool) {
    this.#spool = spool;
  }

  /** Copies what it keeps. @returns a promise where the sender must wait for room */
  push(bytes: Uint8Array): void | Promise<void> {
    if (this.#discarded) return;
    if (this.#blocked === null && this.#live !== null) return this.#live(bytes);
    if (this.#blocked === null) {
      const taken = this.#take(bytes);
      if (taken === bytes.byteLength) return;
      return this.#wait(bytes.slice(taken));
    }
    return this.#wait(bytes.slice());
  }

  #wait(bytes: Uint8Array): Promise<void> {
    const before = this.#blocked;
    const waited = (async () => {
      await before;
      for (let at = 0; at < bytes.byteLength && !this.#discarded;) {
        if (this.#live !== null) return this.#live(bytes.subarray(at));
        at += this.#take(bytes.subarray(at));
        if (at < bytes.byteLength) await this.#spool.room();
      }
    })();
    const settled = (): void => {
      if (this.#blocked === blocked) this.#blocked = null;
    };
    // Whoever pushed hears of a failure: those behind only keep their place.
    const blocked = waited.then(settled, settled);
    this.#blocked = blocked;
    return waited;
  }

  /** @returns how many of the bytes found room */
  #take(bytes: Uint8Array): number {
    for (let at = 0; at < bytes.byteLength;) {
      if (this.#used === BLOCK_BYTES && !this.#put()) return at;
      const part = Math.min(bytes.byteLength - at, BLOCK_BYTES - this.#used);
      this.#grow(this.#used + part);
      this.#buffer.set(bytes.subarray(at, at + part), this.#used);
      this.#used += part;
      at += part;
    }
    return bytes.byteLength;
  }

  #grow(size: number): void {
    if (size <= this.#buffer.byteLength) return;
    const larger = new Uint8Array(Math.min(BLOCK_BYTES, Math.max(size, 2 * this.#buffer.byteLength, BUFFER_BYTES_MIN)));
    larger.set(this.#buffer.subarray(0, this.#used));
    this.#buffer = larger;
  }

  /** Moves the buffer to where it can wait. @returns false where there is no room */
  #put(): boolean {
    const bytes = this.#buffer.slice(0, this.#used);
    if (this.#spool.takeMemory(bytes.byteLength)) this.#pieces.push({ kind: 'memory', bytes });
    else {
      const block = this.#spool.writeBlock(bytes);
      if (block === null) return false;
      this.#pieces.push({ kind: 'block', block, size: bytes.byteLength });
    }
    this.#used = 0;
    return true;
  }

  /** The job has ended: what is left in its buffer waits like the rest. */
  seal(): void {
    if (this.#used > 0 && this.#live === null && !this.#put()) return;
    this.#buffer = new Uint8Array(0);
    this.#used = 0;
  }

  /** Gives everything back, in order, and forgets it. What is pushed from now on is written through. */
  drain(write: Write): Promise<void> {
    const flushed = this.#flush(write);
    this.#live = (bytes) => flushed.then(() => write(bytes));
    this.#spool.wake();
    return flushed;
  }

  async #flush(write: Write): Promise<void> {
    const pieces = this.#pieces;
    const last = this.#buffer.subarray(0, this.#used);
    this.#pieces = [];
    this.#buffer = new Uint8Array(0);
    this.#used = 0;
    for (const [index, piece] of pieces.entries()) {
      try {
        await write(piece.kind === 'memory' ? piece.bytes : this.#spool.readBlock(piece.block, piece.size));
      } catch (error) {
        for (const rest of pieces.slice(index)) this.#free(rest);
        throw error;
      }
      this.#free(piece);
    }
    if (last.byteLength > 0) await write(last);
  }

  #free(piece: Piece): void {
    if (piece.kind === 'memory') this.#spool.freeMemory(piece.bytes.byteLength);
    else this.#spool.freeBlock(piece.block);
  }

  discard(): void {
    this.#discarded = true;
    for (const piece of this.#pieces) this.#free(piece);
    this.#pieces = [];
    this.#buffer = new Uint8Array(0);
    this.#used = 0;
    this.#spool.wake();
  }
}
