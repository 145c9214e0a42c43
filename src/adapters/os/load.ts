import { readFileSync } from 'node:fs';
import { cpus, freemem, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import { systemCodeOf } from '../../base/errors.ts';
import type { MeasuredLoad } from '../../ports/system.ts';
import { type CgroupLimits, findCgroupLimits } from './cgroup.ts';

export interface LoadSampler {
  /** Well under a millisecond on Linux. Calls closer than 200 ms get the CPU share of the one before. */
  sample(): MeasuredLoad;
  /** Reads container limits and the allowed cores anew; they may change while a container runs. */
  refreshLimits(): void;
  /** Cores this process may use, by affinity and quota; fractional under a quota. */
  cores(): number;
  /** Memory that this process may use, in bytes. */
  memoryBytes(): number;
}

export interface LoadSamplerOptions {
  readonly platform: NodeJS.Platform;
  /** Where `/proc` and `/sys` are; only tests give another than `/`. */
  readonly root: string;
  /** Monotonic. */
  readonly nowMs: () => number;
  /** macOS: available memory, measured in the background, since `os.freemem` leaves out what can be reclaimed. */
  readonly availableBytes: () => number | null;
}

/** A shorter interval than this holds too few clock ticks (10 ms each) to mean anything. */
const INTERVAL_MS_MIN = 200;

interface CpuTimes {
  readonly atMs: number;
  /** In ticks or milliseconds: only the ratio counts. */
  readonly busy: number;
  readonly total: number;
  readonly groupNanoseconds: number | null;
}

/** What a node measures every second: from `/proc` on Linux, from `node:os` elsewhere; aware of cgroup v1 and v2. */
export function createLoadSampler(options: LoadSamplerOptions): LoadSampler {
  const linux = options.platform === 'linux';
  const proc = join(options.root, 'proc');
  let limits: CgroupLimits = { cpu: null, memory: null };
  let allowed: ReadonlySet<number> | null = null;
  let machineCores = 1;
  let previous: CpuTimes | null = null;
  let cpuPercent: number | null = null;
  let pressureKnown = linux;

  const refreshLimits = (): void => {
    machineCores = Math.max(1, cpus().length);
    if (!linux) return;
    limits = findCgroupLimits(options.root);
    allowed = readAllowedCores(join(proc, 'self/status'));
    machineCores = Math.max(1, countCores(readText(join(proc, 'stat')) ?? '') || machineCores);
  };
  const cores = (): number => Math.min(allowed?.size ?? machineCores, limits.cpu?.quotaCores ?? Infinity);
  const readTimes = (): CpuTimes => ({
    atMs: options.nowMs(),
    ...(linux ? procTimes(readText(join(proc, 'stat')) ?? '', allowed) : nodeTimes()),
    groupNanoseconds: limits.cpu?.usedNanoseconds() ?? null,
  });
  const load1m = (): number => {
    const whole = linux ? procLoad(readText(join(proc, 'loadavg')) ?? '') : (loadavg()[0] ?? 0);
    // The kernel counts the whole machine: under a quota or an affinity, this node's share of it is what compares.
    return round(whole * (cores() / machineCores), 2);
  };
  const measureCpu = (load: number): number => {
    if (previous !== null && options.nowMs() - previous.atMs < INTERVAL_MS_MIN) {
      return cpuPercent ?? Math.min(100, (load / cores()) * 100);
    }
    const current = readTimes();
    cpuPercent = previous === null ? null : (busyPercent(previous, current, limits.cpu?.quotaCores) ?? cpuPercent);
    previous = current;
    return cpuPercent ?? Math.min(100, (load / cores()) * 100);
  };

  refreshLimits();
  previous = readTimes();
  return {
    refreshLimits,
    cores,
    memoryBytes: () => Math.min(machineMemory(linux, proc).total, limits.memory?.limitBytes ?? Infinity),
    sample(): MeasuredLoad {
      const load = load1m();
      const memory = measureMemory(machineMemory(linux, proc), limits.memory, options.availableBytes());
      const pressure = pressureKnown ? readPressure(join(proc, 'pressure/cpu')) : null;
      pressureKnown = pressure !== null;
      return {
        cpu_percent: round(measureCpu(load), 1),
        memory_percent: round(memory.percent, 1),
        memory_available_bytes: memory.availableBytes,
        load_1m: load,
        psi_cpu_some_avg10: pressure,
      };
    },
  };
}

/** The busier of two: the machine's cores that are ours, and our own quota. Null where no tick has passed. */
function busyPercent(before: CpuTimes, after: CpuTimes, quotaCores: number | undefined): number | null {
  const total = after.total - before.total;
  if (total <= 0) return null;
  const machine = ((after.busy - before.busy) / total) * 100;
  let group = 0;
  if (quotaCores !== undefined && before.groupNanoseconds !== null && after.groupNanoseconds !== null) {
    const grantedNanoseconds = (after.atMs - before.atMs) * 1e6 * quotaCores;
    group = ((after.groupNanoseconds - before.groupNanoseconds) / grantedNanoseconds) * 100;
  }
  // Counters of a core that went offline step back: clamp rather than report nonsense.
  return Math.min(100, Math.max(0, machine, group));
}

interface MachineMemory {
  readonly total: number;
  readonly available: number;
}

function measureMemory(
  machine: MachineMemory,
  group: CgroupLimits['memory'],
  measuredAvailable: number | null,
): { readonly percent: number; readonly availableBytes: number } {
  let available = Math.min(machine.total, measuredAvailable ?? machine.available);
  let percent = machine.total > 0 ? (1 - available / machine.total) * 100 : 0;
  const used = group === null || group.limitBytes >= machine.total ? null : group.usedBytes();
  if (group !== null && used !== null) {
    available = Math.min(available, Math.max(0, group.limitBytes - used));
    percent = Math.max(percent, (used / group.limitBytes) * 100);
  }
  return { percent: Math.min(100, Math.max(0, percent)), availableBytes: available };
}

function machineMemory(linux: boolean, proc: string): MachineMemory {
  const text = linux ? readText(join(proc, 'meminfo')) : null;
  if (text === null) return { total: totalmem(), available: freemem() };
  const total = kibOf(text, 'MemTotal');
  // MemAvailable came with Linux 3.14.
  const available = kibOf(text, 'MemAvailable') ?? kibOf(text, 'MemFree');
  return { total: total ?? totalmem(), available: available ?? freemem() };
}

function kibOf(meminfo: string, name: string): number | null {
  const at = meminfo.indexOf(`${name}:`);
  if (at < 0) return null;
  const kib = Number.parseInt(meminfo.slice(at + name.length + 1, at + name.length + 40), 10);
  return Number.isFinite(kib) ? kib * 1024 : null;
}

/** proc(5): user nice system idle iowait irq softirq steal guest guest_nice; guest time is in user and nice already. */
function procTimes(stat: string, allowed: ReadonlySet<number> | null): { busy: number; total: number } {
  let busy = 0;
  let total = 0;
  const wholeMachine = allowed === null || allowed.size >= countCores(stat);
  for (const line of stat.split('\n', 4096)) {
    if (!line.startsWith('cpu')) break;
    const [label = '', ...fields] = line.split(/\s+/);
    const wanted = wholeMachine ? label === 'cpu' : label !== 'cpu' && allowed.has(Number(label.slice(3)));
    if (!wanted) continue;
    const ticks = fields.slice(0, 8).map(Number);
    const sum = ticks.reduce((a, b) => a + b, 0);
    total += sum;
    busy += sum - (ticks[3] ?? 0) - (ticks[4] ?? 0);
  }
  return { busy, total };
}

function countCores(stat: string): number {
  return stat.match(/^cpu\d+ /gm)?.length ?? 0;
}

function nodeTimes(): { busy: number; total: number } {
  let busy = 0;
  let total = 0;
  for (const { times } of cpus()) {
    const sum = times.user + times.nice + times.sys + times.idle + times.irq;
    total += sum;
    busy += sum - times.idle;
  }
  return { busy, total };
}

function procLoad(loadavgText: string): number {
  const load = Number.parseFloat(loadavgText);
  return Number.isFinite(load) ? load : 0;
}

function readPressure(path: string): number | null {
  const match = /^some avg10=([\d.]+)/m.exec(readText(path) ?? '');
  return match === null ? null : Math.min(100, Number(match[1]));
}

/** `Cpus_allowed_list:	0-3,8` of proc(5) status: affinity and cpusets. */
function readAllowedCores(statusPath: string): ReadonlySet<number> | null {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readText(statusPath) ?? '')?.[1];
  if (list === undefined) return null;
  const cores = new Set<number>();
  for (const range of list.split(',')) {
    const [first, last = first] = range.split('-').map(Number);
    if (first === undefined || last === undefined || !(last >= first) || last > 65_536) return null;
    for (let core = first; core <= last; core++) cores.add(core);
  }
  return cores;
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    // EOPNOTSUPP: pressure information is compiled in but switched off.
    if (['ENOENT', 'EACCES', 'ENOTDIR', 'EOPNOTSUPP'].includes(systemCodeOf(error))) return null;
    throw error;
  }
}

function round(value: number, digits: number): number {
  const scale = 10 ** digits;
  return Math.round(value * scale) / scale;
}
