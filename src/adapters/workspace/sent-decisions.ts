import { realpathSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { textOfBytes } from '../../base/byte-text.ts';
import { systemCodeOf } from '../../base/errors.ts';
import { judgeSecret } from '../../core/workspace/secret-files.ts';
import type { ScanRequest } from '../../ports/workspace.ts';
import { SlotFolders } from './slot-folders.ts';
import { readManifest } from './slot-session.ts';

/**
 * What was decided about secrets of a project that lies in a workspace here: a job that submits another one from within it
 * has them because its origin sent them. What the job made itself nobody decided about.
 *
 * @param workspaces MESHWORK_HOME/workspaces
 * @param root of the project, without symbolic links
 */
export function sentDecisions(workspaces: string, root: string): ScanRequest['secrets'] {
  // for/<origin>/<project>/<slot>/<label>, and what of that is a project of its own.
  const [origin, project, slot, label, ...above] = relative(foldersIn(workspaces), root).split(sep);
  if (label === undefined || origin === '..') return {};
  const found = new SlotFolders(workspaces).find([origin, project, slot].join('/'));
  if (found === null || found.record.folder !== label || found.record.manifest === null) return {};
  const prefix = above.map((part) => `${part}/`).join('');
  const decisions: Record<string, 'send'> = {};
  for (const { kind, path } of readManifest(found.paths, found.record.manifest)?.entries ?? []) {
    if (kind !== 'file' || judgeSecret(path, true) === 'plain') continue;
    const text = textOfBytes(path);
    if (text.startsWith(prefix)) decisions[text.slice(prefix.length)] = 'send';
  }
  return decisions;
}

function foldersIn(workspaces: string): string {
  const folder = join(workspaces, 'for');
  try {
    return realpathSync(folder);
  } catch (error) {
    // Nothing was ever placed here.
    if (systemCodeOf(error) !== 'ENOENT') throw error;
    return folder;
  }
}
