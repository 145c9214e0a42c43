import { hash } from 'node:crypto';

const PREFIX = '.meshwork-tmp-';
const HASH_CHARS = 12;

/**
 * A file of a project is written under such a name, then renamed. A crash may leave one: whoever applies the same changes
 * again gives it the same name, and finds it.
 *
 * @param applying what is applied, no other's @param path of the file
 */
export function temporaryName(applying: string, path: string): string {
  return PREFIX + hash('sha256', `${applying}\0${path}`, 'hex').slice(0, HASH_CHARS);
}

/** @param path of a file, bytes as characters: what has such a name is no file of the project */
export function isTemporary(path: string): boolean {
  return path.startsWith(PREFIX, path.lastIndexOf('/') + 1);
}
