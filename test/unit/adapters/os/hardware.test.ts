import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { detectGpus, readOnBattery } from '../../../../src/adapters/os/hardware.ts';
import { temporaryFolders, writeScript, writeTree } from '../../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();
const env = { PATH: '/usr/bin:/bin' };

describe('GPUs', () => {
  it('names those of NVIDIA whose device is here', async () => {
    const root = folder();
    writeTree(root, { 'proc/driver/nvidia/gpus/0000:01:00.0/information': 'Model: \t\t NVIDIA L4\nIRQ: 1\n' });
    const look = () => detectGpus({ platform: 'linux', root, nvidiaSmi: null, env, timeoutMs: 60_000 });
    expect(await look()).toEqual([]);
    writeTree(root, { 'dev/nvidia0': '', 'dev/nvidiactl': '' });
    expect(await look()).toEqual(['NVIDIA L4']);
  });

  it('asks nvidia-smi where only that is there, and takes its failure for none', async () => {
    const root = folder();
    const good = writeScript(join(root, 'nvidia-smi'), 'echo "NVIDIA A100"; echo "NVIDIA A100"');
    const bad = writeScript(join(root, 'broken'), 'echo "has failed because"; exit 9');
    expect(await detectGpus({ platform: 'linux', root, nvidiaSmi: good, env, timeoutMs: 60_000 })).toEqual([
      'NVIDIA A100',
      'NVIDIA A100',
    ]);
    expect(await detectGpus({ platform: 'linux', root, nvidiaSmi: bad, env, timeoutMs: 60_000 })).toEqual([]);
  });
});

describe('battery', () => {
  const supplies = (files: Readonly<Record<string, string>>): Promise<boolean> => {
    const root = folder();
    writeTree(
      root,
      Object.fromEntries(Object.entries(files).map(([name, text]) => [`sys/class/power_supply/${name}`, text])),
    );
    return readOnBattery('linux', root);
  };

  it.each([
    ['no supply at all', {}, false],
    [
      'discharging',
      { 'BAT0/type': 'Battery\n', 'BAT0/status': 'Discharging\n', 'AC/type': 'Mains\n', 'AC/online': '0\n' },
      true,
    ],
    [
      'plugged in',
      { 'BAT0/type': 'Battery\n', 'BAT0/status': 'Discharging\n', 'AC/type': 'Mains\n', 'AC/online': '1\n' },
      false,
    ],
    ["a mouse's battery", { 'hid/type': 'Battery\n', 'hid/scope': 'Device\n', 'hid/status': 'Discharging\n' }, false],
    ['charging', { 'BAT0/type': 'Battery\n', 'BAT0/status': 'Charging\n' }, false],
  ])('%s', async (_, files, expected) => {
    expect(await supplies(files)).toBe(expected);
  });
});
