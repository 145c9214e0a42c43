import { isAbsolute } from 'node:path';
import { writeGitConfig, type GitSetting } from '../../core/workspace/git-config.ts';
import { parseTreePath } from '../../wire/tree-path.ts';
import { below, listFolder, listNames, lookAt, lookThrough, readByteText, resolveLinks } from './byte-files.ts';
import type { GitPlaces } from './git-places.ts';
import type { SelectionDraft } from './selection-draft.ts';

const ALTERNATES_DEPTH_MAX = 5;
const REF_DEPTH_MAX = 64;
/** gitrepository-layout(5): refs that each work tree has for itself. */
const OWN_REFS: ReadonlySet<string> = new Set(['bisect', 'worktree', 'rewritten']);
const FAN_OUT = /^[0-9a-f]{2}$/;
const OWN_FILE_MODE = 0o644;
/** gitrepository-layout(5): scripts write into them without making them. What hooks this side has stays here. */
const USUAL_FOLDERS = ['hooks', 'info', 'branches', 'objects/info', 'objects/pack', 'refs/heads', 'refs/tags'] as const;

export interface GitFolderParts {
  readonly places: GitPlaces;
  /** The work tree below the root, '' for the root itself. */
  readonly prefix: string;
  readonly settings: readonly GitSetting[];
  /** As it travels; empty where there is none yet. */
  readonly index: Uint8Array;
  /** What this user ignores everywhere, which is not known there. */
  readonly userExcludes: string;
}

/**
 * Adds a work tree's repository as the files of a plain `.git` folder, also where it is a linked one or a submodule.
 * Which names travel is `parseTreePath`'s rule: never hooks, logs, locks, or what names other places.
 */
export function addGitFolder(draft: SelectionDraft, parts: GitFolderParts): void {
  const folder = new GitFolder(draft, parts);
  folder.addOwnFiles();
  folder.addInfo();
  folder.addRefs();
  folder.addObjects();
  folder.addUsualFolders();
}

class GitFolder {
  readonly #draft: SelectionDraft;
  readonly #parts: GitFolderParts;
  readonly #dotGit: string;
  /** Folders of `.git` that a file of it lies in. */
  readonly #filled = new Set<string>();

  constructor(draft: SelectionDraft, parts: GitFolderParts) {
    this.#draft = draft;
    this.#parts = parts;
    this.#dotGit = below(parts.prefix, '.git');
  }

  addOwnFiles(): void {
    const { own, shared } = this.#parts.places;
    for (const { name, kind } of listFolder(own) ?? []) {
      if (name === 'index' || name === 'config' || name === 'packed-refs' || name === 'shallow') continue;
      if (kind === 'file') this.#add(name, below(own, name));
      else if (kind === 'link' && name === 'HEAD') this.#addLinkedHead(below(own, name));
    }
    for (const name of ['packed-refs', 'shallow']) {
      if (lookThrough(below(shared, name))?.isFile() === true) this.#add(name, below(shared, name));
    }
    this.#addVirtual('config', Buffer.from(writeGitConfig(this.#parts.settings), 'latin1'));
    if (this.#parts.index.length > 0) this.#addVirtual('index', this.#parts.index);
  }

  addInfo(): void {
    const { own, shared } = this.#parts.places;
    const info = below(shared, 'info');
    const exclude = readByteText(below(info, 'exclude'));
    if (this.#parts.userExcludes !== '') {
      this.#addVirtual('info/exclude', Buffer.from(`${this.#parts.userExcludes}\n${exclude ?? ''}`, 'latin1'));
    } else if (exclude !== null) this.#add('info/exclude', below(info, 'exclude'));
    for (const [from, name] of [
      [info, 'attributes'],
      [below(own, 'info'), 'sparse-checkout'],
    ] as const) {
      if (lookThrough(below(from, name))?.isFile() === true) this.#add(`info/${name}`, below(from, name));
    }
  }

  addRefs(): void {
    const { own, shared } = this.#parts.places;
    this.#addRefsBelow('refs', shared, own === shared ? null : (name) => !OWN_REFS.has(name), 0);
    if (own !== shared) this.#addRefsBelow('refs', own, (name) => OWN_REFS.has(name), 0);
  }

  #addRefsBelow(folder: string, base: string, wanted: ((name: string) => boolean) | null, depth: number): void {
    if (depth > REF_DEPTH_MAX) return;
    for (const { name, kind } of listFolder(below(base, folder)) ?? []) {
      if (wanted?.(name) === false) continue;
      const path = below(folder, name);
      if (kind === 'folder') this.#addRefsBelow(path, base, null, depth + 1);
      else if (kind === 'file') this.#add(path, below(base, path));
    }
  }

  addObjects(): void {
    const objects = below(this.#parts.places.shared, 'objects');
    const seen = new Set<string>();
    this.#addObjectsOf(objects, false, seen);
    for (const other of alternatesOf(objects, 0)) this.#addObjectsOf(other, true, seen);
  }

  /** Those that are there and that nothing fills. */
  addUsualFolders(): void {
    for (const folder of USUAL_FOLDERS) {
      if (lookAt(below(this.#parts.places.shared, folder))?.isDirectory() === true) this.#addEmpty(folder);
    }
    // Without these git takes it for no repository at all.
    this.#addEmpty('objects');
    this.#addEmpty('refs');
  }

  #addEmpty(folder: string): void {
    if (this.#filled.has(folder)) return;
    this.#draft.addFolder(below(this.#dotGit, folder));
    this.#fill(folder);
  }

  /** @param isOther of another repository: what it says of all of its objects (info/) is not true of these */
  #addObjectsOf(objects: string, isOther: boolean, seen: Set<string>): void {
    const add = (folder: string, name: string): void => {
      const path = `objects/${folder}/${name}`;
      if (seen.has(path)) return;
      seen.add(path);
      this.#add(path, `${objects}/${folder}/${name}`);
    };
    for (const { name: folder, kind } of listFolder(objects) ?? []) {
      if (kind !== 'folder') continue;
      if (FAN_OUT.test(folder)) for (const name of listNames(below(objects, folder))) add(folder, name);
      if (folder === 'pack') {
        for (const name of listNames(below(objects, folder))) {
          if (!isOther || !name.startsWith('multi-pack-index')) add(folder, name);
        }
      }
      if (folder !== 'info' || isOther) continue;
      for (const name of listNames(below(objects, folder))) if (name !== 'commit-graphs') add(folder, name);
      for (const name of listNames(below(objects, 'info/commit-graphs'))) add('info/commit-graphs', name);
    }
  }

  #addLinkedHead(head: string): void {
    // Before symbolic refs were files, HEAD was a link to one.
    const real = resolveLinks(head);
    const shared = `${this.#parts.places.shared}/`;
    if (real === null || !real.startsWith(`${shared}refs/`)) return;
    this.#addVirtual('HEAD', Buffer.from(`ref: ${real.slice(shared.length)}\n`, 'latin1'));
  }

  #add(inside: string, absolute: string): void {
    const path = parseTreePath(`${this.#dotGit}/${inside}`);
    if (!path.ok) return;
    this.#draft.addPlaced(path.value, absolute);
    this.#fill(inside);
  }

  #addVirtual(inside: string, content: Uint8Array): void {
    const path = parseTreePath(`${this.#dotGit}/${inside}`);
    if (!path.ok) return;
    this.#draft.virtual.push({ path: path.value, content, mode: OWN_FILE_MODE });
    this.#fill(inside);
  }

  #fill(inside: string): void {
    for (let at = inside.lastIndexOf('/'); at > 0; at = inside.lastIndexOf('/', at - 1)) {
      this.#filled.add(inside.slice(0, at));
    }
  }
}

/** The object folders that a repository borrows from (`git clone --reference`, `--shared`), and those of these. */
function alternatesOf(objects: string, depth: number): string[] {
  const text = readByteText(below(objects, 'info/alternates'));
  if (text === null || depth >= ALTERNATES_DEPTH_MAX) return [];
  return text.split('\n').flatMap((line) => {
    if (line === '' || line.startsWith('#')) return [];
    const folder = resolveLinks(isAbsolute(line) ? line : below(objects, line));
    if (folder === null || lookAt(folder)?.isDirectory() !== true) return [];
    return [folder, ...alternatesOf(folder, depth + 1)];
  });
}
