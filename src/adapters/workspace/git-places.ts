import { isAbsolute } from 'node:path';
import { below, lookThrough, readByteText, resolveLinks } from './byte-files.ts';

/** Where a work tree's repository is (gitrepository-layout(5)). Paths are absolute bytes without links. */
export interface GitPlaces {
  /** What belongs to this work tree: HEAD, index. */
  readonly own: string;
  /** What all of its linked work trees share: objects, refs; the same folder where there are none. */
  readonly shared: string;
}

const GITDIR = 'gitdir: ';

/** @param top absolute bytes. Null: it is no work tree's top, or what its `.git` file names is not there */
export function gitPlacesOf(top: string): GitPlaces | null {
  const dotGit = below(top, '.git');
  const stats = lookThrough(dotGit);
  if (stats === null) return null;
  const own = stats.isDirectory() ? resolveLinks(dotGit) : linkedFolder(top, dotGit);
  if (own === null || lookThrough(below(own, 'HEAD')) === null) return null;
  const shared = readByteText(below(own, 'commondir'))?.trimEnd() ?? null;
  const resolved = shared === null ? own : resolveLinks(isAbsolute(shared) ? shared : below(own, shared));
  return resolved === null ? null : { own, shared: resolved };
}

function linkedFolder(top: string, dotGit: string): string | null {
  const text = readByteText(dotGit) ?? '';
  if (!text.startsWith(GITDIR)) return null;
  let end = text.length;
  while (text.charAt(end - 1) === '\n') end--;
  const named = text.slice(GITDIR.length, end);
  return named === '' ? null : resolveLinks(isAbsolute(named) ? named : below(top, named));
}
