import { mkdirSync, readFileSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { messageOf, systemCodeOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { below, ControlGroup, enterGroup } from './control-group.ts';
import { baseName, outsideJobs, ownGroup } from './group-place.ts';

/** In MESHWORK_HOME: where the groups are, for whoever comes after a crash and lives in another group. */
const PLACE_FILE = 'runner-groups';
const TRIAL_NAME = 'trial';
/**
 * A move after a pause waits for a grace period of the kernel, 12 to 15 ms (measured), and more with many processors. More
 * than this, so many times in a row, is a price that commands should not pay.
 */
const SLOW_MS = 100;
const SLOW_COUNT_MAX = 10;

type State =
  | { readonly kind: 'unopened' }
  | { readonly kind: 'open'; readonly own: string; readonly base: string }
  | { readonly kind: 'off' };

/**
 * A control group for each attempt, where this system lets us make them (cgroup v2, and a group of our own that we may
 * write to): unlike a PID namespace, it changes nothing that a command does or sees but its /proc/self/cgroup. The runner
 * steps into the group for the fork alone, which is synchronous, so that a child is born in it; there is no race and no
 * wrapper. Where that is not possible commands run without.
 */
export class ControlGroups {
  readonly #home: string;
  readonly #log: Logger;
  #state: State = { kind: 'unopened' };
  #slowCount = 0;

  constructor(home: string, log: Logger) {
    this.#home = home;
    this.#log = log;
  }

  /**
   * Calls `fork`, whose children are born in the group of that name.
   *
   * @param fork must have forked when it returns
   * @param keep gets the group, if there is one, before this returns or throws
   */
  around<T>(name: string, fork: () => T, keep: (group: ControlGroup) => void): T {
    if (this.#state.kind === 'unopened') this.#state = this.#open();
    const state = this.#state;
    if (state.kind !== 'open') return fork();
    const { own, base } = state;
    const startMs = performance.now();
    const group = this.#enter(path.join(base, name));
    if (group === null) return fork();
    const enteredMs = performance.now() - startMs;
    try {
      return fork();
    } finally {
      const leaveMs = performance.now();
      if (this.#leave(own, group)) keep(group);
      this.#watchCost(enteredMs + performance.now() - leaveMs);
    }
  }

  /**
   * An attempt comes in a moment. The first move after a pause waits for the kernel: one to where this process is already
   * waits as well, and the two of the attempt then do not, for some 10 ms.
   */
  expect(): void {
    if (this.#state.kind === 'unopened') {
      this.#state = this.#open();
      return;
    }
    if (this.#state.kind !== 'open') return;
    try {
      enterGroup(this.#state.own);
    } catch (error) {
      this.#log.debug('no group is got ready', { error: messageOf(error) });
    }
  }

  /** Removes what is empty, which is all of it where every attempt has ended. */
  close(): void {
    if (this.#state.kind !== 'open') return;
    const { base } = this.#state;
    this.#state = { kind: 'off' };
    for (const folder of below(base)) new ControlGroup(folder, this.#log).removeNow();
    try {
      rmdirSync(base);
      rmSync(path.join(this.#home, PLACE_FILE), { force: true });
    } catch (error) {
      this.#log.warn('control groups stay', { base, error: messageOf(error) });
    }
  }

  #open(): State {
    const own = ownGroup();
    if (own === null) return this.#off('cgroup v2 is not mounted');
    const base = path.join(own, baseName(this.#home));
    const trial = path.join(base, TRIAL_NAME);
    try {
      makeGroup(base);
      makeGroup(trial);
      try {
        enterGroup(trial);
      } finally {
        // Harmless where we never left.
        enterGroup(own);
      }
      rmdirSync(trial);
      writeFileSync(path.join(this.#home, PLACE_FILE), base, { mode: 0o600 });
    } catch (error) {
      return this.#off(messageOf(error));
    }
    this.#log.info('each attempt has a control group', { base });
    return { kind: 'open', own, base };
  }

  #off(reason: string): State {
    this.#log.info('no control groups', { reason });
    return { kind: 'off' };
  }

  #enter(folder: string): ControlGroup | null {
    try {
      makeGroup(folder);
      enterGroup(folder);
      return new ControlGroup(folder, this.#log);
    } catch (error) {
      this.#log.warn('an attempt has no control group', { folder, error: messageOf(error) });
      return null;
    }
  }

  /** Without the way back, other attempts would be born in this group: it must not be used as one. */
  #leave(own: string, group: ControlGroup): boolean {
    try {
      enterGroup(own);
      return true;
    } catch (error) {
      this.#log.error('cannot leave a control group', { group: group.name, error: messageOf(error) });
      this.#state = { kind: 'off' };
      return false;
    }
  }

  #watchCost(tookMs: number): void {
    this.#slowCount = tookMs > SLOW_MS ? this.#slowCount + 1 : 0;
    if (this.#slowCount < SLOW_COUNT_MAX || this.#state.kind !== 'open') return;
    this.#log.warn('control groups are slow here: new attempts have none', { tookMs });
    this.#state = { kind: 'off' };
  }
}

function makeGroup(folder: string): void {
  try {
    mkdirSync(folder);
  } catch (error) {
    if (systemCodeOf(error) !== 'EEXIST') throw error;
  }
}

/** The groups that a runner of this MESHWORK_HOME left when it was killed, by name. */
export function groupsLeft(home: string, log: Logger): ReadonlyMap<string, ControlGroup> {
  const groups = new Map<string, ControlGroup>();
  try {
    const own = ownGroup();
    const bases = new Set([readPlace(home), own === null ? null : path.join(own, baseName(home))]);
    for (const base of bases) {
      for (const folder of base === null ? [] : below(base)) {
        groups.set(path.basename(folder), new ControlGroup(folder, log));
      }
    }
  } catch (error) {
    log.warn('cannot look for control groups', { error: messageOf(error) });
  }
  return groups;
}

/** @returns null of a place that cannot be ours: what is named there gets killed */
function readPlace(home: string): string | null {
  try {
    const place = readFileSync(path.join(home, PLACE_FILE), 'utf8');
    return path.isAbsolute(place) && path.basename(place) === baseName(home) ? place : null;
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return null;
    throw error;
  }
}

/** Steps out of the group of the job that started this process: a daemon belongs to no job. */
export function leaveJobGroup(log: Logger): void {
  const own = ownGroup();
  const outside = own === null ? null : outsideJobs(own);
  if (outside === null) return;
  try {
    enterGroup(outside);
  } catch (error) {
    log.warn('this daemon was started by a job, and will end with it', { error: messageOf(error) });
  }
}
