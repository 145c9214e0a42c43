import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  lstatSync,
  type Stats,
} from 'node:fs';
import { systemCodeOf } from '../../base/errors.ts';
import { RULES_CHARS_MAX } from '../../wire/workspace.ts';

/** Looks at the disk by byte paths (one character per byte). What is not there, or may not be read, is null. */

const ABSENT = ['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM', 'ELOOP', 'EISDIR', 'ENAMETOOLONG', 'ENXIO'];
/** Of settings, ignore files and what git keeps in text. */
const TEXT_BYTES_MAX = 4 * 1024 * 1024;

export const pathOf = (bytes: string): Buffer => Buffer.from(bytes, 'latin1');
export const below = (folder: string, name: string): string => (folder === '' ? name : `${folder}/${name}`);

export interface Named {
  readonly name: string;
  readonly kind: 'folder' | 'file' | 'link' | 'other';
}

export function listFolder(folder: string): Named[] | null {
  return orNull(() =>
    readdirSync(pathOf(folder), { withFileTypes: true, encoding: 'latin1' }).map((entry) => ({
      name: entry.name,
      kind: entry.isDirectory() ? 'folder' : entry.isFile() ? 'file' : entry.isSymbolicLink() ? 'link' : 'other',
    })),
  );
}

/** Names alone, which costs half. */
export function listNames(folder: string): string[] {
  return orNull(() => readdirSync(pathOf(folder), { encoding: 'latin1' })) ?? [];
}

/** Links are followed. What is no regular file, or larger than that, is null. */
export function readBytes(file: string, bytesMax: number): Buffer | null {
  // A FIFO would never end.
  const fd = orNull(() => openSync(pathOf(file), constants.O_RDONLY | constants.O_NONBLOCK));
  if (fd === null) return null;
  try {
    const stats = fstatSync(fd);
    return stats.isFile() && stats.size <= bytesMax ? readFileSync(fd) : null;
  } finally {
    closeSync(fd);
  }
}

/** Bytes as characters. */
export function readByteText(file: string): string | null {
  return readBytes(file, TEXT_BYTES_MAX)?.toString('latin1') ?? null;
}

/**
 * The patterns of an ignore file of the tree, as git takes them: never through a link, nor of what is no file. One that
 * is too large to travel says nothing.
 */
export function readIgnoreFile(file: string): string {
  const stats = lookAt(file);
  return stats?.isFile() === true && stats.size <= RULES_CHARS_MAX ? (readByteText(file) ?? '') : '';
}

export function lookAt(path: string): Stats | null {
  return orNull(() => lstatSync(pathOf(path), { throwIfNoEntry: false }) ?? null);
}

export function lookThrough(path: string): Stats | null {
  return orNull(() => statSync(pathOf(path), { throwIfNoEntry: false }) ?? null);
}

export function resolveLinks(path: string): string | null {
  return orNull(() => realpathSync.native(pathOf(path), { encoding: 'buffer' }).toString('latin1'));
}

function orNull<T>(look: () => T): T | null {
  try {
    return look();
  } catch (error) {
    if (ABSENT.includes(systemCodeOf(error))) return null;
    throw error;
  }
}
