import { readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { messageOf, systemCodeOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';

/** Groups that a command made below its own, and are looked at: whoever makes more is killed all the same. */
const NESTED_MAX = 1000;
/** A group is busy for a moment after its last process. */
const REMOVE_ROUNDS_MAX = 40;
const REMOVE_ROUND_MS = 25;
const PROCS = 'cgroup.procs';
/** The folder, or the process, is gone. */
const GONE = new Set(['ENOENT', 'ENODEV', 'ESRCH']);

/** Moves this process into a group: "0" is whoever writes (cgroups(7)). Throws where that is not permitted. */
export function enterGroup(folder: string): void {
  writeFileSync(path.join(folder, PROCS), '0', { flag: 'r+' });
}

/** A cgroup-v2 group that holds one attempt's processes, wherever they went and whatever they did to their environment. */
export class ControlGroup {
  readonly name: string;
  readonly #folder: string;
  readonly #log: Logger;

  constructor(folder: string, log: Logger) {
    this.name = path.basename(folder);
    this.#folder = folder;
    this.#log = log;
  }

  /** Of all processes in it and in the groups below it; zombies may be among them. */
  pids(): number[] {
    return this.#folders().flatMap((folder) =>
      read(path.join(folder, PROCS))
        .split('\n')
        .map(Number)
        // 0 is a process of another PID namespace.
        .filter((pid) => pid > 1),
    );
  }

  /** KILL to all in it at once, against which no fork helps; nothing before Linux 5.14, where pids must be killed. */
  kill(): void {
    try {
      // This process is never in one, unless the way out failed: then all but itself is killed by pid.
      if (this.pids().includes(process.pid)) return;
      writeFileSync(path.join(this.#folder, 'cgroup.kill'), '1', { flag: 'r+' });
    } catch (error) {
      if (GONE.has(systemCodeOf(error))) return;
      this.#log.warn('cannot kill a control group', { group: this.name, error: messageOf(error) });
    }
  }

  /** @returns whether it is gone; false while a process is in it */
  removeNow(): boolean {
    try {
      for (const folder of this.#folders().toReversed()) rmdirSync(folder);
      return true;
    } catch (error) {
      if (GONE.has(systemCodeOf(error))) return true;
      if (systemCodeOf(error) === 'EBUSY') return false;
      this.#log.warn('cannot remove a control group', { group: this.name, error: messageOf(error) });
      return true;
    }
  }

  /** Once it is empty. Settles within about a second. */
  async remove(): Promise<void> {
    for (let round = 0; round < REMOVE_ROUNDS_MAX; round++) {
      if (this.removeNow()) return;
      await new Promise((resolve) => setTimeout(resolve, REMOVE_ROUND_MS));
    }
    this.#log.warn('a control group stays: processes are in it', { group: this.name });
  }

  /** This one, then those below it, parents first. */
  #folders(): string[] {
    const folders = [this.#folder];
    for (let at = 0; at < folders.length && folders.length < NESTED_MAX; at++)
      folders.push(...below(folders[at] ?? ''));
    return folders;
  }
}

/** The groups right below a group, as absolute paths; empty where it is gone. */
export function below(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => path.join(folder, entry.name));
  } catch (error) {
    if (GONE.has(systemCodeOf(error))) return [];
    throw error;
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch (error) {
    // A threaded group has no list of processes (EOPNOTSUPP): its processes are in the one above.
    if (GONE.has(systemCodeOf(error)) || systemCodeOf(error) === 'EOPNOTSUPP') return '';
    throw error;
  }
}
