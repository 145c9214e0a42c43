import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createSystemProbe, type NodeProbe } from '../../../../src/adapters/os/system-probe.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import type { DetectedFacts } from '../../../../src/ports/system.ts';
import { factsSchema, loadSchema } from '../../../../src/wire/facts.ts';
import { temporaryFolders, writeScript } from '../../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();
const probes: NodeProbe[] = [];
afterEach(() => {
  for (const probe of probes.splice(0)) probe.stop();
});

function probeOf(bin: string, factsFile: string | null = null): NodeProbe {
  const probe = createSystemProbe({
    env: { PATH: `${bin}:/usr/bin:/bin` },
    home: '/nonexistent',
    user: null,
    labels: { room: 'attic' },
    factsFile,
    log: silentLogger,
  });
  probes.push(probe);
  return probe;
}

describe('the probe of this machine', () => {
  it('detects facts and measures load that the wire accepts', async () => {
    const bin = folder();
    writeScript(join(bin, 'ninja'), 'echo 1.99.0');
    const probe = probeOf(bin);
    const facts = await probe.start(() => undefined);
    expect(factsSchema.parse({ ...facts, name: 'here', slots: 1, version: '0.1.0' })).toMatchObject({
      os: process.platform,
      arch: process.arch,
      labels: { room: 'attic' },
      overridden: false,
    });
    // A busy machine takes longer to tell all versions than a start waits for, and what took too long is asked again.
    await probe.whenLooked();
    await expect.poll(() => probe.facts().tools['ninja'], { timeout: 80_000 }).toBe('1.99.0');
    const load = { ...probe.sampleLoad(), jobs_running: 0, jobs_queued: 0, slots_free: 1, overloaded: false };
    expect(loadSchema.parse(load)).toEqual(load);
  });

  it('finds any executable for a requirement', async () => {
    const bin = folder();
    writeScript(join(bin, 'house-tool'));
    const probe = probeOf(bin);
    await probe.start(() => undefined);
    expect(await probe.hasTool('house-tool')).toBe(true);
    expect(await probe.hasTool('sh')).toBe(true);
    expect(await probe.hasTool('no-such-tool')).toBe(false);
  });

  it('lets a facts file speak for the tools, and tells of its changes', async () => {
    const bin = folder();
    writeScript(join(bin, 'git'), 'echo git version 2.1.0');
    const path = join(bin, 'facts.json');
    writeFileSync(path, '{"tools": {"house-tool": "3.0"}, "cpu_percent": 95, "cores": 8}');
    const probe = probeOf(bin, path);
    const told: DetectedFacts[] = [];
    const facts = await probe.start((changed) => told.push(changed));
    expect(facts).toMatchObject({ tools: { 'house-tool': '3.0' }, cores: 8, overridden: true });
    expect(probe.sampleLoad().cpu_percent).toBe(95);
    expect(await probe.hasTool('house-tool')).toBe(true);
    expect(await probe.hasTool('git')).toBe(false);
    expect(await probe.hasTool('sh')).toBe(true);
    writeFileSync(path, '{"cpu_percent": 5}');
    await expect.poll(() => told.at(-1)?.tools['git'], { timeout: 80_000 }).toBe('2.1.0');
    expect(probe.sampleLoad().cpu_percent).toBe(5);
    rmSync(path);
  });

  it('refuses a bad facts file before anything starts', () => {
    const path = join(folder(), 'facts.json');
    writeFileSync(path, '{"cpu": 1}');
    expect(() => probeOf('/usr/bin', path)).toThrow(expect.objectContaining({ code: 'bad_config' }));
  });
});
