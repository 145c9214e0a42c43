import { readFileSync } from 'node:fs';
import type * as fsModule from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { openAuditLog } from '../../../src/node/audit-log.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';

const disk = vi.hoisted(() => ({ full: false }));

// A disk that takes a part of what is written and then no more, as a full one does.
vi.mock('node:fs', async (importOriginal) => {
  const fs = await importOriginal<typeof fsModule>();
  const writeSync = (fd: number, data: Uint8Array, at = 0): number => {
    if (!disk.full) return fs.writeSync(fd, data, at);
    if (at > 0) throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    return fs.writeSync(fd, data, 0, 10);
  };
  return { ...fs, writeSync };
});

const folder = temporaryFolders();

test('a full disk costs the audit log whole lines, never half ones, and the chain goes on behind them', () => {
  const path = join(folder(), 'audit.log');
  const errors: string[] = [];
  const log = { ...silentLogger, error: (message: string) => void errors.push(message) };
  const audit = openAuditLog(path, { bytesMax: 100_000, segmentsMax: 1 }, log);
  audit.append({ event: 'start', job: 'before' });
  disk.full = true;
  audit.append({ event: 'start', job: 'lost' });
  audit.append({ event: 'end', job: 'lost' });
  disk.full = false;
  audit.append({ event: 'start', job: 'after' });
  audit.close();
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
  expect(lines.map((line) => (JSON.parse(line) as { job: string }).job)).toEqual(['before', 'after']);
  expect(errors).toEqual(['the audit log cannot be written']);
});
