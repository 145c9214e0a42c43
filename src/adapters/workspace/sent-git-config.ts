import { GIT_CONFIG_BYTES_MAX } from '../../core/workspace/git-config.ts';
import { shownPath } from '../../wire/tree-path.ts';
import { isPlainGitConfig } from './git-content.ts';
import type { ObjectSource } from './placing.ts';
import { isGitConfig, type TreeIndex } from './tree-index.ts';

/**
 * A repository's config may name programs that git runs. Only one that is as origins make them is placed: then it names
 * none.
 *
 * @returns what is wrong with the config of a manifest, null where nothing is
 */
export function wrongGitConfig(index: TreeIndex, objects: ObjectSource): string | null {
  for (const entry of index.manifest.entries) {
    if (entry.kind !== 'file' || !isGitConfig(entry.path) || entry.size === 0) continue;
    const content = entry.size > GIT_CONFIG_BYTES_MAX ? null : objects.read(entry.hash);
    if (content === null || !isPlainGitConfig(content)) {
      return `${shownPath(entry.path)} has settings that do not travel`;
    }
  }
  return null;
}
