import { isAbsolute, resolve } from 'node:path';
import { Option, type Command as Program } from 'commander';
import { MeshError } from '../../base/errors.ts';
import { ARCH_ALIASES, OS_ALIASES } from '../../base/platform-alias.ts';
import { inheritedVariables, variableNameFault } from '../../base/submitter-env.ts';
import { parseDuration, parseSize } from '../../base/units.ts';
import type { Command, JobSpec, Requirements, Target } from '../../node/api-types.ts';
import { currentFolder } from '../../node/api-current-folder.ts';
import { addSyncOptions, syncSpecOf, type SyncOptions } from './sync-options.ts';

/** What commander collects for `run`, `map` and `explain`. */
export interface JobOptions extends SyncOptions {
  readonly on?: string;
  readonly os?: string;
  readonly arch?: string;
  readonly need?: readonly string[];
  readonly cpus?: string;
  readonly mem?: string;
  readonly timeout?: string;
  readonly env?: readonly string[];
  readonly cwd?: string;
  readonly local?: boolean;
  readonly retry?: string;
  readonly idempotent?: boolean;
  readonly priority?: string;
  /** Of `run` alone, as those below. */
  readonly background?: boolean;
  readonly merge?: boolean;
  readonly tty?: boolean;
}

/** Options that the contract promises for later: named, so that they are refused and never ignored. */
const LATER = ['--trace'] as const;

const RETRIES_MAX = 10;
const PRIORITY_MAX = 100;

const collect = (value: string, previous: readonly string[] | undefined): readonly string[] => [
  ...(previous ?? []),
  value,
];

/** Adds the options that `run`, `map` and `explain` share. */
export function addJobOptions(program: Program, kind: 'run' | 'map'): Program {
  program
    .option('--on <node>', 'run on this node: its name, or the start of its id')
    .option('--os <os>', 'linux, darwin (macos), windows or any; default: like this machine')
    .option('--arch <arch>', 'x64 (x86_64, amd64), arm64 (aarch64) or any; default: like this machine')
    .option('--need <capability>', 'tool:NAME, gpu or label:KEY=VALUE; may be repeated', collect)
    .option('--cpus <n>', 'cores it needs: reserved on its node while it runs')
    .option('--mem <size>', 'memory it needs, such as 512M or 2G: reserved on its node while it runs')
    .option('--timeout <duration>', 'end the command after this long (of the execution alone), such as 90s or 1h30m')
    .option('--env <name[=value]>', 'pass a variable on; without a value, the one set here; may be repeated', collect)
    .option('--cwd <dir>', 'directory to run in; default: the current one')
    .option('--local', 'run on this machine')
    .option(
      '--retry <n>',
      `run it again elsewhere, up to n times (${RETRIES_MAX}), also where nobody knows how it ended: only for what is safe to repeat`,
    )
    .option('--idempotent', 'it may run twice at once: allows `map` a second copy of a job that holds up the end')
    .option('--priority <n>', `-${PRIORITY_MAX} to ${PRIORITY_MAX}: a higher one leaves the queue first; default: 0`);
  addSyncOptions(program);
  if (kind === 'run') {
    program
      .option(
        '--background',
        'print the job id and leave; the job goes on with an empty stdin (see `jobs`, `logs`, `wait`)',
      )
      .option('--merge', 'one stream for stdout and stderr, in the order written')
      .option('--tty', 'give it a terminal: for editors, pagers, prompts; Ctrl-C goes to the command');
  }
  for (const flags of LATER) {
    const option = new Option(flags).hideHelp();
    const name = flags.split(' ')[0] ?? flags;
    option.argParser(() => {
      throw laterStage(name);
    });
    // commander calls no parser for a flag without a value: its event is what is heard.
    program.addOption(option);
    program.on(`option:${name.slice(2)}`, () => {
      throw laterStage(name);
    });
  }
  return program;
}

export const laterStage = (what: string): MeshError =>
  new MeshError('later_stage', `${what} comes in a later release of meshwork; nothing was run`);

const badArgument = (message: string): MeshError => new MeshError('bad_argument', `${message}; nothing was run`);

/**
 * Turns options and words into a job.
 *
 * @param words what stood after `--`: one is a shell line, several are an argv that no shell sees
 * @throws MeshError `bad_argument`, `bad_command`
 */
export function jobSpecOf(words: readonly string[], options: JobOptions, stdin: boolean): JobSpec {
  const command = commandOf(words, options);
  const cwd = directoryOf(options.cwd);
  return {
    command,
    cwd,
    env: environmentOf(options.env ?? []),
    umask: process.umask(),
    requires: requirementsOf(options),
    target: targetOf(options),
    timeout_ms: options.timeout === undefined ? null : durationOf(options.timeout),
    stdin,
    merge: options.merge === true,
    terminal: null,
    durable: options.background === true,
    retries: wholeNumber('--retry', options.retry, 0, RETRIES_MAX),
    idempotent: options.idempotent === true,
    priority: wholeNumber('--priority', options.priority, -PRIORITY_MAX, PRIORITY_MAX),
    // All that one shell or script submits takes its turn together.
    submitter: `cli:${process.ppid}`,
    sync: syncSpecOf(options, cwd, options.local === true),
    avoid: [],
  };
}

function wholeNumber(flag: string, text: string | undefined, least: number, most: number): number {
  if (text === undefined) return 0;
  const number = Number(text);
  if (/^[+-]?\d+$/.test(text) && number >= least && number <= most) return number;
  throw badArgument(`${flag} ${text}: give a whole number from ${least} to ${most}`);
}

function directoryOf(given: string | undefined): string {
  if (given === '') throw badArgument('--cwd is empty: give a directory');
  if (given === undefined) return currentFolder();
  return isAbsolute(given) ? resolve(given) : resolve(currentFolder(), given);
}

function commandOf(words: readonly string[], { out, include, exclude }: JobOptions): Command {
  const [first, ...rest] = words;
  if (first === undefined) {
    const takesAll = (out ?? include ?? exclude) !== undefined;
    const why = takesAll ? ' (--out, --include and --exclude take all words before it)' : '';
    throw new MeshError('bad_command', `no command was given after \`--\`${why}; nothing was run`);
  }
  if (rest.length === 0 && first.trim() === '')
    throw new MeshError('bad_command', 'the command is empty; nothing was run');
  return rest.length === 0 ? { kind: 'line', line: first } : { kind: 'argv', argv: [first, ...rest] };
}

function targetOf(options: JobOptions): Target {
  if (options.local === true && options.on !== undefined) throw badArgument('--local and --on exclude each other');
  if (options.local === true) return { kind: 'local' };
  if (options.on === '') throw badArgument('--on is empty: give the name of a node, or the start of its id');
  return options.on === undefined ? { kind: 'any' } : { kind: 'node', node: options.on };
}

function requirementsOf(options: JobOptions): Requirements {
  const os = lookUp(OS_ALIASES, options.os, '--os', 'linux, darwin, windows or any');
  const arch = lookUp(ARCH_ALIASES, options.arch, '--arch', 'x64, arm64 or any');
  const cpus = options.cpus === undefined ? null : Number(options.cpus);
  if (cpus !== null && !(Number.isFinite(cpus) && cpus > 0))
    throw badArgument(`--cpus ${options.cpus} is not a number above 0`);
  const capabilities = options.need ?? [];
  if (capabilities.includes('')) throw badArgument('--need is empty: give tool:NAME, gpu or label:KEY=VALUE');
  let memoryBytes: number | null = null;
  if (options.mem !== undefined) {
    const size = parseSize(options.mem);
    if (!size.ok) throw badArgument(`--mem: ${size.error}`);
    memoryBytes = size.value;
  }
  return { os, arch, capabilities: [...capabilities], cpus, memory_bytes: memoryBytes };
}

function lookUp<T>(
  aliases: Readonly<Record<string, T>>,
  text: string | undefined,
  flag: string,
  known: string,
): T | null {
  if (text === undefined) return null;
  const value = Object.hasOwn(aliases, text.toLowerCase()) ? aliases[text.toLowerCase()] : undefined;
  if (value === undefined) throw badArgument(`${flag} ${text}: give ${known}`);
  return value;
}

function durationOf(text: string): number {
  const duration = parseDuration(text);
  if (!duration.ok) throw badArgument(`--timeout: ${duration.error}`);
  return duration.value;
}

/** What the contract passes on from the submitter, and what `--env` names. */
export function environmentOf(named: readonly string[]): Record<string, string> {
  const env = inheritedVariables(process.env);
  for (const item of named) {
    const equals = item.indexOf('=');
    const name = equals < 0 ? item : item.slice(0, equals);
    const fault = variableNameFault(name);
    if (fault !== null) throw badArgument(`--env ${item}: ${fault}`);
    const value = equals < 0 ? process.env[name] : item.slice(equals + 1);
    if (value === undefined) throw badArgument(`--env ${name}: it is not set here; give ${name}=VALUE`);
    env[name] = value;
  }
  return env;
}
