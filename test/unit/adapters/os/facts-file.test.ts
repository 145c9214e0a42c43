import { renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openFactsFile, overrideFacts, overrideLoad } from '../../../../src/adapters/os/facts-file.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import type { DetectedFacts, MeasuredLoad } from '../../../../src/ports/system.ts';
import { temporaryFolders } from '../../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();

function factsFile(content: string) {
  const path = join(folder(), 'facts.json');
  writeFileSync(path, content);
  const warnings: string[] = [];
  const clock = { nowMs: 0 };
  const log = { ...silentLogger, warn: (message: string) => warnings.push(message) };
  return { path, warnings, clock, open: () => openFactsFile(path, log, () => clock.nowMs) };
}

const DETECTED: DetectedFacts = {
  os: 'linux',
  arch: 'x64',
  cores: 2,
  memory_bytes: 1000,
  tools: { git: '2.39.5', make: '4.3' },
  labels: { room: 'attic', disk: 'ssd' },
  gpus: [],
  on_battery: false,
  overridden: false,
};
const MEASURED: MeasuredLoad = {
  cpu_percent: 5,
  memory_percent: 10,
  memory_available_bytes: 900,
  load_1m: 0.5,
  psi_cpu_some_avg10: 1,
};

describe('MESHWORK_FACTS_FILE', () => {
  it('overrides any subset, and says so', () => {
    const facts = factsFile(
      '{"os":"darwin","tools":{"node":"22.1.0"},"labels":{"disk":"hdd"},"cpu_percent":95}',
    ).open();
    expect(overrideFacts(DETECTED, facts.current())).toEqual({
      ...DETECTED,
      os: 'darwin',
      tools: { node: '22.1.0' },
      labels: { room: 'attic', disk: 'hdd' },
      overridden: true,
    });
    expect(overrideLoad(MEASURED, facts.current(), 1000)).toEqual({
      ...MEASURED,
      cpu_percent: 95,
      psi_cpu_some_avg10: null,
    });
  });

  it('makes free memory agree with the percentage', () => {
    expect(overrideLoad(MEASURED, { memory_percent: 75 }, 1000)).toEqual({
      ...MEASURED,
      memory_percent: 75,
      memory_available_bytes: 250,
    });
  });

  it('is marked even where it changes nothing', () => {
    expect(overrideFacts(DETECTED, factsFile('{}').open().current())).toEqual({ ...DETECTED, overridden: true });
  });

  it.each([
    ['{"cpu_percent": 140}', 'cpu_percent'],
    ['{"cpus": 4}', '"cpus"'],
    ['{"os": "macos"}', '"os"'],
    ['{"tools": {"git": 2}}', 'tools.git'],
    ['[]', 'a list'],
    ['{"os": ', 'not JSON'],
    ['', 'not JSON'],
  ])('at the start, %s is an error that names it', (content, named) => {
    const { open, path } = factsFile(content);
    expect(open).toThrow(expect.objectContaining({ code: 'bad_config', message: expect.stringContaining(named) }));
    expect(open).toThrow(path);
  });

  it('at the start, a missing file is an error', () => {
    expect(() => openFactsFile('/nowhere/facts.json', silentLogger, () => 0)).toThrow('ENOENT');
  });

  it('is read again when it changes, in place or by rename', () => {
    const { open, path } = factsFile('{"cores": 1}');
    const facts = open();
    expect(facts.poll()).toBe(false);
    writeFileSync(path, '{"cores": 2}');
    expect(facts.poll()).toBe(true);
    expect(facts.current()).toEqual({ cores: 2 });
    writeFileSync(`${path}.new`, '{"cores": 3}');
    renameSync(`${path}.new`, path);
    expect(facts.poll()).toBe(true);
    expect(facts.current()).toEqual({ cores: 3 });
  });

  it('notices a change that keeps size and time, while the file is young', () => {
    const { open, path } = factsFile('{"cores": 1}');
    const soon = Date.now() / 1000 + 60;
    utimesSync(path, soon, soon);
    const facts = open();
    writeFileSync(path, '{"cores": 2}');
    utimesSync(path, soon, soon);
    expect(facts.poll()).toBe(true);
  });

  it('keeps the last good content while the file is broken or gone, warns once a minute, and recovers', () => {
    const { open, path, warnings, clock } = factsFile('{"cores": 1}');
    const facts = open();
    writeFileSync(path, '{"cor');
    for (clock.nowMs = 1000; clock.nowMs < 50_000; clock.nowMs += 1000) expect(facts.poll()).toBe(false);
    expect(warnings).toHaveLength(1);
    rmSync(path);
    clock.nowMs = 70_000;
    expect(facts.poll()).toBe(false);
    expect(warnings).toHaveLength(2);
    expect(facts.current()).toEqual({ cores: 1 });
    writeFileSync(path, '{"cores": 4}');
    expect(facts.poll()).toBe(true);
    expect(facts.current()).toEqual({ cores: 4 });
  });
});
