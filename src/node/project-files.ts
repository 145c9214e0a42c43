import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { systemCodeOf } from '../base/errors.ts';
import { PIN_FILE_CHARS_MAX, PIN_FILES, type PinFile } from '../core/policy/tool-versions.ts';

/** Bounds on what is read of a project to understand a command: enough for any real one. */
const LEVELS_UP_MAX = 32;
const MANIFEST_BYTES_MAX = 1024 * 1024;
/** O_NONBLOCK: a FIFO of that name would hold its reader for ever. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK;

/** Script name → line, of the nearest package.json at or above `folder`. */
export async function readScripts(folder: string): Promise<Readonly<Record<string, string>>> {
  for (const here of upwards(folder)) {
    const manifest = await readSmall(join(here, 'package.json'), MANIFEST_BYTES_MAX);
    if (manifest !== null) return scriptsOf(manifest);
  }
  return {};
}

/** The files that pin versions of tools at or above `folder`; of several with one name the nearest. */
export async function readPins(folder: string): Promise<PinFile[]> {
  const found = new Map<string, string>();
  for (const here of upwards(folder)) {
    const wanted = PIN_FILES.filter((name) => !found.has(name));
    const texts = await Promise.all(wanted.map((name) => readSmall(join(here, name), PIN_FILE_CHARS_MAX)));
    wanted.forEach((name, index) => {
      const text = texts[index];
      if (text !== null && text !== undefined) found.set(name, text);
    });
  }
  return [...found].map(([name, text]) => ({ name, text }));
}

/** Where a line's `cd` leads, as a shell would read it: absolute, relative to `cwd`, or from `~`. */
export function directoryFrom(cwd: string, named: string): string {
  if (named === '~' || named.startsWith('~/')) return join(homedir(), named.slice(1));
  return isAbsolute(named) ? named : resolve(cwd, named);
}

function upwards(folder: string): string[] {
  const folders = [folder];
  for (let here = folder; folders.length < LEVELS_UP_MAX;) {
    const above = dirname(here);
    if (above === here) break;
    folders.push(above);
    here = above;
  }
  return folders;
}

/** Null where there is no such file, it cannot be read, or it is too large to be what its name says. */
async function readSmall(path: string, bytesMax: number): Promise<string | null> {
  try {
    const file = await open(path, READ_FLAGS);
    try {
      const stats = await file.stat();
      return stats.isFile() && stats.size <= bytesMax ? await file.readFile('utf8') : null;
    } finally {
      await file.close();
    }
  } catch (error) {
    if (systemCodeOf(error) === '') throw error;
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
