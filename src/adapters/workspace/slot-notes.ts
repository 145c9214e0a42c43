import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { systemCodeOf } from '../../base/errors.ts';
import { PRIVATE_FOLDER_MODE, replaceFile, type SlotPaths } from './slot-record.ts';

/** A name of any characters as a file's name. */
const fileOf = (paths: SlotPaths, name: string): string =>
  join(paths.notes, createHash('sha256').update(name).digest('hex').slice(0, 32));

export function readNote(paths: SlotPaths, name: string): string | null {
  try {
    return readFileSync(fileOf(paths, name), 'utf8');
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return null;
    throw error;
  }
}

export function writeNote(paths: SlotPaths, name: string, text: string): void {
  // Mostly that of the job before, and reading it takes a tenth of the time.
  if (readNote(paths, name) === text) return;
  mkdirSync(paths.notes, { recursive: true, mode: PRIVATE_FOLDER_MODE });
  replaceFile(fileOf(paths, name), text);
}

export function copyNotes(from: SlotPaths, to: SlotPaths): void {
  mkdirSync(to.notes, { recursive: true, mode: PRIVATE_FOLDER_MODE });
  let names: string[] = [];
  try {
    names = readdirSync(from.notes);
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw error;
  }
  for (const name of names) copyFileSync(join(from.notes, name), join(to.notes, name));
}

export function dropNotes(paths: SlotPaths): void {
  rmSync(paths.notes, { recursive: true, force: true });
}
