import { readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { messageOf, systemCodeOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { runBounded } from './bounded-command.ts';
import { QUIET_ENVIRONMENT, VERSION_QUESTIONS, type VersionQuestion } from './tool-list.ts';

const VERSION_TIMEOUT_MS = 3000;
const VERSION_OUTPUT_BYTES_MAX = 64 * 1024;
const QUESTIONS_AT_ONCE = 2;
const VERSION_CHARS_MAX = 64;

export interface ToolVersions {
  /**
   * Versions of the tools whose compatibility matters; '' where a tool did not say. `onVersion` is told each as it
   * becomes known. Never throws.
   *
   * @returns false where a tool did not answer in time, as on a busy machine: ask again later
   */
  ask(tools: ReadonlyMap<string, string>, onVersion: (name: string, version: string) => void): Promise<boolean>;
  /** Ask all again the next time: a shim (pyenv, rustup) stays the same file when what is behind it changes. */
  forget(): void;
}

export interface ToolVersionsOptions {
  /** The environment of jobs: another PATH may find another tool behind a shim. */
  readonly env: Readonly<Record<string, string>>;
  /** Where the questions are asked: a home and not a project, whose pins would answer for it. */
  readonly cwd: string;
  readonly user: { readonly uid: number; readonly gid: number } | null;
  readonly log: Logger;
  /** For each tool, 3 s if not given; only tests are more patient. */
  readonly timeoutMs?: number;
}

/** Asks tools for their versions, two at a time, each at most 3 s and only when its file has changed. */
export function createToolVersions(options: ToolVersionsOptions): ToolVersions {
  // Bounded by the questions: one entry per name.
  const known = new Map<string, { readonly stamp: string; readonly version: string }>();

  const askOne = async (name: string, path: string, question: VersionQuestion): Promise<string | null> => {
    const stats = await stat(path, { bigint: true });
    const stamp = `${path} ${stats.mtimeNs} ${stats.size} ${stats.ino}`;
    const cached = known.get(name);
    if (cached?.stamp === stamp) return cached.version;
    const version = (await versionByFile(name, path)) ?? (await versionByRunning(path, question, options));
    if (version !== null) known.set(name, { stamp, version });
    return version;
  };

  return {
    forget: () => known.clear(),
    async ask(tools, onVersion): Promise<boolean> {
      let complete = true;
      const waiting = [...VERSION_QUESTIONS].filter(([name]) => tools.has(name));
      const askNext = async (): Promise<void> => {
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
          const [name, question] = next;
          try {
            const version = await askOne(name, tools.get(name) ?? '', question);
            if (version === null) complete = false;
            onVersion(name, version ?? '');
          } catch (error) {
            // Removed while we looked: the next scan drops it.
            options.log.debug('no version of a tool', { tool: name, error: messageOf(error) });
          }
        }
      };
      await Promise.all(Array.from({ length: QUESTIONS_AT_ONCE }, askNext));
      return complete;
    },
  };
}

/** '' where the tool does not say, null where it did not answer in time. */
async function versionByRunning(
  path: string,
  question: VersionQuestion,
  options: ToolVersionsOptions,
): Promise<string | null> {
  const end = await runBounded({
    file: path,
    args: question.args,
    env: { ...options.env, ...QUIET_ENVIRONMENT },
    cwd: options.cwd,
    timeoutMs: options.timeoutMs ?? VERSION_TIMEOUT_MS,
    outputBytesMax: VERSION_OUTPUT_BYTES_MAX,
    user: options.user,
  });
  if (end.kind === 'exited' && end.code === 0) {
    const answers = [end.stdout, end.stderr].map((output) => parseVersion(output.toString('utf8'), question));
    return answers.find((answer) => answer !== null) ?? '';
  }
  options.log.debug('a tool did not tell its version', { tool: path, end: end.kind });
  return end.kind === 'timeout' ? null : '';
}

/** The version in what a tool printed, or null. Java's old `1.8.0_392` is given as what everyone calls it, 8.0.392. */
export function parseVersion(output: string, question: VersionQuestion): string | null {
  const version = question.pattern.exec(output)?.[1];
  return version === undefined ? null : modernJava(version).slice(0, VERSION_CHARS_MAX);
}

function modernJava(version: string): string {
  return version.replace(/^1\.(\d+)\.(\d+)_(\d+)$/, '$1.$2.$3');
}

/** What some tools say of themselves in a file beside them, read instead of running them; null where there is none. */
async function versionByFile(name: string, path: string): Promise<string | null> {
  const real = await realpath(path);
  // …/npm/bin/npm-cli.js, …/typescript/bin/tsc, …/java-17-openjdk-amd64/bin/java
  const root = dirname(dirname(real));
  switch (name) {
    case 'node':
      return real === (await realpath(process.execPath)) ? process.versions.node : null;
    case 'npm':
    case 'npx':
      return packageVersion(root, 'npm');
    case 'tsc':
      return packageVersion(root, 'typescript');
    case 'java':
    case 'javac':
      return javaVersion(root);
    default:
      return null;
  }
}

const packageSchema = z.object({ name: z.string(), version: z.string().min(1).max(VERSION_CHARS_MAX) });

/** npm and tsc take 0.1 to 0.4 s to say what the package.json above them says. */
async function packageVersion(root: string, packageName: string): Promise<string | null> {
  if (basename(root) !== packageName) return null;
  const text = await smallFile(join(root, 'package.json'));
  if (text === null) return null;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
  const parsed = packageSchema.safeParse(json);
  return parsed.success && parsed.data.name === packageName ? parsed.data.version : null;
}

async function javaVersion(root: string): Promise<string | null> {
  const version = /^JAVA_VERSION="([\d._]+)"$/m.exec((await smallFile(join(root, 'release'))) ?? '')?.[1];
  return version === undefined ? null : modernJava(version);
}

const BESIDE_BYTES_MAX = 1024 * 1024;

async function smallFile(path: string): Promise<string | null> {
  try {
    return (await stat(path)).size > BESIDE_BYTES_MAX ? null : await readFile(path, 'utf8');
  } catch (error) {
    // Not laid out so: then the tool itself is asked.
    if (['ENOENT', 'ENOTDIR', 'EACCES', 'EISDIR'].includes(systemCodeOf(error))) return null;
    throw error;
  }
}
