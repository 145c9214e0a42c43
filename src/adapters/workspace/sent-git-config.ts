import { GIT_CONFIG_BYTES_MAX } from '../../core/workspace/git-config.ts';
import { formatSize } from '../../base/units.ts';
import type { ManifestEntry, ObjectHash } from '../../wire/manifest.ts';
import { shownPath } from '../../wire/tree-path.ts';
import { isPlainGitConfig } from './git-content.ts';
import type { ObjectSource } from './placing.ts';
import { isGitignore, type TreeIndex } from './tree-index.ts';

/**
 * A repository's config may name programs that git runs. Only one that is as origins make them is placed: then it names
 * none.
 *
 * @returns what is wrong with the config of a manifest, null where nothing is
 */
export function wrongGitConfig(index: TreeIndex, objects: ObjectSource): string | null {
  for (const entry of index.filesNamed('gitConfigs')) {
    if (entry.size === 0) continue;
    const content = entry.size > GIT_CONFIG_BYTES_MAX ? null : objects.read(entry.hash);
    if (content === null || !isPlainGitConfig(content)) {
      return `${shownPath(entry.path)} has settings that do not travel`;
    }
  }
  return null;
}

/** The objects that {@link wrongGitConfig} reads. */
export function gitConfigsOf(index: TreeIndex): ObjectHash[] {
  return index
    .filesNamed('gitConfigs')
    .flatMap((entry) => (entry.size > 0 ? (entry.chunks ?? [entry]).map(({ hash }) => hash) : []));
}

/** Each is read into memory, and its rules are asked about each file. */
const IGNORE_FILES_BYTES_MAX = 4 * 1024 * 1024;

/** @returns what is wrong with the .gitignore files of a manifest, null where nothing is */
export function wrongIgnoreFiles(entries: readonly ManifestEntry[]): string | null {
  let bytes = 0;
  for (const entry of entries) {
    if (entry.kind === 'file' && entry.chunks === null && isGitignore(entry.path)) bytes += entry.size;
  }
  return bytes <= IGNORE_FILES_BYTES_MAX
    ? null
    : `its .gitignore files have ${formatSize(bytes)}, at most ${formatSize(IGNORE_FILES_BYTES_MAX)} are placed`;
}
