import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { silentLogger } from '../../../src/base/log.ts';
import { openAuditLog } from '../../../src/node/audit-log.ts';

test('a command cut off in the audit log is told from another of the same beginning', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mw-audit-'));
  const audit = openAuditLog(join(folder, 'audit.log'), { bytesMax: 100_000, segmentsMax: 1 }, silentLogger);
  const padded = `true ${'#'.repeat(4000)}\nrm é`;
  audit.append({ event: 'start', command: padded });
  audit.append({ event: 'start', command: 'true' });
  audit.close();
  const [cut, whole] = readFileSync(join(folder, 'audit.log'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  rmSync(folder, { recursive: true });
  expect(cut).toMatchObject({
    command: padded.slice(0, 4000),
    command_sha256: createHash('sha256').update(padded).digest('hex'),
  });
  expect(whole).not.toHaveProperty('command_sha256');
});
