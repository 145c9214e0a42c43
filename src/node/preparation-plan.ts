import { closeSync, constants, existsSync, openSync, readSync } from 'node:fs';
import { Buffer } from 'node:buffer';
import { bytesOfText } from '../base/byte-text.ts';
import { systemCodeOf } from '../base/errors.ts';
import { ok, type Result } from '../base/result.ts';
import { folderOf } from '../wire/tree-path.ts';
import { baseOf, under } from '../core/workspace/dependency-files.ts';
import { JS_LOCKS, type JsManager } from '../core/workspace/package-recipes.ts';
import { type PrepareRefusal, prepareSteps, withoutOwnInstall } from '../core/workspace/prepare-recipes.ts';
import type { Scan } from '../ports/workspace.ts';
import type { Command } from '../wire/job-spec.ts';
import type { PrepareStep } from '../wire/workspace.ts';
import type { ProjectSettings } from './project-settings.ts';

/** The header of a yarn.lock is in its first lines. */
const HEADER_BYTES_MAX = 512;
/** Folders of lockfiles that are looked into; of others the lockfile alone tells. */
const MARKED_FOLDERS_MAX = 256;

/** What a package manager leaves in the node_modules that it filled. */
const MARKS: readonly (readonly [string, JsManager])[] = [
  ['.yarn-state.yml', 'berry'],
  ['.yarn-integrity', 'yarn'],
  ['.modules.yaml', 'pnpm'],
  ['.package-lock.json', 'npm'],
];

/**
 * At the origin: what an executor is to run before the command, by what this side has.
 *
 * @param root absolute
 * @param folder the command's directory relative to the root, bytes as in TreePath
 */
export function planPreparation(
  root: string,
  scan: Pick<Scan, 'dependencies' | 'lockfiles'>,
  settings: Pick<ProjectSettings, 'prepare'>,
  command: Command,
  folder: string,
): Result<readonly PrepareStep[], PrepareRefusal> {
  const { run, inputs, makes } = settings.prepare;
  const files = scan.lockfiles.map(bytesOfText);
  const folders = scan.dependencies.map((dependency) => bytesOfText(dependency.folder));
  const facts = { folders, files, managers: managersOf(root, files) };
  const steps = prepareSteps(facts, { run, inputs: inputs.map(bytesOfText), makes: makes.map(bytesOfText) });
  return steps.ok ? ok(withoutOwnInstall(steps.value, command, folder)) : steps;
}

function managersOf(root: string, files: readonly string[]): ReadonlyMap<string, JsManager> {
  const managers = new Map<string, JsManager>();
  const locks = files.filter((file) => JS_LOCKS.includes(baseOf(file)));
  for (const folder of [...new Set(locks.map(folderOf))].slice(0, MARKED_FOLDERS_MAX)) {
    const at = (name: string): Buffer => pathOf(root, under(folder, name));
    const mark = MARKS.find(([name]) => existsSync(at(`node_modules/${name}`)))?.[1];
    // The header tells the versions of yarn apart, not whether it is yarn that is used.
    const isYarn = locks.filter((lock) => folderOf(lock) === folder).every((lock) => baseOf(lock) === 'yarn.lock');
    const manager = mark ?? (isYarn ? yarnOf(at('yarn.lock')) : null);
    if (manager !== null) managers.set(folder, manager);
  }
  return managers;
}

const pathOf = (root: string, path: string): Buffer =>
  Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, 'latin1')]);

function yarnOf(path: Buffer): JsManager | null {
  const header = Buffer.alloc(HEADER_BYTES_MAX);
  try {
    // Not blocking: a FIFO that took the place of a tracked file would hold the daemon up for ever.
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const text = header.toString('latin1', 0, readSync(fd, header, 0, HEADER_BYTES_MAX, 0));
      return text.includes('__metadata:') ? 'berry' : text.includes('yarn lockfile v1') ? 'yarn' : null;
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    // It was there when the project was scanned: whoever sends it says that it is gone.
    if (systemCodeOf(error) === '') throw error;
    return null;
  }
}
