// Several nodes on this machine, each with a MESHWORK_HOME of its own below one temporary folder, linked over loopback.
// Used by the demo and the bench. Whatever happens, `remove` ends every process that belongs to the folder, by pid.
import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const CLI_PATH = fileURLToPath(new URL('../dist/cli.js', import.meta.url));
export const CHECKOUT = realpathSync(fileURLToPath(new URL('..', import.meta.url)));

const COMMAND_TIMEOUT_MS = 60_000;
const COMMAND_OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
const LINK_TIMEOUT_MS = 15_000;
/** What the product promises for a job's tree: TERM, 5 s, KILL, and something to spare. */
const PROCESSES_GONE_TIMEOUT_MS = 7000;
const POLL_MS = 50;

/** This process's environment without anything of a node that the user may have. */
export function plainEnvironment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('MESHWORK_')));
}

/** Runs a program to its end. @returns {Promise<{code: number, stdout: string, stderr: string}>} */
export function runProgram(file, args, options = {}) {
  return new Promise((resolve, reject) => {
    const limits = { timeout: COMMAND_TIMEOUT_MS, maxBuffer: COMMAND_OUTPUT_BYTES_MAX };
    execFile(file, args, { ...limits, ...options }, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== 'number') reject(error);
      else resolve({ code: error === null ? 0 : error.code, stdout, stderr });
    });
  });
}

const SIGNAL_EXIT_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };
/** As a shell shows SIGPIPE. */
const READER_GONE_EXIT_CODE = 141;

/**
 * Cleans up and exits when a signal comes, or when the reader of the output goes away (`scripts/demo | head`).
 *
 * @param cleanUp returns what went wrong
 * @returns a function that says whether that is under way: then nothing else should be said or done
 */
export function leaveCleanly(cleanUp) {
  let leaving = false;
  const leave = async (code) => {
    if (leaving) return;
    leaving = true;
    try {
      for (const problem of await cleanUp()) console.error(problem);
      process.exit(code);
    } catch (error) {
      console.error(error.message);
      process.exit(1);
    }
  };
  for (const [name, code] of Object.entries(SIGNAL_EXIT_CODES)) process.on(name, () => void leave(code));
  process.stdout.on('error', () => void leave(READER_GONE_EXIT_CODE));
  process.stderr.on('error', () => void leave(READER_GONE_EXIT_CODE));
  return () => leaving;
}

export class LoopbackMesh {
  #starting = Promise.resolve();
  #removing = false;

  constructor(prefix) {
    this.folder = realpathSync(mkdtempSync(join(tmpdir(), prefix)));
    this.homes = new Map();
  }

  /** Environment that makes a program talk to that node. */
  environmentOf(name) {
    return { ...plainEnvironment(), MESHWORK_HOME: this.homes.get(name) };
  }

  /** Runs `meshwork …` at that node. */
  cli(name, ...args) {
    return runProgram(process.execPath, [CLI_PATH, ...args], { env: this.environmentOf(name) });
  }

  async cliOrFail(name, ...args) {
    const result = await this.cli(name, ...args);
    if (result.code !== 0) {
      throw new Error(`meshwork ${args[0]} at ${name} ended with ${result.code}: ${result.stderr || result.stdout}`);
    }
    return result.stdout;
  }

  /**
   * Starts one node.
   *
   * @param facts what it says of itself (MESHWORK_FACTS_FILE), or null for what it measures
   * @param config text of its config.toml
   * @param environment what its daemon has besides this process's environment
   * @param mdns whether it looks for others, and shows itself, on the local network
   */
  start(name, options) {
    const done = this.#start(name, options);
    this.#starting = done.catch(() => undefined);
    return done;
  }

  async #start(name, { facts = null, config = '', mdns = false, environment = {} } = {}) {
    if (this.#removing) throw new Error('the mesh is being removed');
    const home = join(this.folder, name);
    mkdirSync(home, { mode: 0o700 });
    if (config !== '') writeFileSync(join(home, 'config.toml'), config);
    this.homes.set(name, home);
    const env = { ...this.environmentOf(name), ...environment };
    if (facts !== null) {
      env.MESHWORK_FACTS_FILE = join(this.folder, `${name}.facts.json`);
      writeFileSync(env.MESHWORK_FACTS_FILE, JSON.stringify(facts));
    }
    const words = [CLI_PATH, 'up', '--name', name, '--listen', '127.0.0.1:0', ...(mdns ? [] : ['--no-mdns'])];
    const result = await runProgram(process.execPath, words, { env });
    if (result.code !== 0) throw new Error(`meshwork up of ${name} ended with ${result.code}: ${result.stderr}`);
    return result.stdout.trim();
  }

  /** Pairs `newcomer` with the mesh of `inviter` by a one-use token. @returns what `join` said */
  async pair(inviter, newcomer) {
    const token = (await this.cliOrFail(inviter, 'invite')).trim();
    return (await this.cliOrFail(newcomer, 'join', token)).trim();
  }

  /** The status object of a node. */
  async status(name) {
    return JSON.parse(await this.cliOrFail(name, 'status', '--json'));
  }

  /** Waits until every node sees every other one alive, linked and measured. */
  async linked() {
    const deadline = performance.now() + LINK_TIMEOUT_MS;
    for (;;) {
      const all = await Promise.all([...this.homes.keys()].map((name) => this.status(name)));
      const ready = all.every(
        ({ nodes }) =>
          nodes.length === this.homes.size &&
          nodes.every((node) => node.state === 'alive' && node.reachable && node.cpu_percent !== null),
      );
      if (ready) return;
      if (performance.now() > deadline) throw new Error(`the nodes did not link within ${LINK_TIMEOUT_MS / 1000} s`);
      await delay(POLL_MS);
    }
  }

  /**
   * Ends the daemons and removes the folder.
   *
   * @returns {Promise<string[]>} what had to be ended by force or could not be removed: empty when all went well
   */
  async remove() {
    this.#removing = true;
    await this.#starting;
    const problems = [];
    await Promise.all(
      [...this.homes.keys()].map(async (name) => {
        const result = await this.cli(name, 'down', '--json').catch((error) => ({ code: 1, stderr: error.message }));
        if (result.code !== 0) problems.push(`meshwork down at ${name}: ${result.stderr.trim()}`);
        else if (!JSON.parse(result.stdout).stopped) await this.#endHalfStarted(name);
      }),
    );
    let left = await this.#processesGone();
    if (left.length > 0) {
      problems.push(`still there after down: ${left.map(({ pid, command }) => `${pid} (${command})`).join(', ')}`);
      for (const { pid } of left) signal(pid, 'SIGKILL');
      left = await this.#processesGone();
      if (left.length > 0) problems.push(`cannot be ended: ${left.map(({ pid }) => pid).join(', ')}`);
    }
    rmSync(this.folder, { recursive: true, force: true });
    if (existsSync(this.folder)) problems.push(`${this.folder} could not be removed`);
    return problems;
  }

  /** An interrupted start leaves a daemon that does not listen yet: SIGTERM ends it in good order too. */
  async #endHalfStarted(name) {
    for (const { pid } of await processesOf(this.homes.get(name))) signal(pid, 'SIGTERM');
  }

  async #processesGone() {
    const deadline = performance.now() + PROCESSES_GONE_TIMEOUT_MS;
    for (;;) {
      const left = await processesOf(this.folder);
      if (left.length === 0 || performance.now() > deadline) return left;
      await delay(POLL_MS);
    }
  }
}

function signal(pid, name) {
  try {
    process.kill(pid, name);
  } catch (error) {
    // It ended meanwhile.
    if (error.code !== 'ESRCH') throw error;
  }
}

/** Processes other than this one whose arguments, environment or directory name that text, such as a folder or a job id. */
export async function processesOf(text) {
  if (process.platform !== 'linux') {
    const { stdout } = await runProgram('ps', ['-axww', '-o', 'pid=,command=']);
    return stdout
      .split('\n')
      .filter((line) => line.includes(text))
      .map((line) => ({ pid: Number.parseInt(line, 10), command: line.trim().replace(/^\d+ /, '') }));
  }
  const pids = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid);
  return pids.flatMap((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      // A zombie has ended and waits for its parent only; it has no command line.
      if (command === '') return [];
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
      const directory = readlinkSync(`/proc/${pid}/cwd`);
      return [command, environment, directory].some((where) => where.includes(text))
        ? [{ pid: Number(pid), command }]
        : [];
    } catch (error) {
      // Ended while we looked, or another user's: then it is none of ours.
      if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(error.code)) return [];
      throw error;
    }
  });
}
