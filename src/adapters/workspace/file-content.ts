import { createHash } from 'node:crypto';
import { chmodSync, closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { systemCodeOf } from '../../base/errors.ts';
import type { ObjectHash } from '../../wire/manifest.ts';
import type { Turn } from './turn.ts';

/** O_NONBLOCK: a FIFO in the place of a file holds nobody up. */
export const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const READ_BYTES = 256 * 1024;
const buffer = Buffer.allocUnsafe(READ_BYTES);

/** Opens a regular file without following a link. @returns null where it is none (any more) */
export function openRegular(where: Buffer): { readonly fd: number; readonly stat: Stats } | null {
  const fd = openReadable(where);
  if (fd === null) return null;
  const stat = fstatSync(fd);
  if (stat.isFile()) return { fd, stat };
  closeSync(fd);
  return null;
}

function openReadable(where: Buffer): number | null {
  try {
    return openSync(where, READ_FLAGS);
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === 'ENOENT' || code === 'ELOOP' || code === 'ENXIO' || code === 'EMLINK' || code === 'ENOTDIR')
      return null;
    throw error;
  }
}

/** SHA-256 of what an open file has now: what is written to it meanwhile, maybe without end, is not followed. */
export function hashOpen(
  fd: number,
  onBytes?: (bytes: Buffer) => void,
): { readonly hash: ObjectHash; readonly size: number } {
  const hash = createHash('sha256');
  const { size: end } = fstatSync(fd);
  let size = 0;
  while (size < end) {
    const read = readSync(fd, buffer, 0, Math.min(READ_BYTES, end - size), size);
    if (read === 0) break;
    const bytes = buffer.subarray(0, read);
    hash.update(bytes);
    onBytes?.(bytes);
    size += read;
  }
  return { hash: hash.digest('hex') as ObjectHash, size };
}

/** As `hashOpen`, of a file that may be large: others of the thread get on meanwhile. */
export async function hashOpenInTurns(
  fd: number,
  turn: Turn,
  onBytes?: (bytes: Buffer) => void,
): Promise<{ readonly hash: ObjectHash; readonly size: number }> {
  const hash = createHash('sha256');
  const { size: end } = fstatSync(fd);
  let size = 0;
  while (size < end) {
    const read = readSync(fd, buffer, 0, Math.min(READ_BYTES, end - size), size);
    if (read === 0) break;
    // The buffer is everybody's: what is in it is used before the turn is passed.
    const bytes = buffer.subarray(0, read);
    hash.update(bytes);
    onBytes?.(bytes);
    size += read;
    if (turn.isOver()) await turn.pass();
  }
  return { hash: hash.digest('hex') as ObjectHash, size };
}

/** @returns null where it is no regular file (any more) */
export function hashFile(where: Buffer): { readonly hash: ObjectHash; readonly stat: Stats } | null {
  const open = openRegular(where);
  if (open === null) return null;
  try {
    return { hash: hashOpen(open.fd).hash, stat: open.stat };
  } finally {
    closeSync(open.fd);
  }
}

/** As `hashFile`, in turns, also of a file that a job made unreadable. @throws the system's error */
export async function hashFileInTurns(where: Buffer, mode: number, turn: Turn): Promise<ObjectHash | null> {
  const open = withReadable(where, mode, () => openRegular(where));
  if (open === null) return null;
  try {
    return (await hashOpenInTurns(open.fd, turn)).hash;
  } finally {
    closeSync(open.fd);
  }
}

/** Does something with a file that a job may have made unreadable for its own user; its mode is as it was afterwards. */
export function withReadable<T>(where: Buffer, mode: number, use: () => T): T {
  try {
    return use();
  } catch (error) {
    if (systemCodeOf(error) !== 'EACCES') throw error;
    chmodSync(where, (mode & 0o777) | 0o400);
    try {
      return use();
    } finally {
      chmodSync(where, mode & 0o777);
    }
  }
}

/** For calls of node:fs, which take seconds and cut them to microseconds: a whole millisecond stays one. */
export const secondsOf = (ms: number): number => (ms + 0.0005) / 1000;

/** @returns null where it is no regular file (any more), or larger than `bytesMax` */
export function readRegular(where: Buffer, bytesMax: number): Buffer | null {
  const open = openRegular(where);
  if (open === null) return null;
  try {
    if (open.stat.size > bytesMax) return null;
    const bytes = Buffer.allocUnsafeSlow(open.stat.size);
    let done = 0;
    for (let got = -1; done < bytes.length && got !== 0; done += got) {
      got = readSync(open.fd, bytes, done, bytes.length - done, done);
    }
    return bytes.subarray(0, done);
  } finally {
    closeSync(open.fd);
  }
}
