import { bytesOfText, textOfBytes } from '../../base/byte-text.ts';
import { escapeControls } from '../../base/escape.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { PLAIN_EXCLUDES } from '../../core/workspace/default-excludes.ts';
import { isDependencyFolder } from '../../core/workspace/dependency-files.ts';
import { tooManyFiles } from '../../core/workspace/largest-folders.ts';
import type { ScanRefusal, ScanRequest } from '../../ports/workspace.ts';
import type { TreePath } from '../../wire/manifest.ts';
import { folderOf } from '../../wire/tree-path.ts';
import type { IgnoreRules } from '../../wire/workspace.ts';
import { below, lookAt, readIgnoreFile } from './byte-files.ts';
import { foldersOf } from './empty-folders.ts';
import { filterNotice } from './git-filters.ts';
import { addGitFolder } from './git-folder.ts';
import { listRepositories, type RepositoryListing } from './git-listing.ts';
import { KnownNames } from './known-names.ts';
import { walkPlain } from './plain-walk.ts';
import { SelectionDraft } from './selection-draft.ts';
import type { Selection } from './selection.ts';
import { ShipFilter } from './ship-filter.ts';

const IGNORE_FILE = '.meshworkignore';

/**
 * Lists what a project consists of. Files are looked at by their names alone, except folders of tracked ones: sizes,
 * kinds and what is gone are for whoever reads them.
 *
 * @param env of commands: git is taken from its PATH, and heeds the settings of its HOME
 * @param replaced tracked paths of an earlier selection that turned out to be folders: git says nothing of what is in
 * them by itself, so one selects again
 * @param known of the last selection of the same project, and for the next
 * @returns a refusal `too_large` where there are more than `filesMax`, `no_project` where the root is gone
 */
export async function selectFiles(
  request: ScanRequest,
  env: Readonly<Record<string, string | undefined>>,
  replaced: readonly TreePath[] = [],
  known: KnownNames = new KnownNames(),
): Promise<Result<Selection, ScanRefusal>> {
  const root = bytesOfText(request.project.root);
  if (lookAt(root)?.isDirectory() !== true) {
    return err({ code: 'no_project', message: `${request.project.root} is not there any more; nothing was sent.` });
  }
  const isGit = request.project.kind === 'git';
  const filter = new ShipFilter(request.ship, isGit ? '' : PLAIN_EXCLUDES);
  const draft = new SelectionDraft(root, request, filter);
  const context = { root, env, replaced };
  known.begin(request);
  const tops = isGit ? [''] : await walkPlain(root, draft, filter, request.filesMax, known);
  const listings: RepositoryListing[] = [];
  for (const top of tops) listings.push(...(await listRepositories(context, top)));
  for (const listing of listings) learnIgnoreFiles(root, listing, filter);
  for (const listing of listings) addListing(draft, listing, filter, request.ship.git);
  draft.addDecided();
  const selection = draft.finish(request.project.kind, rulesOf(listings));
  const refusal = tooManyFiles(selection.files, request.filesMax);
  return refusal === null ? ok(selection) : err({ code: 'too_large', message: refusal });
}

/** All of a repository's `.meshworkignore` files, before the first path is judged. */
function learnIgnoreFiles(root: string, listing: RepositoryListing, filter: ShipFilter): void {
  for (const files of [listing.tracked, listing.untracked, listing.ignoredFiles]) {
    for (const path of files) {
      if (!path.endsWith(IGNORE_FILE)) continue;
      const folder = folderOf(path);
      if (path === below(folder, IGNORE_FILE)) filter.learn(folder, readIgnoreFile(`${root}/${path}`));
    }
  }
}

function addListing(draft: SelectionDraft, listing: RepositoryListing, filter: ShipFilter, withGit: boolean): void {
  const { prefix } = listing;
  if (prefix !== '' && filter.leavesOut(prefix, true)) return;
  for (const notice of listing.notices) draft.notice(notice);
  if (withGit && listing.gitFolder !== null && listing.filters.length > 0)
    draft.standing(filterNotice(listing.filters));
  if (withGit && listing.partOf !== null) draft.standing(withoutRepository(listing.partOf));
  for (const path of listing.tracked) draft.addTracked(path);
  for (const path of listing.untracked) draft.addUntracked(path);
  const own = ownFolders(listing);
  for (const path of listing.ignoredFiles) draft.addIgnoredFile(path, isInside(path, own));
  // A folder that ignores itself is listed file by file.
  for (const path of new Set([...listing.ignoredFolders, ...own])) {
    if (path === prefix || !isInside(path, own)) draft.addIgnoredFolder(path);
  }
  for (const path of listing.emptyFolders) draft.addFolder(path);
  if (withGit && listing.gitFolder !== null && !filter.leavesOut(below(prefix, '.git'), true)) {
    addGitFolder(draft, { prefix, ...listing.gitFolder });
  }
}

function withoutRepository(topBytes: string): string {
  const top = escapeControls(textOfBytes(topBytes));
  const remedy = `\`--sync ${top}\` sends all of it; \`[ship] git = false\` in .meshwork.toml says that nothing needs it`;
  return `the project is a folder of the repository ${top}, so its .git stays here and git there finds none: ${remedy}`;
}

/** Folders that a tool made and that ignore themselves by a .gitignore of their own, and such of dependencies. */
function ownFolders(listing: RepositoryListing): ReadonlySet<string> {
  const own = new Set<string>();
  for (const path of listing.ignoredFiles) if (path.endsWith('/.gitignore')) own.add(folderOf(path));
  for (const folder of foldersOf(listing.ignoredFiles)) if (isDependencyFolder(folder)) own.add(folder);
  const filled = foldersOf([...listing.tracked, ...listing.untracked]);
  return new Set([...own].filter((folder) => !filled.has(folder)));
}

function isInside(path: string, folders: ReadonlySet<string>): boolean {
  if (folders.size === 0) return false;
  for (let slash = path.indexOf('/'); slash !== -1; slash = path.indexOf('/', slash + 1)) {
    if (folders.has(path.slice(0, slash))) return true;
  }
  return false;
}

/** Each repository within the project is told, since rules of folders above end at its top. */
const rulesOf = (listings: readonly RepositoryListing[]): IgnoreRules =>
  listings
    .filter(({ prefix, excludes }) => prefix !== '' || excludes !== '')
    .map(({ prefix, excludes }) => ({ folder: prefix, text: excludes, source: 'exclude' }));
