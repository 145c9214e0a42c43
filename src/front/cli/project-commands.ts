import { MeshError } from '../../base/errors.ts';
import { escapeControls } from '../../base/escape.ts';
import { formatSize } from '../../base/units.ts';
import type { ApiClient } from '../../node/api-client.ts';
import { currentFolder } from '../../node/api-current-folder.ts';
import { colourWanted, printJson, printLine, terminalColumns } from './output.ts';
import { applyView, secretsView, workspacesView } from './workspaces-view.ts';

/** As patch(1) and git merge: not all of it could be applied. */
const EXIT_CONFLICTS = 1;
/** As rm(1): one of those named is still there, or never was. */
const EXIT_KEPT = 1;

type Connect = () => Promise<ApiClient>;

/** What one request of the daemon takes. */
const NAMES_MAX = 64;

/**
 * `apply`: brings home what a job changed and what is held back of it.
 *
 * @returns 0, or 1 where a file changed here too: the job's version is kept aside
 */
export async function applyCommand(connect: Connect, job: string, json: boolean): Promise<number> {
  const api = await connect();
  try {
    const report = await api.call('apply', { job });
    const { job: id, ...facts } = report;
    if (json) printJson({ job_id: id, ...facts });
    else printLine(applyView(report));
    return report.changes.conflicts.length > 0 ? EXIT_CONFLICTS : 0;
  } finally {
    api.close();
  }
}

/** `workspaces [ls]`: what this node keeps of the projects of others. */
export async function workspacesCommand(connect: Connect, json: boolean): Promise<number> {
  const api = await connect();
  try {
    const report = await api.call('workspaces', {});
    if (json) printJson(report);
    else printLine(workspacesView(report, Date.now(), terminalColumns(), colourWanted()));
    return 0;
  } finally {
    api.close();
  }
}

/**
 * `workspaces rm`: removes those named, or all that no job uses.
 *
 * @returns 0, or 1 where one of those named was not removed
 */
export async function removeWorkspacesCommand(
  connect: Connect,
  names: readonly string[],
  json: boolean,
): Promise<number> {
  checkNames(names, 'workspace');
  const api = await connect();
  try {
    const report = await api.call('workspaces_rm', { names: [...names] });
    if (json) printJson(report);
    else {
      for (const name of report.removed) printLine(`removed ${escapeControls(name)}`);
      if (report.removed.length === 0) printLine('nothing was removed');
      else printLine(`${formatSize(report.bytes)} are free again`);
      for (const notice of report.notices) printLine(`! ${escapeControls(notice)}`);
    }
    return names.every((name) => report.removed.includes(name)) ? 0 : EXIT_KEPT;
  } finally {
    api.close();
  }
}

/** `secrets [send|skip FILE…]`: which ignored files with secrets go along with this project's commands. */
export async function secretsCommand(
  connect: Connect,
  decision: 'send' | 'skip' | 'ask',
  files: readonly string[],
  json: boolean,
): Promise<number> {
  checkNames(files, 'file');
  const api = await connect();
  try {
    const report = await api.call('secrets', { cwd: currentFolder(), decision, files: [...files] });
    if (json) printJson(report);
    else printLine(secretsView(report));
    return 0;
  } finally {
    api.close();
  }
}

function checkNames(names: readonly string[], what: string): void {
  if (names.includes('')) throw new MeshError('bad_argument', `a ${what}'s name is empty; nothing was changed`);
  if (names.length > NAMES_MAX) {
    const text = `${names.length} ${what}s are too many at once: give at most ${NAMES_MAX}; nothing was changed`;
    throw new MeshError('bad_argument', text);
  }
}
