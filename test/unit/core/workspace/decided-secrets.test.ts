import { expect, test } from 'vitest';
import { bytesOfText } from '../../../../src/base/byte-text.ts';
import { DecidedSecrets } from '../../../../src/core/workspace/decided-secrets.ts';

test('a name decides for itself, the nearest folder for what lies in it', () => {
  const decided = new DecidedSecrets({
    '.env': 'send',
    'conf/': 'send',
    'conf/local/': 'skip',
    'conf/local/deep/': 'send',
    'b\u00fccher/': 'skip',
  });
  expect(decided.ofName('.env')).toBe('send');
  expect(decided.ofName('conf/.env')).toBeNull();
  expect(decided.ofName('toString')).toBeNull();
  expect(decided.ofFolders('.env')).toBeNull();
  expect(decided.ofFolders('conf')).toBeNull();
  expect(decided.ofFolders('config/.env')).toBeNull();
  expect(decided.ofFolders('conf/.env')).toBe('send');
  expect(decided.ofFolders('conf/other/.env')).toBe('send');
  expect(decided.ofFolders('conf/local/.env')).toBe('skip');
  expect(decided.ofFolders('conf/local/x/.env')).toBe('skip');
  expect(decided.ofFolders('conf/local/deep/.env')).toBe('send');
  expect(decided.ofFolders(bytesOfText('b\u00fccher/.env'))).toBe('skip');
  expect(decided.sentFolders).toEqual(['conf', 'conf/local/deep']);
  expect(decided.sentFiles).toEqual(['.env']);
});

test('nothing is decided about', () => {
  const decided = new DecidedSecrets({});
  expect([decided.ofName('a/.env'), decided.ofFolders('a/.env')]).toEqual([null, null]);
});
