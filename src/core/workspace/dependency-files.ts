import { folderOf } from '../../wire/tree-path.ts';

/**
 * Which ignored folders of a project hold dependencies, to be made at the executor instead of sent, and which files say
 * how. Paths are relative to the root, bytes as in TreePath.
 */
const FOLDERS: ReadonlySet<string> = new Set(['node_modules', '.venv', 'venv', 'target', 'vendor', 'bower_components']);
/** Of two parts. */
const LONG_FOLDERS: ReadonlySet<string> = new Set(['vendor/bundle', '.yarn/cache', '.yarn/unplugged']);

/** What decides how dependencies are made, or what is made: lockfiles, what they lock, and settings of package managers. */
const FILES: ReadonlySet<string> = new Set(
  `package.json package-lock.json npm-shrinkwrap.json .npmrc pnpm-lock.yaml pnpm-workspace.yaml yarn.lock .yarnrc .yarnrc.yml
  bun.lock bun.lockb bunfig.toml uv.lock pyproject.toml poetry.lock poetry.toml Pipfile Pipfile.lock .python-version
  setup.py setup.cfg
  uv.toml .pnpmfile.cjs .ruby-version composer.json composer.lock Gemfile Gemfile.lock go.mod go.sum Cargo.toml Cargo.lock`.split(
    /\s+/,
  ),
);
const REQUIREMENTS = /^(?:[\w.-]+[-_])?(?:requirements|constraints)(?:[-_][\w.-]+)?\.(?:txt|in)$/;

/** The last part of a path. */
export const baseOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
export const under = (folder: string, name: string): string => (folder === '' ? name : `${folder}/${name}`);

/** For `Scan.dependencies`: is an ignored folder of that path one of dependencies? What lies below one is not looked at. */
export function isDependencyFolder(path: string): boolean {
  return FOLDERS.has(baseOf(path)) || LONG_FOLDERS.has(under(baseOf(folderOf(path)), baseOf(path)));
}

/** For `Scan.lockfiles`: does a file that is sent have a say in how dependencies are made? */
export function isDependencyFile(path: string): boolean {
  const name = baseOf(path);
  return FILES.has(name) || REQUIREMENTS.test(name);
}
