import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { randomBytes } from 'node:crypto';

/** Only the owner may read. */
const PRIVATE_FILE_MODE = 0o600;

/**
 * Writes a file so that a crash or a full disk leaves either the old content or the new, never a part: a temporary
 * file beside it, fsync, rename, fsync of the folder.
 *
 * @throws the system's error, with the old file untouched and the temporary one removed
 */
export function writeFileAtomic(path: string, content: string): void {
  const temporary = `${path}.tmp-${randomBytes(6).toString('hex')}`;
  try {
    writeFileDurably(temporary, content);
    renameSync(temporary, path);
  } catch (error) {
    if (existsSync(temporary)) rmSync(temporary, { force: true });
    throw error;
  }
  syncDirectory(dirname(path));
}

/** Creates `path`, which must not exist, readable by the owner alone, and forces it to the disk. */
export function writeFileDurably(path: string, content: string): void {
  const fd = openSync(path, 'wx', PRIVATE_FILE_MODE);
  try {
    const bytes = Buffer.from(content);
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Makes names in a folder durable: without it a rename may be undone by a power cut. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
