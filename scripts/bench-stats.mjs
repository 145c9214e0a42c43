// Timing, and what /proc says of processes.
import { readFileSync, readdirSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';

const PAGE_KIB = 1024;

/** @returns {{p50: number, p95: number}} of numbers */
export function percentiles(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  return { p50: at(0.5), p95: at(0.95) };
}

/** Times `action` one after the other. @returns {Promise<{p50: number, p95: number}>} milliseconds */
export async function timed(count, warmUp, action) {
  const values = [];
  for (let round = -warmUp; round < count; round++) {
    const started = performance.now();
    await action();
    if (round >= 0) values.push(performance.now() - started);
  }
  return percentiles(values);
}

/** Runs `action` `count` times, `width` at once. @returns {Promise<number>} milliseconds for all */
export async function wallOf(count, width, action) {
  let left = count;
  const lane = async () => {
    while (left-- > 0) await action();
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: width }, lane));
  return performance.now() - started;
}

/** That process and all below it. */
export function treeOf(pid) {
  const children = new Map();
  for (const entry of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const stat = readStat(entry);
    if (stat !== null) children.set(stat.parent, [...(children.get(stat.parent) ?? []), Number(entry)]);
  }
  const tree = [pid];
  for (const member of tree) tree.push(...(children.get(member) ?? []));
  return tree;
}

function readStat(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // proc(5): the name in parentheses may hold anything; the fields behind it start with the state.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { parent: Number(fields[1]), ticks: Number(fields[11]) + Number(fields[12]) };
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes(error.code)) return null;
    throw error;
  }
}

const cpuTicks = (pids) => pids.reduce((sum, pid) => sum + (readStat(pid)?.ticks ?? 0), 0);

/** Resident memory of all of them together, MiB; what they share is counted in each. */
export function residentMib(pids) {
  const kib = pids.map((pid) => {
    try {
      return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
    } catch (error) {
      if (['ENOENT', 'ESRCH'].includes(error.code)) return 0;
      throw error;
    }
  });
  return kib.reduce((sum, value) => sum + value, 0) / PAGE_KIB;
}

/** CPU time of these processes while `ms` pass, percent of one core. */
export async function cpuPercent(groups, ms) {
  const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
  const started = performance.now();
  const before = groups.map(cpuTicks);
  await delay(ms);
  const seconds = (performance.now() - started) / 1000;
  return groups.map((pids, index) => ((cpuTicks(pids) - before[index]) / ticksPerSecond / seconds) * 100);
}

/** The largest value of `read` while `action` runs. */
export async function peakDuring(read, action) {
  let peak = read();
  const timer = setInterval(() => {
    peak = Math.max(peak, read());
  }, 50);
  try {
    return { result: await action(), peak };
  } finally {
    clearInterval(timer);
  }
}
