import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { messageOf, systemCodeOf } from '../../base/errors.ts';

/** One living process; zombies are left out, since they hold nothing and need nobody to kill them. */
export interface ProcessRow {
  readonly pid: number;
  readonly ppid: number;
  readonly pgid: number;
  /** Session id; equal to `pgid` where the system does not say. */
  readonly sid: number;
  /** Tells a process from a later one of the same pid: clock ticks since boot on Linux, the start time elsewhere. */
  readonly startTag: string;
}

const LINUX = process.platform === 'linux';
const PS_BYTES_MAX = 16 * 1024 * 1024;
const PS_TIMEOUT_MS = 2000;
const DIGITS = /^[0-9]+$/;
/** A process may vanish between two looks, or be another user's: both mean that there is nothing to see. */
const UNSEEN = new Set(['ENOENT', 'ESRCH', 'EACCES', 'EPERM']);

function readProc(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch (error) {
    if (UNSEEN.has(systemCodeOf(error))) return '';
    throw error;
  }
}

/** @returns the row, or null of a process that is gone or a zombie; reads `/proc/PID/stat`, see proc(5) */
function linuxRow(pid: number): ProcessRow | null {
  const stat = readProc(`/proc/${pid}/stat`);
  // The name stands in parentheses and may hold any byte, parentheses too: what follows the last one is fixed.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, ppid, pgid, sid] = fields;
  const startTag = fields[19];
  if (state === undefined || startTag === undefined || state === 'Z' || state === 'X') return null;
  return { pid, ppid: Number(ppid), pgid: Number(pgid), sid: Number(sid), startTag };
}

/** macOS and others: no session id and no environment, so children that leave group and parents are not found there. */
function psRows(only: number | null): ProcessRow[] {
  const selection = only === null ? ['-ax'] : ['-p', String(only)];
  let text: string;
  try {
    text = execFileSync('ps', [...selection, '-o', 'pid=,ppid=,pgid=,stat=,lstart='], {
      encoding: 'utf8',
      maxBuffer: PS_BYTES_MAX,
      timeout: PS_TIMEOUT_MS,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  } catch (error) {
    // `ps -p` of a pid that is gone exits with 1.
    if (only !== null) return [];
    throw new Error(`ps failed: ${messageOf(error)}`, { cause: error });
  }
  const rows: ProcessRow[] = [];
  for (const line of text.split('\n')) {
    const [pid, ppid, pgid, state, ...start] = line.trim().split(/\s+/);
    if (state === undefined || state.startsWith('Z')) continue;
    rows.push({
      pid: Number(pid),
      ppid: Number(ppid),
      pgid: Number(pgid),
      sid: Number(pgid),
      startTag: start.join(' '),
    });
  }
  return rows;
}

/**
 * Every living process, this one included. About 10 µs each on Linux.
 *
 * @param fromPid leaves out lower pids, where the system can do so cheaply
 */
export function readProcessTable(fromPid = 1): ProcessRow[] {
  if (!LINUX) return psRows(null);
  const rows: ProcessRow[] = [];
  for (const name of readdirSync('/proc')) {
    if (!DIGITS.test(name) || Number(name) < fromPid) continue;
    const row = linuxRow(Number(name));
    if (row !== null) rows.push(row);
  }
  return rows;
}

/** @returns null where no such process lives */
export function readProcess(pid: number): ProcessRow | null {
  return LINUX ? linuxRow(pid) : (psRows(pid)[0] ?? null);
}

/** The environment that the process was started with, each entry between two NUL bytes; empty where it is not to be seen. */
export function environmentOf(pid: number): string {
  return LINUX ? `\0${readProc(`/proc/${pid}/environ`)}` : '';
}

/**
 * The pid given out last on this system (in our pid namespace): equal to the pid of a process where none was created
 * after it. Null where the system does not say.
 */
export function lastPid(): number | null {
  if (!LINUX) return null;
  const last = Number(readProc('/proc/loadavg').trim().split(' ')[4]);
  return Number.isInteger(last) && last > 0 ? last : null;
}
