import { describe, expect, it } from 'vitest';
import { createLoadSampler, type LoadSampler } from '../../../../src/adapters/os/load.ts';
import { temporaryFolders, writeTree } from '../../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();

const GIB = 1024 ** 3;
const stat = (cores: readonly (readonly number[])[]): string => {
  const sum = (cores[0] ?? []).map((_, field) => cores.reduce((total, core) => total + (core[field] ?? 0), 0));
  const lines = [`cpu  ${sum.join(' ')}`, ...cores.map((core, index) => `cpu${index} ${core.join(' ')}`)];
  return `${lines.join('\n')}\nintr 1 2 3\nctxt 5\n`;
};
/** user nice system idle iowait irq softirq steal guest guest_nice */
const core = (busy: number, idle: number): number[] => [busy, 0, 0, idle, 0, 0, 0, 0, 0, 0];

const MACHINE = {
  'proc/stat': stat([core(0, 0), core(0, 0), core(0, 0), core(0, 0)]),
  'proc/meminfo': 'MemTotal:       16777216 kB\nMemFree:         1000 kB\nMemAvailable:    8388608 kB\n',
  'proc/loadavg': '2.00 1.00 0.50 1/100 4242\n',
  'proc/pressure/cpu': 'some avg10=12.34 avg60=1.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0 avg300=0 total=0\n',
  'proc/self/status': 'Name:\tnode\nCpus_allowed_list:\t0-3\n',
};

function machine(files: Readonly<Record<string, string>> = {}) {
  const root = folder();
  writeTree(root, { ...MACHINE, ...files });
  const clock = { nowMs: 0 };
  const sampler: LoadSampler = createLoadSampler({
    platform: 'linux',
    root,
    nowMs: () => clock.nowMs,
    availableBytes: () => null,
  });
  return { sampler, clock, write: (more: Readonly<Record<string, string>>) => writeTree(root, more) };
}

describe('load on Linux', () => {
  it('starts from the load average, since one reading of counters says nothing', () => {
    const { sampler } = machine();
    expect(sampler.sample()).toEqual({
      cpu_percent: 50,
      memory_percent: 50,
      memory_available_bytes: 8 * GIB,
      load_1m: 2,
      psi_cpu_some_avg10: 12.34,
    });
  });

  it('gives the share of busy time between two readings; waiting for disks is not busy, steal is', () => {
    const { sampler, clock, write } = machine();
    clock.nowMs = 1000;
    write({
      'proc/stat': stat([
        core(30, 70),
        core(30, 70),
        [0, 0, 0, 50, 50, 0, 0, 0, 0, 0],
        [0, 0, 0, 60, 0, 0, 0, 40, 0, 0],
      ]),
    });
    expect(sampler.sample().cpu_percent).toBe(25);
  });

  it('counts guest time once', () => {
    const { sampler, clock, write } = machine();
    clock.nowMs = 1000;
    write({ 'proc/stat': stat([[50, 0, 0, 50, 0, 0, 0, 0, 50, 0]]) });
    expect(sampler.sample().cpu_percent).toBe(50);
  });

  it('repeats the last share where two samples are too close or no tick passed', () => {
    const { sampler, clock, write } = machine();
    clock.nowMs = 1000;
    write({ 'proc/stat': stat([core(80, 20)]) });
    expect(sampler.sample().cpu_percent).toBe(80);
    clock.nowMs = 1100;
    write({ 'proc/stat': stat([core(80, 30)]) });
    expect(sampler.sample().cpu_percent).toBe(80);
    clock.nowMs = 1300;
    write({ 'proc/stat': stat([core(80, 20)]) });
    expect(sampler.sample().cpu_percent).toBe(80);
  });

  it('never leaves 0 to 100 when counters step back', () => {
    const { sampler, clock, write } = machine({ 'proc/stat': stat([core(500, 500), core(0, 0)]) });
    clock.nowMs = 1000;
    write({ 'proc/stat': stat([core(0, 2000), core(0, 0)]) });
    expect(sampler.sample().cpu_percent).toBe(0);
  });

  it('looks only at the cores it may use, and takes its share of the load', () => {
    const { sampler, clock, write } = machine({ 'proc/self/status': 'Cpus_allowed_list:\t0,2\n' });
    expect(sampler.cores()).toBe(2);
    clock.nowMs = 1000;
    write({ 'proc/stat': stat([core(100, 0), core(0, 100), core(0, 100), core(0, 100)]) });
    expect(sampler.sample()).toMatchObject({ cpu_percent: 50, load_1m: 1 });
  });

  it('does without pressure information', () => {
    const { sampler } = machine({ 'proc/pressure/cpu': '' });
    expect(sampler.sample().psi_cpu_some_avg10).toBeNull();
  });

  it('costs well under a millisecond on this machine', () => {
    const sampler = createLoadSampler({
      platform: process.platform,
      root: '/',
      nowMs: () => performance.now(),
      availableBytes: () => null,
    });
    const before = process.cpuUsage();
    for (let i = 0; i < 100; i++) sampler.sample();
    const spent = process.cpuUsage(before);
    // 2 ms of each second are 0.2 %.
    expect((spent.user + spent.system) / 1000 / 100).toBeLessThan(2);
  });
});

const MOUNTS_V2 = '30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n';
const V2 = {
  'proc/self/mountinfo': MOUNTS_V2,
  'proc/self/cgroup': '0::/user.slice/job.scope\n',
  'sys/fs/cgroup/user.slice/cpu.max': '150000 100000\n',
  'sys/fs/cgroup/user.slice/cpu.stat': 'usage_usec 1000000\nuser_usec 1\n',
  'sys/fs/cgroup/user.slice/job.scope/cpu.max': 'max 100000\n',
  'sys/fs/cgroup/user.slice/job.scope/memory.max': `${4 * GIB}\n`,
  'sys/fs/cgroup/user.slice/job.scope/memory.current': `${3 * GIB}\n`,
  'sys/fs/cgroup/user.slice/job.scope/memory.stat': `anon 5\ninactive_file ${GIB}\n`,
  'sys/fs/cgroup/user.slice/memory.max': 'max\n',
};

describe('load in a container', () => {
  it('takes the tightest limits on the way to the root (cgroup v2)', () => {
    const { sampler, clock, write } = machine(V2);
    expect(sampler.cores()).toBe(1.5);
    expect(sampler.memoryBytes()).toBe(4 * GIB);
    clock.nowMs = 1000;
    // 1.2 s of CPU time in 1 s under a quota of 1.5 cores; the machine itself is idle.
    write({
      'proc/stat': stat([core(0, 100)]),
      'sys/fs/cgroup/user.slice/cpu.stat': 'usage_usec 2200000\nuser_usec 1\n',
    });
    expect(sampler.sample()).toMatchObject({
      cpu_percent: 80,
      memory_percent: 50,
      memory_available_bytes: 2 * GIB,
      load_1m: 0.75,
    });
  });

  it('sees limits that change', () => {
    const { sampler, write } = machine(V2);
    write({ 'sys/fs/cgroup/user.slice/job.scope/cpu.max': '50000 100000\n' });
    sampler.refreshLimits();
    expect(sampler.cores()).toBe(0.5);
  });

  it('reads cgroup v1, mounted as a container has it', () => {
    const { sampler, clock, write } = machine({
      'proc/self/mountinfo': [
        '31 30 0:27 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct',
        '32 30 0:28 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory',
      ].join('\n'),
      'proc/self/cgroup': '5:cpu,cpuacct:/docker/abc\n6:memory:/docker/abc\n',
      'sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us': '200000\n',
      'sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us': '100000\n',
      'sys/fs/cgroup/cpu,cpuacct/cpuacct.usage': '0\n',
      'sys/fs/cgroup/memory/memory.limit_in_bytes': `${2 * GIB}\n`,
      'sys/fs/cgroup/memory/memory.usage_in_bytes': `${GIB}\n`,
      'sys/fs/cgroup/memory/memory.stat': 'cache 1\ntotal_inactive_file 0\n',
    });
    expect([sampler.cores(), sampler.memoryBytes()]).toEqual([2, 2 * GIB]);
    clock.nowMs = 1000;
    write({ 'proc/stat': stat([core(0, 100)]), 'sys/fs/cgroup/cpu,cpuacct/cpuacct.usage': '1000000000\n' });
    expect(sampler.sample()).toMatchObject({ cpu_percent: 50, memory_percent: 50 });
  });

  it('takes "unlimited" of either version as no limit', () => {
    const { sampler } = machine({
      'proc/self/mountinfo': `${MOUNTS_V2}32 30 0:28 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n`,
      'proc/self/cgroup': '6:memory:/\n0::/../../elsewhere\n',
      'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
      'sys/fs/cgroup/cpu.max': 'max 100000\n',
    });
    expect([sampler.cores(), sampler.memoryBytes()]).toEqual([4, 16 * GIB]);
  });
});

describe('load elsewhere', () => {
  it('uses what Node.js offers, and the measured available memory', () => {
    const sampler = createLoadSampler({
      platform: 'darwin',
      root: folder(),
      nowMs: () => 0,
      availableBytes: () => 0,
    });
    const load = sampler.sample();
    expect(load.memory_percent).toBe(100);
    expect(load.psi_cpu_some_avg10).toBeNull();
    expect(load.cpu_percent).toBeGreaterThanOrEqual(0);
    expect(load.cpu_percent).toBeLessThanOrEqual(100);
  });
});
