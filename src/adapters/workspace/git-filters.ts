import { textOfBytes } from '../../base/byte-text.ts';
import { escapeControls } from '../../base/escape.ts';
import type { GitSetting } from '../../core/workspace/git-config.ts';
import { readIgnoreFile } from './byte-files.ts';

const ATTRIBUTES_FILE = '.gitattributes';
/** Read of one repository: most have one. */
const FILES_READ_MAX = 64;
const NAMES_SHOWN_MAX = 3;

/**
 * The filters that tracked files of a repository go through here (gitattributes(5)), such as git-lfs: their programs do
 * not travel.
 *
 * @param settings effective here
 * @param top absolute bytes
 * @param tracked relative to it
 */
export function filtersInUse(settings: readonly GitSetting[], top: string, tracked: readonly string[]): string[] {
  const known = new Set(settings.flatMap(({ key }) => /^filter\.(.+)\.(?:clean|process)$/.exec(key)?.[1] ?? []));
  if (known.size === 0) return [];
  const isOne = (path: string): boolean => path === ATTRIBUTES_FILE || path.endsWith(`/${ATTRIBUTES_FILE}`);
  const files = tracked.filter(isOne).slice(0, FILES_READ_MAX);
  const used = files.flatMap((path) => filtersNamed(readIgnoreFile(`${top}/${path}`)));
  return [...new Set(used)].filter((name) => known.has(name));
}

function filtersNamed(text: string): string[] {
  const lines = text.split('\n').filter((line) => !line.startsWith('#'));
  return lines.flatMap((line) => /\sfilter=(\S+)/.exec(line)?.[1] ?? []);
}

/** For people: what `git status` makes of it there. */
export function filterNotice(filters: readonly string[]): string {
  const shown = filters.slice(0, NAMES_SHOWN_MAX).map((name) => escapeControls(textOfBytes(name)));
  const names = `${shown.join(', ')}${filters.length > shown.length ? ', …' : ''}`;
  return `files that git changes by a filter (${names}) count as modified where git there has no such filter`;
}
