import type { JobId } from '../../base/ids.ts';
import { messageOf, systemCodeOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { ControlGroup } from './control-group.ts';
import { environmentOf, lastPid, type ProcessRow, readProcess, readProcessTable } from './process-table.ts';

/** The environment variable by which a job's processes are found wherever they went. */
export const COOKIE_NAME = 'MESHWORK_JOB_ID';
/**
 * What tells the second and later attempts of a job from the first, which carries the cookie alone: two of them may run on
 * nodes of one machine.
 */
export const ATTEMPT_NAME = 'MW_ATTEMPT';
/** From TERM to KILL where a job is ended: time limit, cancellation, loss of the daemon. */
export const TERM_GRACE_MS = 5000;
/** What a command left running may end by itself for this long (`tee >(gzip)`), before it counts and gets TERM. */
export const LEFTOVER_SETTLE_MS = 200;
/** From TERM to KILL for what a command left running. */
export const LEFTOVER_GRACE_MS = 500;

const POLL_MS_MIN = 4;
const POLL_MS_MAX = 100;
/** A look at a table that thousands of processes fill is slow: never spend more than a fifth of the time on it. */
const POLL_COST_FACTOR = 4;
const KILL_ROUNDS_MAX = 40;
const KILL_ROUND_MS = 25;
/** No machine gives out all its pids, 32,768 at the least, in this time. */
const WRAP_MS_MIN = 1000;

export interface AttemptKey {
  readonly job: JobId;
  readonly attempt: number;
}

export interface JobTree extends AttemptKey {
  /** The leader's pid, which is also its group and its session; null where only the cookie is known. */
  readonly leaderPid: number | null;
}

/** Under which files and groups of an attempt lie. */
export const attemptName = ({ job, attempt }: AttemptKey): string => `${job}.${attempt}`;

/** The environment entries by which an attempt's processes are known. */
export function cookieOf({ job, attempt }: AttemptKey): Readonly<Record<string, string>> {
  const cookie = { [COOKIE_NAME]: job };
  return attempt === 1 ? cookie : { ...cookie, [ATTEMPT_NAME]: `${job}.${attempt}` };
}

/** @param environment as environmentOf gives it */
export function carriesCookie(environment: string, { job, attempt }: AttemptKey): boolean {
  if (attempt > 1) return environment.includes(`\0${ATTEMPT_NAME}=${job}.${attempt}\0`);
  return environment.includes(`\0${COOKIE_NAME}=${job}\0`) && !environment.includes(`\0${ATTEMPT_NAME}=${job}.`);
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * The processes of a tree: those of the leader's group or session, those that are ours by cookie or control group, those
 * known from an earlier look, and all descendants of these.
 *
 * @param known pid → start tag of members seen before: they stay members when their parents are gone
 */
export function membersOf(
  table: readonly ProcessRow[],
  leaderPid: number | null,
  known: ReadonlyMap<number, string>,
  isOurs: (row: ProcessRow) => boolean,
): ProcessRow[] {
  const members = new Map<number, ProcessRow>();
  for (const row of table) {
    if (row.pid === process.pid || row.pid === 1) continue;
    const led = leaderPid !== null && (row.pid === leaderPid || row.pgid === leaderPid || row.sid === leaderPid);
    if (led || known.get(row.pid) === row.startTag || isOurs(row)) members.set(row.pid, row);
  }
  const children = new Map<number, ProcessRow[]>();
  for (const row of table) {
    const siblings = children.get(row.ppid);
    if (siblings === undefined) children.set(row.ppid, [row]);
    else siblings.push(row);
  }
  const open = [...members.values()];
  for (let row = open.pop(); row !== undefined; row = open.pop()) {
    for (const child of children.get(row.pid) ?? []) {
      if (members.has(child.pid) || child.pid === process.pid) continue;
      members.set(child.pid, child);
      open.push(child);
    }
  }
  return [...members.values()];
}

/** One tree on its way to its end. Remembers whom it saw, so that a child adopted by init is still reached. */
export class TreeHunt {
  readonly #tree: JobTree;
  readonly #log: Logger;
  readonly #group: ControlGroup | null;
  readonly #known = new Map<number, string>();
  #lastTable: readonly ProcessRow[] = [];

  /** @param group holds this tree alone; null where there is none to be had */
  constructor(tree: JobTree, group: ControlGroup | null, log: Logger) {
    this.#tree = tree;
    this.#group = group;
    this.#log = log;
  }

  /** Who lives now. Costs a look at every process of the machine from `fromPid` on. */
  look(fromPid = 1): ProcessRow[] {
    const grouped = new Set(this.#group?.pids());
    this.#lastTable = withRowsOf(readProcessTable(fromPid), grouped);
    const isOurs = (row: ProcessRow): boolean =>
      grouped.has(row.pid) || carriesCookie(environmentOf(row.pid), this.#tree);
    const members = membersOf(this.#lastTable, this.#tree.leaderPid, this.#known, isOurs);
    for (const row of members) this.#known.set(row.pid, row.startTag);
    return members;
  }

  /**
   * Signals whole groups where all of the group is ours, since that is atomic against forks, and processes one by one
   * elsewhere.
   */
  signal(members: readonly ProcessRow[], signal: 'SIGTERM' | 'SIGCONT' | 'SIGKILL'): void {
    const ours = new Set(members.map((row) => row.pid));
    const foreign = new Set(this.#lastTable.filter((row) => !ours.has(row.pid)).map((row) => row.pgid));
    const groups = new Set<number>();
    for (const row of members) {
      if (foreign.has(row.pgid) || row.pgid <= 1) this.#kill(row.pid, signal);
      else groups.add(row.pgid);
    }
    for (const pgid of groups) this.#kill(-pgid, signal);
  }

  /**
   * Waits until nobody is left, for at most `withinMs`; newcomers get `signals` as well. Time that passes while this
   * process is held up does not count: the others may have been, too.
   *
   * @returns who is left
   */
  async waitUntilGone(
    first: readonly ProcessRow[],
    withinMs: number,
    signals: readonly ('SIGTERM' | 'SIGCONT')[],
  ): Promise<ProcessRow[]> {
    let members = [...first];
    let pollMs = POLL_MS_MIN;
    let waitedMs = 0;
    for (;;) {
      const startMs = performance.now();
      // Cheap first: only once all whom we know are gone does it take a look at everybody.
      const left = members.filter((row) => readProcess(row.pid)?.startTag === row.startTag);
      if (left.length === 0) {
        members = this.look();
        if (members.length === 0) return [];
        for (const signal of signals) this.signal(members, signal);
      } else members = left;
      if (waitedMs >= withinMs) return this.look();
      const costMs = performance.now() - startMs;
      const pauseMs = Math.min(Math.max(pollMs, costMs * POLL_COST_FACTOR), withinMs - waitedMs);
      await sleep(pauseMs);
      waitedMs += costMs + pauseMs;
      pollMs = Math.min(pollMs * 2, POLL_MS_MAX);
    }
  }

  /** TERM (and CONT, so that stopped processes hear it), `graceMs`, then KILL until none is left. @returns survivors */
  async end(first: readonly ProcessRow[], graceMs: number): Promise<number> {
    this.signal(first, 'SIGTERM');
    this.signal(first, 'SIGCONT');
    let members = await this.waitUntilGone(first, graceMs, ['SIGTERM', 'SIGCONT']);
    for (let round = 0; members.length > 0 && round < KILL_ROUNDS_MAX; round++) {
      this.signal(members, 'SIGKILL');
      this.#group?.kill();
      await sleep(KILL_ROUND_MS);
      members = this.look();
    }
    if (members.length > 0) {
      const pids = members.slice(0, 20).map((row) => row.pid);
      this.#log.error('processes of a job survive KILL', { job: this.#tree.job, pids: pids.join(' ') });
    }
    return members.length;
  }

  /** KILL to the leader's groups without a look at anybody: for when looking fails. */
  killGroup(): void {
    if (this.#tree.leaderPid !== null) this.#kill(-this.#tree.leaderPid, 'SIGKILL');
    this.#group?.kill();
  }

  #kill(target: number, signal: NodeJS.Signals): void {
    try {
      process.kill(target, signal);
    } catch (error) {
      if (systemCodeOf(error) === 'ESRCH') return;
      this.#log.warn('cannot signal a process', { job: this.#tree.job, target, signal, error: messageOf(error) });
    }
  }
}

/**
 * Who of a tree lives after its leader's exit. Most commands leave nobody, and finding that out costs microseconds:
 * nobody is in the group, and no process was created on this machine since the leader, or none that lives is ours.
 *
 * @param ageMs for how long the leader ran: pids of a short life cannot have wrapped around unseen
 */
export function leftBehind(hunt: TreeHunt, leaderPid: number, ageMs: number): ProcessRow[] {
  const last = lastPid();
  const short = last !== null && last >= leaderPid && ageMs < WRAP_MS_MIN;
  if (!short || groupLives(leaderPid)) return hunt.look();
  if (last === leaderPid || hunt.look(leaderPid).length === 0) return [];
  return hunt.look();
}

/** The table, and those whom a look from a higher pid on left out. */
function withRowsOf(table: readonly ProcessRow[], pids: ReadonlySet<number>): readonly ProcessRow[] {
  if (pids.size === 0) return table;
  const there = new Set(table.map((row) => row.pid));
  const more = [...pids].filter((pid) => !there.has(pid)).map(readProcess);
  return [...table, ...more.filter((row) => row !== null)];
}

function groupLives(pgid: number): boolean {
  try {
    process.kill(-pgid, 0);
    return true;
  } catch (error) {
    return systemCodeOf(error) !== 'ESRCH';
  }
}

/**
 * Ends what carries the cookies of attempts whose runner is gone, or is in their control groups, which go with them.
 *
 * @returns how many processes survived even KILL
 */
export async function killTrees(
  attempts: readonly AttemptKey[],
  groups: ReadonlyMap<string, ControlGroup>,
  log: Logger,
): Promise<number> {
  const survivors = await Promise.all(
    attempts.map(async ({ job, attempt }) => {
      const group = groups.get(attemptName({ job, attempt })) ?? null;
      const hunt = new TreeHunt({ job, attempt, leaderPid: null }, group, log);
      const members = hunt.look();
      const count = members.length === 0 ? 0 : await hunt.end(members, TERM_GRACE_MS);
      await group?.remove();
      return count;
    }),
  );
  return survivors.reduce((sum, count) => sum + count, 0);
}
