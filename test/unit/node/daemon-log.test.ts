import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openDaemonLog } from '../../../src/node/daemon-log.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshwork-log-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('a stderr that cannot be written, as on a full disk, does not end the daemon while its log is open', () => {
  const path = join(folder, 'daemon.log');
  const { log, close } = openDaemonLog({ path, level: 'info', bytesMax: 65_536, alsoStderr: false });
  // Without a listener, this is what ends a process.
  const fail = (): boolean => process.stderr.emit('error', new Error('ENOSPC: no space left on device, write'));
  expect(fail).not.toThrow();
  log.info('still here', { n: 1 });
  close();
  expect(readFileSync(path, 'utf8')).toMatch(/"n":1,"msg":"still here"/);
});
