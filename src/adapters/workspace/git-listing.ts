import { isAbsolute } from 'node:path';
import { isUtf8, textOfBytes } from '../../base/byte-text.ts';
import { escapeControls } from '../../base/escape.ts';
import { parseGitConfig, parseGitConfigList, type GitSetting } from '../../core/workspace/git-config.ts';
import type { GitIndex } from '../../core/workspace/git-index.ts';
import { below, lookAt, readByteText, readIgnoreFile, resolveLinks } from './byte-files.ts';
import { createGit, type Git, type GitOutput } from './git-command.ts';
import { filtersInUse } from './git-filters.ts';
import { readGitIndex, SHA1_TOOLS, SHA256_TOOLS } from './git-index-file.ts';
import { gitPlacesOf, type GitPlaces } from './git-places.ts';
import { emptyFoldersBelow } from './empty-folders.ts';
import { blocksGit, WhyGitWaits } from './stuck-git.ts';
import { walkRepository } from './repository-walk.ts';

/** Repositories within repositories, at most so deep. */
const NESTING_MAX = 16;
/** What fits on a command line everywhere, with room to spare. */
const PATHSPEC_BYTES_MAX = 64 * 1024;
const LISTED_AT_ONCE_MAX = 4;
const WORDS_SHOWN_MAX = 200;
/** How git names the folder that it was asked in, where that lies within a work tree and has no tracked file. */
const TOP = './';

/** What git, or else a walk, says of one repository of the tree. Paths are relative to the project's root, in bytes. */
export interface RepositoryListing {
  /** Its top, '' for the root. */
  readonly prefix: string;
  readonly tracked: readonly string[];
  readonly untracked: readonly string[];
  readonly ignoredFiles: readonly string[];
  /** The highest folder of each; what is below them is not listed. */
  readonly ignoredFolders: readonly string[];
  /** Untracked folders in which nothing is sent. */
  readonly emptyFolders: readonly string[];
  /** Patterns that hold beside its .gitignore files, which are stronger. */
  readonly excludes: string;
  /** Null where `.git` can't go along. */
  readonly gitFolder: {
    readonly places: GitPlaces;
    readonly settings: readonly GitSetting[];
    readonly index: Uint8Array;
    readonly userExcludes: string;
  } | null;
  /** The top of the repository that its folder is a part of, absolute bytes; null where it is a top itself. */
  readonly partOf: string | null;
  /** Names of those that tracked files go through here, see `filtersInUse`. */
  readonly filters: readonly string[];
  readonly notices: readonly string[];
}

export interface ListingContext {
  /** Of the project, absolute bytes. */
  readonly root: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Folders in the place of tracked files, which git's list does not look into; relative to the root. */
  readonly replaced: readonly string[];
}

/** Lists a repository of the tree and those within it. Never throws for what git says. */
export async function listRepositories(
  context: ListingContext,
  prefix: string,
  depth = 0,
): Promise<RepositoryListing[]> {
  const { listing, nested } = await new RepositoryLister(context, prefix).list();
  if (depth >= NESTING_MAX && nested.length > 0) {
    const notice = `repositories within ${NESTING_MAX} others are left out`;
    return [{ ...listing, notices: [...listing.notices, notice] }];
  }
  const found = [listing];
  for (let at = 0; at < nested.length; at += LISTED_AT_ONCE_MAX) {
    const some = nested.slice(at, at + LISTED_AT_ONCE_MAX);
    const lists = await Promise.all(some.map((inner) => listRepositories(context, inner, depth + 1)));
    for (const list of lists) found.push(...list);
  }
  return found;
}

interface Listed {
  readonly listing: RepositoryListing;
  /** Tops of repositories within it. */
  readonly nested: readonly string[];
}

interface Around {
  /** Absolute bytes. */
  readonly top: string;
  readonly shared: string;
  /** Names of the folders from there to the root. */
  readonly parts: readonly string[];
}

class RepositoryLister {
  readonly #prefix: string;
  readonly #top: string;
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #replaced: readonly string[];
  readonly #notices: string[] = [];

  constructor(context: ListingContext, prefix: string) {
    this.#prefix = prefix;
    this.#top = prefix === '' ? context.root : `${context.root}/${prefix}`;
    this.#env = context.env;
    const inner = prefix === '' ? '' : `${prefix}/`;
    this.#replaced = context.replaced.filter((path) => path.startsWith(inner)).map((path) => path.slice(inner.length));
  }

  async list(): Promise<Listed> {
    const places = gitPlacesOf(this.#top);
    if (!isUtf8(this.#top)) return this.#walk(places, 'the name of its folder is not UTF-8', null);
    const waits = new WhyGitWaits(this.#top);
    const git = createGit(textOfBytes(this.#top), this.#env, () => waits.reason);
    const others = ['ls-files', '-o', '--exclude-standard', '--directory', '-z'];
    const settings = parseGitConfig(readByteText(below(places?.shared ?? '', 'config')) ?? '');
    const readIndex = () => (places === null ? null : readGitIndex(places.own, git, toolsFor(settings)));
    // Of the top this is cheap to know; what lies deeper is looked for when git is slow.
    if (blocksGit(this.#top)) {
      const known = await readIndex();
      return this.#walk(places, waits.reason ?? '', known?.ok === true ? known.value : null);
    }
    const asked = Promise.all([
      git.run(others),
      git.run([...others, '-i']),
      git.run(['config', '--list', '-z', '--includes']),
    ]);
    const index = await readIndex();
    const [untracked, ignored, config] = await asked;
    const effective = config.ok ? parseGitConfigList(config.value.stdout.toString('latin1')) : settings;
    if (places !== null && this.#isAboutAnother(places, effective)) {
      return this.#walk(places, 'the work tree of its repository is another folder (core.worktree)', null);
    }
    const refused = !untracked.ok ? untracked.error : !ignored.ok ? ignored.error : null;
    if (refused !== null || !untracked.ok || !ignored.ok) {
      return this.#walk(places, refused ?? '', index?.ok === true ? index.value : null);
    }
    if (splitList(ignored.value).includes(TOP)) {
      return this.#walk(places, 'its folder is ignored by the repository around it', null);
    }
    this.#warn(untracked.value);
    if (index?.ok === false) this.#notices.push(`${this.#name()}: ${index.error}; .git stays here`);
    const trackedIndex = index?.ok === true ? index.value : await this.#trackedByGit(git);
    const userExcludes = userExcludesOf(effective, git.env);
    const around = places === null ? await this.#around(git) : null;
    const expanded = await this.#expand(git, splitList(untracked.value), splitList(ignored.value), trackedIndex);
    return {
      nested: expanded.nested,
      listing: {
        ...expanded.listing,
        excludes: this.#excludes(places, around, userExcludes),
        partOf: around?.top ?? null,
        filters: filtersInUse(effective, this.#top, trackedIndex.files),
        gitFolder:
          index?.ok !== true || places === null ? null : this.#gitFolder(places, effective, index.value, userExcludes),
        notices: this.#notices,
      },
    };
  }

  /** Git then lists another folder; a submodule's repository names the folder that it is asked in. */
  #isAboutAnother({ own, shared }: GitPlaces, settings: readonly GitSetting[]): boolean {
    const named = settings.findLast(({ key }) => key.toLowerCase() === 'core.worktree')?.value;
    // git-config(1): what it says is about the main work tree.
    if (named === undefined || own !== shared) return false;
    return resolveLinks(isAbsolute(named) ? named : below(own, named)) !== resolveLinks(this.#top);
  }

  #name(): string {
    return this.#prefix === '' ? 'the repository' : escapeControls(textOfBytes(this.#prefix));
  }

  #warn(output: GitOutput): void {
    const words = output.words.trim();
    if (words !== '') this.#notices.push(`git says: ${escapeControls(words.slice(0, WORDS_SHOWN_MAX))}`);
  }

  #full(path: string): string {
    return this.#prefix === '' ? path : `${this.#prefix}/${path}`;
  }

  async #expand(
    git: Git,
    untracked: readonly string[],
    ignored: readonly string[],
    index: GitIndex,
  ): Promise<{
    listing: Omit<RepositoryListing, 'excludes' | 'gitFolder' | 'partOf' | 'filters' | 'notices'>;
    nested: string[];
  }> {
    const nested: string[] = [];
    const collapsed: string[] = [];
    const files: string[] = [];
    const sort = (path: string, folders: string[]): void => {
      if (path === TOP) folders.push('');
      else if (!path.endsWith('/')) files.push(path);
      else if (this.#isRepository(path.slice(0, -1))) nested.push(path.slice(0, -1));
      else folders.push(path.slice(0, -1));
    };
    for (const path of untracked) sort(path, collapsed);
    const tracked = new Set(this.#replaced.length === 0 ? [] : index.files);
    collapsed.push(...this.#replaced.filter((path) => tracked.has(path)));
    if (collapsed.length > 0) for (const path of await this.#inside(git, collapsed)) sort(path, collapsed);
    const { kept, folders } = this.#submodules(index.submodules, nested);
    const ignoredFolders = ignored.filter((path) => path.endsWith('/')).map((path) => path.slice(0, -1));
    const unlisted = new Set(collapsed);
    const skipped = new Set([...ignoredFolders.filter((folder) => !unlisted.has(folder)), ...nested]);
    const empty = emptyFoldersBelow(this.#top, collapsed, { files, skipped });
    const full = (path: string): string => this.#full(path);
    const listing = {
      prefix: this.#prefix,
      tracked: this.#prefix === '' ? index.files : index.files.map(full),
      untracked: files.map(full),
      ignoredFiles: ignored.filter((path) => !path.endsWith('/')).map(full),
      ignoredFolders: [...skipped].filter((folder) => !nested.includes(folder)).map(full),
      emptyFolders: [...empty, ...folders].map(full),
    };
    return { listing, nested: [...kept, ...nested].map(full) };
  }

  #isRepository(path: string): boolean {
    return gitPlacesOf(`${this.#top}/${path}`) !== null;
  }

  /** Files in untracked folders, which the first list only names; also what is a repository within them. */
  async #inside(git: Git, folders: readonly string[]): Promise<string[]> {
    const asPathspecs = folders.map((folder) => (folder === '' ? ':(literal)./' : `:(literal)${folder}/`));
    const fits =
      asPathspecs.join('').length <= PATHSPEC_BYTES_MAX && asPathspecs.every((spec) => /^[\x20-\x7e]+$/.test(spec));
    // Arguments are text, so a folder whose name isn't ASCII is found among all.
    const args = fits ? ['--', ...asPathspecs] : [];
    const listed = await git.run(['ls-files', '-o', '--exclude-standard', '-z', ...args]);
    if (!listed.ok) {
      this.#notices.push(`${this.#name()}: ${listed.error}; new folders are left out`);
      return [];
    }
    const inside = new Set(folders);
    return splitList(listed.value).filter((path) => fits || inside.has('') || isInOneOf(path, inside));
  }

  /** One that isn't checked out is an empty folder. */
  #submodules(paths: readonly string[], others: readonly string[]): { kept: string[]; folders: string[] } {
    const kept: string[] = [];
    const folders: string[] = [];
    for (const path of paths) {
      if (others.includes(path)) continue;
      if (this.#isRepository(path)) kept.push(path);
      else if (lookAt(`${this.#top}/${path}`)?.isDirectory() === true) folders.push(path);
    }
    return { kept, folders };
  }

  /** Where the root is a folder within a work tree: its part of the index. */
  async #trackedByGit(git: Git): Promise<GitIndex> {
    const listed = await git.run(['ls-files', '-s', '-z']);
    if (!listed.ok) {
      this.#notices.push(`${this.#name()}: ${listed.error}; its tracked files are not known`);
      return { bytes: new Uint8Array(0), files: [], submodules: [] };
    }
    const files = new Set<string>();
    const submodules: string[] = [];
    for (const line of splitList(listed.value)) {
      // git-ls-files(1) -s: mode, object, stage, TAB, path.
      const path = line.slice(line.indexOf('\t') + 1);
      if (line.startsWith('160000')) submodules.push(path);
      else files.add(path);
    }
    return { bytes: new Uint8Array(0), files: [...files], submodules };
  }

  #gitFolder(
    places: GitPlaces,
    settings: readonly GitSetting[],
    index: GitIndex,
    userExcludes: string,
  ): RepositoryListing['gitFolder'] {
    const value = (key: string): string | undefined =>
      settings.findLast((setting) => setting.key.toLowerCase() === key)?.value;
    const storage = value('extensions.refstorage');
    if (storage !== undefined && storage !== 'files') {
      this.#notices.push(`${this.#name()}: its refs are kept as ${escapeControls(storage)}; .git stays here`);
      return null;
    }
    if (
      value('extensions.partialclone') !== undefined ||
      settings.some(({ key }) => /^remote\..*\.promisor$/.test(key))
    ) {
      this.#notices.push(`${this.#name()} is a partial clone: objects that are missing here are missing there`);
    }
    return { places, settings, index: index.bytes, userExcludes };
  }

  /** The weaker first: what the user ignores everywhere, then info/exclude, then .gitignore files above the root. */
  #excludes(places: GitPlaces | null, around: Around | null, userExcludes: string): string {
    if (places !== null) return joinTexts([userExcludes, readByteText(below(places.shared, 'info/exclude')) ?? '']);
    if (around === null) return userExcludes;
    const { top, shared, parts } = around;
    const texts = [userExcludes, readByteText(`${shared}/info/exclude`) ?? ''].map((text) =>
      patternsWithin(text, parts),
    );
    for (let depth = 0; depth < parts.length; depth++) {
      const text = readIgnoreFile([top, ...parts.slice(0, depth), '.gitignore'].join('/'));
      texts.push(patternsWithin(text, parts.slice(depth)));
    }
    return joinTexts(texts);
  }

  /** The repository that the root is a folder of. */
  async #around(git: Git): Promise<Around | null> {
    const said = await git.run(['rev-parse', '--show-prefix', '--git-common-dir']);
    if (!said.ok) return null;
    const [inner = '', shared = ''] = said.value.stdout.toString('latin1').split('\n');
    const parts = inner.split('/').filter((part) => part !== '');
    return parts.length === 0 ? null : { top: this.#top.split('/').slice(0, -parts.length).join('/'), shared, parts };
  }

  #walk(places: GitPlaces | null, why: string, index: GitIndex | null): Listed {
    const isAbout = `${this.#name()}: ${why}; its files were listed without git`;
    this.#notices.push(index === null ? `${isAbout}, and .git stays here` : isAbout);
    const settings = parseGitConfig(readByteText(below(places?.shared ?? '', 'config')) ?? '');
    const excludes = places === null ? '' : (readByteText(below(places.shared, 'info/exclude')) ?? '');
    const found = walkRepository(this.#top, excludes, index);
    const full = (path: string): string => this.#full(path);
    return {
      nested: found.nested.map(full),
      listing: {
        prefix: this.#prefix,
        tracked: (index?.files ?? []).map(full),
        untracked: found.untracked.map(full),
        ignoredFiles: found.ignoredFiles.map(full),
        ignoredFolders: found.ignoredFolders.map(full),
        emptyFolders: found.emptyFolders.map(full),
        excludes,
        partOf: null,
        filters: [],
        gitFolder: index === null || places === null ? null : this.#gitFolder(places, settings, index, ''),
        notices: this.#notices,
      },
    };
  }
}

const joinTexts = (texts: readonly string[]): string =>
  texts
    .flatMap((text) => text.split('\n'))
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .join('\n');

const splitList = (output: GitOutput): string[] => {
  const text = output.stdout.toString('latin1');
  return text === '' ? [] : text.slice(0, -1).split('\0');
};

function toolsFor(settings: readonly GitSetting[]): typeof SHA1_TOOLS {
  const format = settings.findLast(({ key }) => key === 'extensions.objectformat')?.value;
  return format?.toLowerCase() === 'sha256' ? SHA256_TOOLS : SHA1_TOOLS;
}

function isInOneOf(path: string, folders: ReadonlySet<string>): boolean {
  for (let slash = path.indexOf('/'); slash !== -1; slash = path.indexOf('/', slash + 1)) {
    if (folders.has(path.slice(0, slash))) return true;
  }
  return false;
}

/** core.excludesFile (git-config(1)), by default `$XDG_CONFIG_HOME/git/ignore`. */
function userExcludesOf(settings: readonly GitSetting[], env: Readonly<Record<string, string>>): string {
  const home = Buffer.from(env['HOME'] ?? '', 'utf8').toString('latin1');
  const named = settings.findLast(({ key }) => key.toLowerCase() === 'core.excludesfile')?.value;
  const folder = env['XDG_CONFIG_HOME'];
  const standard = folder === undefined || folder === '' ? `${home}/.config/git/ignore` : `${folder}/git/ignore`;
  const file = named === undefined ? standard : named.replace(/^~(?=\/)/, home);
  return file.startsWith('/') ? (readByteText(file) ?? '') : '';
}

/** Patterns of a folder above as they read in a folder below it: those that are tied to another folder are left out. */
function patternsWithin(text: string, parts: readonly string[]): string {
  return text
    .split('\n')
    .flatMap((line) => {
      const negative = line.startsWith('!') ? '!' : '';
      const body = line.slice(negative.length);
      const slash = body.indexOf('/');
      if (slash === -1 || slash === body.trimEnd().length - 1 || body.startsWith('**/')) return [line];
      const prefix = `${parts.join('/')}/`;
      const tied = body.replace(/^\//, '');
      return tied.startsWith(prefix) ? [`${negative}/${tied.slice(prefix.length)}`] : [];
    })
    .join('\n');
}
