import { randomBytes } from 'node:crypto';

const PREFIX = '.meshwork-tmp-';

/** A file of a project is written under such a name, then renamed. A crash may leave one. */
export function temporaryName(): string {
  return `${PREFIX}${randomBytes(6).toString('hex')}`;
}

/** @param path of a file, bytes as characters: what has such a name is no file of the project */
export function isTemporary(path: string): boolean {
  return path.startsWith(PREFIX, path.lastIndexOf('/') + 1);
}
