import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MIB } from '../../base/units.ts';

const MEMORY_BYTES_MAX = MIB;
const READ_BYTES = 64 * 1024;

/** The output of a job whose turn has not come: in memory up to 1 MiB, beyond that in a temporary file. */
export class HeldOutput {
  #parts: Uint8Array[] = [];
  #bytes = 0;
  #file: { readonly folder: string; readonly fd: number; bytes: number } | null = null;

  push(bytes: Uint8Array): void {
    if (this.#file === null && this.#bytes + bytes.byteLength <= MEMORY_BYTES_MAX) {
      this.#parts.push(bytes.slice());
      this.#bytes += bytes.byteLength;
      return;
    }
    if (this.#file === null) {
      const folder = mkdtempSync(join(tmpdir(), 'meshwork-map-'));
      this.#file = { folder, fd: openSync(join(folder, 'output'), 'wx+', 0o600), bytes: 0 };
    }
    this.#file.bytes += writeSync(this.#file.fd, bytes);
  }

  /** Gives everything back once, in order, and forgets it. */
  async drain(write: (bytes: Uint8Array) => void | Promise<void>): Promise<void> {
    const parts = this.#parts;
    this.#parts = [];
    for (const part of parts) await write(part);
    const file = this.#file;
    if (file === null) return;
    try {
      const buffer = Buffer.alloc(READ_BYTES);
      for (let at = 0; at < file.bytes;) {
        const size = readSync(file.fd, buffer, 0, READ_BYTES, at);
        await write(buffer.subarray(0, size));
        at += size;
      }
    } finally {
      this.discard();
    }
  }

  discard(): void {
    this.#parts = [];
    const file = this.#file;
    this.#file = null;
    if (file === null) return;
    closeSync(file.fd);
    rmSync(file.folder, { recursive: true, force: true });
  }
}
