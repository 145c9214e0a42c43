import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { NodeId } from '../../../src/base/ids.ts';
import { type Logger, silentLogger } from '../../../src/base/log.ts';
import { Nearby } from '../../../src/node/nearby.ts';
import { loadAddresses, nextIncarnation, saveAddresses, saveIncarnation } from '../../../src/node/node-state.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();
const A = 'a'.repeat(52) as NodeId;
const B = 'b'.repeat(52) as NodeId;

function warnings(): { readonly log: Logger; readonly warned: string[] } {
  const warned: string[] = [];
  return { warned, log: { ...silentLogger, warn: (message) => void warned.push(message) } };
}

describe("a node's incarnation", () => {
  test('grows with every start, and is on the disk before it is used', () => {
    const path = join(folder(), 'state.json');
    const first = nextIncarnation(path, silentLogger);
    expect(nextIncarnation(path, silentLogger)).toBe(first + 1);
    saveIncarnation(path, 500);
    expect(nextIncarnation(path, silentLogger)).toBe(501);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({ version: 1, incarnation: 501 });
    expect(statSync(path).mode & 0o077).toBe(0);
  });

  test.each([
    '',
    '{',
    'null',
    '{"version":2,"incarnation":5}',
    '{"version":1,"incarnation":-1}',
    '{"version":1}',
    '\0\0\0',
  ])('is above any earlier one where the file is damaged: %j', (text) => {
    const path = join(folder(), 'state.json');
    writeFileSync(path, text);
    const { log, warned } = warnings();
    const incarnation = nextIncarnation(path, log);
    expect(incarnation).toBeGreaterThan(1_700_000_000);
    expect(warned).toHaveLength(1);
    expect(nextIncarnation(path, log)).toBe(incarnation + 1);
  });
});

describe('the last addresses of peers', () => {
  test('come back as they were saved', () => {
    const path = join(folder(), 'members.json');
    expect(loadAddresses(path, silentLogger)).toEqual(new Map());
    const book = new Map([
      [
        A,
        [
          { host: '10.0.0.2', port: 47_470 },
          { host: 'fd00::1', port: 1 },
        ],
      ],
      [B, []],
    ]);
    saveAddresses(path, book, silentLogger);
    expect(loadAddresses(path, silentLogger)).toEqual(book);
  });

  test.each(['{', '[]', JSON.stringify({ version: 1, peers: [{ id: 'me', addresses: [] }] })])(
    'are none where the file is damaged: %j',
    (text) => {
      const path = join(folder(), 'members.json');
      writeFileSync(path, text);
      const { log, warned } = warnings();
      expect(loadAddresses(path, log)).toEqual(new Map());
      expect(warned).toHaveLength(1);
    },
  );

  test('are lost with a warning where they cannot be saved', () => {
    const path = join(folder(), 'members.json');
    mkdirSync(join(path, 'in the way'), { recursive: true });
    const { log, warned } = warnings();
    saveAddresses(path, new Map([[A, []]]), log);
    expect(warned).toHaveLength(1);
  });
});

describe('machines nearby', () => {
  const hint = (n: number, name: string | null = `m${n}`) => ({
    host: `10.0.${n >> 8}.${n & 255}`,
    port: 47_470,
    claimedId: null,
    claimedName: name,
  });

  test('are at most 64, the latest heard', () => {
    const nearby = new Nearby();
    for (let n = 0; n < 1000; n++) nearby.note(hint(n), n);
    const listed = nearby.list(1000);
    expect(listed).toHaveLength(64);
    expect(listed.at(-1)).toEqual({ name: 'm999', address: '10.0.3.231:47470' });
    for (let n = 0; n < 100; n++) nearby.note(hint(999), 1000 + n);
    expect(nearby.list(1100)).toHaveLength(64);
  });

  test('go when they are silent, join, or turn out to be ourselves', () => {
    const nearby = new Nearby();
    nearby.note({ ...hint(1), claimedId: A }, 0);
    nearby.note({ ...hint(2), claimedId: B }, 100_000);
    expect(nearby.list(150_000)).toHaveLength(2);
    expect(nearby.list(150_001)).toEqual([{ name: 'm2', address: '10.0.0.2:47470' }]);
    nearby.forget(B);
    expect(nearby.list(150_001)).toEqual([]);
  });

  test('keep the address that was seen first, and have a name in any case', () => {
    const nearby = new Nearby();
    nearby.note({ ...hint(1, null), claimedId: A }, 0);
    nearby.note({ ...hint(2, null), claimedId: A }, 1);
    nearby.note(hint(3, null), 2);
    expect(nearby.list(2)).toEqual([
      { name: 'aaaaaaaa', address: '10.0.0.1:47470' },
      { name: '10.0.0.3', address: '10.0.0.3:47470' },
    ]);
  });
});
