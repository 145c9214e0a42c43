import { randomBytes } from 'node:crypto';
import { closeSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';

const PRIVATE_FILE_MODE = 0o600;

/**
 * Puts a file in place whole, readable by its owner alone. Not forced to the disk: for what is checked when it is read and made
 * again where it is damaged.
 *
 * @throws the system's error, with the old file untouched
 */
export function replacePrivateFile(path: string, ...parts: readonly (Uint8Array | string)[]): void {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    const fd = openSync(temporary, 'wx', PRIVATE_FILE_MODE);
    try {
      for (const part of parts) writeFileSync(fd, part);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
