import type * as Fs from 'node:fs';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { openJournal } from '../../../../src/adapters/journal/journal.ts';
import { temporaryFolders } from '../../../fixtures/temporary-folder.ts';

/** The disk: how many bytes it still takes, and whether a file on it can be cut. */
const disk = vi.hoisted(() => ({ freeBytes: Number.POSITIVE_INFINITY, cuts: true }));
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof Fs>();
  const noSpace = (): Error => Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
  return {
    ...fs,
    writeSync(fd: number, bytes: Uint8Array, at = 0): number {
      if (typeof bytes === 'string') return fs.writeSync(fd, bytes);
      const taken = Math.min(bytes.byteLength - at, disk.freeBytes);
      if (taken === 0) throw noSpace();
      disk.freeBytes -= taken;
      return fs.writeSync(fd, bytes, at, taken);
    },
    ftruncateSync(fd: number, length: number): void {
      if (!disk.cuts) throw noSpace();
      fs.ftruncateSync(fd, length);
    },
  };
});
const folder = temporaryFolders();

describe('a journal on a full disk', () => {
  it('refuses the record, stays whole, and goes on once there is room', async () => {
    const path = join(folder(), 'a.journal');
    const { journal } = openJournal(path);
    journal.append({ n: 1 });
    disk.freeBytes = 5;
    expect(() => journal.append({ n: 2 })).toThrow(expect.objectContaining({ code: 'io' }));
    expect(statSync(path).size).toBe(journal.bytes);
    await expect(journal.rewrite([{ n: 1 }])).rejects.toMatchObject({ code: 'io' });
    disk.freeBytes = Number.POSITIVE_INFINITY;
    journal.append({ n: 3 });
    expect(openJournal(path)).toMatchObject({ entries: [{ n: 1 }, { n: 3 }], damage: [] });
    await journal.close();
  });

  it('cuts the torn record off before the next one where it could not at once', () => {
    const path = join(folder(), 'a.journal');
    const { journal } = openJournal(path);
    journal.append({ n: 1 });
    Object.assign(disk, { freeBytes: 5, cuts: false });
    expect(() => journal.append({ n: 2 })).toThrow('cannot be cut off');
    expect(readFileSync(path).byteLength).toBe(journal.bytes + 5);
    Object.assign(disk, { freeBytes: Number.POSITIVE_INFINITY, cuts: true });
    journal.append({ n: 3 });
    expect(openJournal(path)).toMatchObject({ entries: [{ n: 1 }, { n: 3 }], damage: [] });
  });
});
