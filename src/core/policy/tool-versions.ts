import { lookup } from './command-pattern.ts';

/**
 * When versions of a tool on two nodes count as the same (INTERFACE "same platform"), and which versions a project asks
 * for. Versions are what the tools print: `20.11.1`, `v20.11.1`, `1.79.0-nightly`, `17.0.9+9`, `1.8.0_392`.
 */

/** Tools of which only the major version counts: their minor releases are compatible by promise. */
const MAJOR_ONLY = new Set(['node', 'nodejs', 'npm', 'npx', 'corepack', 'java', 'javac', 'jar']);
const JAVA = new Set(['java', 'javac', 'jar']);

/** The numbers of a version, `1.8.0_392` of Java being 8.0.392; null where the text holds none. */
function versionNumbers(tool: string, version: string): readonly number[] | null {
  const match = /\d+(?:[._]\d+)*/.exec(version);
  if (match === null) return null;
  const numbers = match[0].split(/[._]/).map(Number);
  return JAVA.has(tool) && numbers[0] === 1 && numbers.length > 1 ? numbers.slice(1) : numbers;
}

/**
 * True where a command that uses `tool` may be expected to behave the same with both versions: same major.minor, for
 * Node.js and Java same major. An unknown version ('') is compatible with any, since it says nothing.
 */
export function compatible(tool: string, here: string, there: string): boolean {
  const a = versionNumbers(tool, here);
  const b = versionNumbers(tool, there);
  if (a === null || b === null) return here === '' || there === '' || here === there;
  if (a[0] !== b[0]) return false;
  return MAJOR_ONLY.has(tool) || a.length < 2 || b.length < 2 || a[1] === b[1];
}

/** A file of the project's root, by name. */
export interface PinFile {
  readonly name: string;
  readonly text: string;
}

/** The files that `projectPins` reads, for whoever gathers them. The first that pins a tool wins. */
export const PIN_FILES = [
  '.nvmrc',
  '.node-version',
  'rust-toolchain.toml',
  'rust-toolchain',
  '.python-version',
  '.java-version',
  '.ruby-version',
  '.go-version',
  '.tool-versions',
] as const;

export const PIN_FILE_CHARS_MAX = 65_536;
const PINS_MAX = 64;

/** What asdf and mise call a tool, as the executable that `tools` lists. */
const ASDF_NAMES: ReadonlyMap<string, string> = lookup({
  nodejs: 'node',
  golang: 'go',
  rust: 'rustc',
  openjdk: 'java',
});

/** The tools that one pin of Rust's toolchain holds for. */
const RUST_TOOLS = ['rustc', 'cargo'];

/**
 * The versions a project pins, as prefixes by tool: `{node: '20.11', rustc: '1.79.0', cargo: '1.79.0'}`. Names without a
 * number (`lts/iron` apart, which is Node.js 20, but `system`, `stable`, `nightly`) pin nothing. `engines` of
 * package.json is not read: it is a range of what the package supports, not what the project is built with.
 */
export function projectPins(files: readonly PinFile[]): Record<string, string> {
  const pins = new Map<string, string>();
  const pin = (tool: string, version: string | null): void => {
    if (version !== null && !pins.has(tool) && pins.size < PINS_MAX) pins.set(tool, version);
  };
  for (const name of PIN_FILES) {
    const text = files.find((file) => file.name === name)?.text.slice(0, PIN_FILE_CHARS_MAX);
    if (text === undefined) continue;
    for (const [tool, version] of pinsOf(name, text)) pin(tool, version);
  }
  return Object.fromEntries(pins);
}

function pinsOf(name: (typeof PIN_FILES)[number], text: string): (readonly [string, string | null])[] {
  switch (name) {
    case '.nvmrc':
    case '.node-version':
      return [['node', nodePrefix(firstLine(text))]];
    case 'rust-toolchain.toml':
      return rustPins(/^\s*channel\s*=\s*["']([^"']*)["']/m.exec(text)?.[1] ?? '');
    case 'rust-toolchain':
      return rustPins(/^\s*channel\s*=\s*["']([^"']*)["']/m.exec(text)?.[1] ?? firstLine(text));
    case '.python-version':
      return pythonPins(firstLine(text));
    case '.java-version':
      return [['java', javaPrefix(firstLine(text))]];
    case '.ruby-version':
      return [['ruby', prefix(firstLine(text).replace(/^ruby-/, ''))]];
    case '.go-version':
      return [['go', prefix(firstLine(text))]];
    case '.tool-versions':
      return text.split('\n').flatMap(asdfPins);
  }
}

/** `nodejs 20.11.1 18.0.0`: the first version counts, the others are fallbacks. */
function asdfPins(line: string): (readonly [string, string | null])[] {
  const [plugin = '', version = ''] = line.replace(/#.*/, '').trim().split(/\s+/);
  if (plugin === '' || version === '') return [];
  const tool = ASDF_NAMES.get(plugin) ?? plugin;
  if (tool === 'node') return [['node', nodePrefix(version)]];
  if (tool === 'java') return [['java', javaPrefix(version)]];
  if (tool === 'python') return pythonPins(version);
  return tool === 'rustc' ? rustPins(version) : [[tool, prefix(version)]];
}

const firstLine = (text: string): string =>
  text
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim())
    .find((line) => line !== '') ?? '';

/** The numbers that a version begins with, an `x` or `*` ending them; null where it begins with none. */
function prefix(version: string): string | null {
  return /^v?(\d+(?:\.\d+)*)/.exec(version)?.[1] ?? null;
}

/** Names of Node.js long-term releases: nodejs.org/en/about/previous-releases. */
const NODE_LTS: ReadonlyMap<string, string> = lookup({
  argon: '4',
  boron: '6',
  carbon: '8',
  dubnium: '10',
  erbium: '12',
  fermium: '14',
  gallium: '16',
  hydrogen: '18',
  iron: '20',
  jod: '22',
  krypton: '24',
});

function nodePrefix(version: string): string | null {
  const lts = /^lts\/(\w+)$/.exec(version)?.[1];
  return lts === undefined ? prefix(version.replace(/^node\//, '')) : (NODE_LTS.get(lts.toLowerCase()) ?? null);
}

/** `temurin-17.0.9+9`, `17`, `1.8`. */
function javaPrefix(version: string): string | null {
  const numbers = versionNumbers('java', version.replace(/^[a-z][a-z-]*-(?=\d)/i, ''));
  return numbers === null ? null : numbers.join('.');
}

function rustPins(channel: string): (readonly [string, string | null])[] {
  return RUST_TOOLS.map((tool) => [tool, prefix(channel)]);
}

function pythonPins(version: string): (readonly [string, string | null])[] {
  const found = prefix(version);
  return [
    ['python', found],
    ['python3', found],
  ];
}

/**
 * True where `version` is one that the pin allows: every number of the pin is the version's, so `20` allows 20.11.1 and
 * `20.11` does not allow 20.12.0. An unknown version ('') satisfies, since it says nothing.
 *
 * @param tool whose version it is: Java's 1.8 is 8
 */
export function pinSatisfied(pin: string, version: string, tool = ''): boolean {
  const wanted = versionNumbers(tool, pin);
  const found = versionNumbers(tool, version);
  if (wanted === null || found === null) return true;
  return wanted.every((number, i) => found[i] === undefined || found[i] === number);
}
