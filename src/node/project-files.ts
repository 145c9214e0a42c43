import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemCodeOf } from '../base/errors.ts';

/** Bounds on what is read of a project to understand a command: enough for any real one. */
const LEVELS_UP_MAX = 32;
const FILE_BYTES_MAX = 1024 * 1024;
const PIN_FILES = [
  '.nvmrc',
  '.node-version',
  '.tool-versions',
  '.python-version',
  '.java-version',
  'rust-toolchain.toml',
  'rust-toolchain',
] as const;

export interface ProjectFiles {
  /** `scripts` of the nearest package.json at or above cwd. */
  readonly scripts: Readonly<Record<string, string>>;
  /** Version pins found at or above cwd, nearest first. */
  readonly pins: readonly { readonly name: string; readonly text: string }[];
}

/** Reads what placement needs to know of the directory that a command runs in. Unreadable files count as absent. */
export async function readProjectFiles(cwd: string): Promise<ProjectFiles> {
  let scripts: Record<string, string> | null = null;
  const pins = new Map<string, string>();
  let folder = cwd;
  for (let level = 0; level < LEVELS_UP_MAX; level++) {
    const here = folder;
    const [manifest, ...pinTexts] = await Promise.all([
      scripts === null ? readSmall(join(here, 'package.json')) : null,
      ...PIN_FILES.map((name) => (pins.has(name) ? null : readSmall(join(here, name)))),
    ]);
    if (manifest !== null && manifest !== undefined) scripts = scriptsOf(manifest);
    PIN_FILES.forEach((name, index) => {
      const text = pinTexts[index];
      if (text !== null && text !== undefined) pins.set(name, text);
    });
    const above = dirname(folder);
    if (above === folder) break;
    folder = above;
  }
  return { scripts: scripts ?? {}, pins: [...pins].map(([name, text]) => ({ name, text })) };
}

async function readSmall(path: string): Promise<string | null> {
  try {
    const text = await readFile(path, 'utf8');
    return text.length <= FILE_BYTES_MAX ? text : null;
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === '') throw error;
    return null;
  }
}

function scriptsOf(manifest: string): Record<string, string> {
  const scripts: Record<string, string> = {};
  let parsed: unknown;
  try {
    parsed = JSON.parse(manifest);
  } catch (error) {
    if (error instanceof SyntaxError) return scripts;
    throw error;
  }
  if (typeof parsed !== 'object' || parsed === null || !('scripts' in parsed)) return scripts;
  const section = parsed.scripts;
  if (typeof section !== 'object' || section === null) return scripts;
  for (const [name, line] of Object.entries(section)) if (typeof line === 'string') scripts[name] = line;
  return scripts;
}
