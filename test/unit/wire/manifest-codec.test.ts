import * as fc from 'fast-check';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  decodeChangeHead,
  decodeChangeList,
  CHANGE_HEAD_BYTES,
  encodeChangeList,
} from '../../../src/wire/change-pack.ts';
import { decodeManifest, encodeManifest, objectsOf, sortEntries } from '../../../src/wire/manifest-codec.ts';
import {
  applyDifference,
  compareManifests,
  encodeDifference,
  isDifference,
} from '../../../src/wire/manifest-difference.ts';
import type { Manifest, ManifestEntry, ManifestHash, ObjectHash, TreePath } from '../../../src/wire/manifest.ts';
import { parsePack } from '../../../src/wire/object-pack.ts';

const RUNS = 10_000;
const hashOf = (byte: number): ObjectHash => byte.toString(16).padStart(2, '0').repeat(32) as ObjectHash;
const BASE = hashOf(0xba) as string as ManifestHash;
const MiB = 1024 * 1024;

/** No check: what a hostile sender could write. */
const at = (path: string): TreePath => path as TreePath;
const file = (path: string, more: Partial<Extract<ManifestEntry, { kind: 'file' }>> = {}): ManifestEntry => ({
  kind: 'file',
  path: at(path),
  size: 5,
  mode: 0o644,
  mtimeMs: 1_790_000_000_123,
  hash: hashOf(path.length & 0xff),
  chunks: null,
  ...more,
});
const link = (path: string, target: string): ManifestEntry => ({ kind: 'link', path: at(path), target });
const folder = (path: string): ManifestEntry => ({ kind: 'folder', path: at(path) });
const sorted = (...entries: ManifestEntry[]): Manifest => ({ entries: sortEntries(entries) });
const refusal = (manifest: Manifest): string => {
  const decoded = decodeManifest(encodeManifest(manifest));
  return decoded.ok ? 'taken' : decoded.error;
};

const PARTS = [
  'a',
  'b',
  'A',
  'src',
  '.',
  '..',
  '',
  '.git',
  '.GIT',
  'git~1',
  '.g\xe2\x80\x8cit',
  'hooks',
  'HEAD',
  'x\0',
  'new\nline',
  '\xff',
  '.claude',
  '\\',
  'refs',
];
const anyPath = fc.oneof(
  fc.array(fc.constantFrom(...PARTS), { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/')),
  fc.string({ unit: 'binary', maxLength: 8 }),
);
const anyEntry: fc.Arbitrary<ManifestEntry> = fc.oneof(
  fc
    .record({ path: anyPath, size: fc.nat(9), mode: fc.nat(0o1777), mtimeMs: fc.nat() })
    .map(({ path, ...more }) => file(path, more)),
  fc.record({ path: anyPath, target: anyPath }).map(({ path, target }) => link(path, target)),
  anyPath.map(folder),
) as fc.Arbitrary<ManifestEntry>;
const anyEntries = fc
  .tuple(fc.array(anyEntry, { maxLength: 6 }), fc.integer({ min: 0, max: 3 }))
  .map(([entries, order]) => (order === 0 ? entries : sortEntries(entries)));
const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 });

function damaged(bytes: Uint8Array, changes: readonly (readonly [number, number])[]): Uint8Array {
  const copy = bytes.slice();
  for (const [where, value] of changes) if (copy.length > 0) copy[where % copy.length] = value;
  return copy;
}

/** Told apart from the code that is tested: what the platform makes of the path. */
function expectInside(entries: readonly ManifestEntry[], isManifest: boolean): void {
  const paths = new Set(entries.map((entry) => entry.path as string));
  expect(paths.size).toBe(entries.length);
  for (const { path, kind } of entries) {
    expect(resolve('/root/of/tree', path)).toBe(`/root/of/tree/${path}`);
    expect(path).not.toContain('\0');
    const parts = path.split('/');
    for (const part of parts) {
      const name = Buffer.from(part, 'latin1')
        .toString('utf8')
        .replaceAll(/\p{Cf}/gu, '')
        .toLowerCase();
      if (part !== '.git') expect(name).not.toMatch(/^(\.git|git~1)[. ]*$/);
    }
    // The folder of hooks, which is empty, and nothing that would be run.
    if (isManifest && kind !== 'folder') expect(path).not.toMatch(/(^|\/)\.git\/hooks/);
    if (isManifest) expect(path).not.toMatch(/(^|\/)\.git\/(hooks\/|logs)/);
    parts.slice(1).forEach((_, index) => expect(paths.has(parts.slice(0, index + 1).join('/'))).toBe(false));
  }
}

/** The same runs each time, and others: a failure prints its seed and path. */
const seeds = [4711, Math.floor(Math.random() * 2 ** 31)];

describe('manifests in binary', () => {
  const whole = sorted(
    file('a-b'),
    file('a/b', { mode: 0o755 }),
    file('caf\xc3\xa9\n.txt', { size: 0 }),
    file('a/big', {
      size: 3 * MiB,
      chunks: [
        { hash: hashOf(1), size: 2 * MiB },
        { hash: hashOf(2), size: MiB },
      ],
    }),
    link('l', 'a/b'),
    folder('empty'),
    file('.git/HEAD'),
    folder('.git/refs'),
    file('far', { mtimeMs: 2 ** 45 + 1 }),
  );

  it('come back as they were, from one encoding only', () => {
    expect(decodeManifest(encodeManifest(whole))).toEqual({ ok: true, value: whole });
    expect(decodeManifest(encodeManifest({ entries: [] }))).toEqual({ ok: true, value: { entries: [] } });
  });

  it.each([
    ['../x', /has '\.\.' as a part/],
    ['/etc/cron.d/x', /is absolute/],
    ['.GIT/hooks/pre-commit', /take for \.git/],
    ['.git/hooks/pre-commit', /not among the files of \.git/],
    ['a//b', /an empty part/],
    ['a\0b', /NUL/],
  ])('are refused with %j, by name', (path, message) => {
    expect(refusal(sorted(file(path)))).toMatch(message);
  });

  it('are refused with what lies below a file or link, wherever that is in the list', () => {
    expect(refusal(sorted(link('a', 'b'), file('a/x')))).toMatch(/^a manifest is malformed: a\/x lies below/);
    expect(refusal(sorted(file('a'), file('a-b'), file('a-c'), file('a/x')))).toMatch(/a\/x lies below/);
    expect(refusal(sorted(folder('a/b'), file('a/b-'), file('a/b/c/d')))).toMatch(/lies below/);
    expect(refusal(sorted(file('a'), file('a-b/c'), file('ab/c')))).toBe('taken');
  });

  it('are refused with duplicates and out of order', () => {
    expect(refusal({ entries: [file('b'), file('a')] })).toMatch(/a is out of order/);
    expect(refusal({ entries: [file('a'), file('a')] })).toMatch(/a is out of order or there twice/);
    expect(refusal({ entries: [file('ab'), file('a')] })).toMatch(/a is out of order/);
  });

  it('are refused with other bounds broken', () => {
    expect(refusal(sorted(file('a', { mode: 0o4755 })))).toMatch(/more than 511/);
    expect(refusal(sorted(link('a', '/etc')))).toMatch(/leads out of the project/);
    expect(refusal(sorted(link('a/b', '../../c')))).toMatch(/leads out of the project/);
    expect(refusal(sorted(link('.git/HEAD', 'x')))).toMatch(/is a link within \.git/);
    expect(refusal(sorted(file('a', { size: 3 * MiB, chunks: [{ hash: hashOf(1), size: 3 * MiB }] })))).toMatch(
      /more than 2097152/,
    );
    expect(
      refusal(
        sorted(
          file('a', {
            size: 3 * MiB,
            chunks: [
              { hash: hashOf(1), size: 2 * MiB },
              { hash: hashOf(1), size: 2 * MiB },
            ],
          }),
        ),
      ),
    ).toMatch(/chunks of a are not its size/);
  });

  it('are refused where bytes miss, are left over, or announce more than there are', () => {
    const bytes = encodeManifest(whole);
    for (let length = 0; length < bytes.length; length++)
      expect(decodeManifest(bytes.subarray(0, length)).ok).toBe(false);
    expect(decodeManifest(new Uint8Array([...bytes, 0])).ok).toBe(false);
    expect(decodeManifest(new Uint8Array([...'MWMF'].map((c) => c.charCodeAt(0)).concat(1, 0xff, 0xff, 0x0f)))).toEqual(
      {
        ok: false,
        error: 'a manifest is malformed: 262143 items in 0 bytes',
      },
    );
  });

  it('give their distinct objects in order of first appearance', () => {
    const twice = sorted(
      file('a', { hash: hashOf(9) }),
      file('b', { hash: hashOf(8) }),
      file('c', { hash: hashOf(9) }),
    );
    expect(objectsOf(twice.entries)).toEqual([
      { hash: hashOf(9), size: 5 },
      { hash: hashOf(8), size: 5 },
    ]);
    expect(objectsOf(whole.entries)).toContainEqual({ hash: hashOf(2), size: MiB });
  });

  it.each(seeds)(`never lead out of the root, whatever the bytes (${RUNS} runs, seed %i)`, (seed) => {
    let taken = 0;
    fc.assert(
      fc.property(anyEntries, damage, (entries, changes) => {
        const bytes = damaged(encodeManifest({ entries }), changes);
        const decoded = decodeManifest(bytes);
        if (!decoded.ok) return;
        taken++;
        expectInside(decoded.value.entries, true);
        expect(Buffer.compare(encodeManifest(decoded.value), bytes)).toBe(0);
      }),
      { numRuns: RUNS, seed },
    );
    // Or else the runs would show nothing.
    expect(taken).toBeGreaterThan(RUNS / 50);
  });
});

describe('differences of manifests', () => {
  const valid = fc.array(anyEntry, { maxLength: 12 }).map((entries) => {
    let kept: Manifest = { entries: [] };
    for (const entry of sortEntries(entries)) {
      const decoded = decodeManifest(encodeManifest({ entries: [...kept.entries, entry] }));
      if (decoded.ok) kept = decoded.value;
    }
    return kept;
  });

  it('make the one out of the other', () => {
    fc.assert(
      fc.property(valid, valid, (base, next) => {
        const bytes = encodeDifference(BASE, compareManifests(base, next));
        expect(isDifference(bytes)).toBe(true);
        expect(applyDifference(base, BASE, bytes)).toEqual({ ok: true, value: next });
      }),
      { numRuns: 1000 },
    );
  });

  it('are empty between equals, and see a time that changed', () => {
    const base = sorted(file('a'), file('b'));
    expect(compareManifests(base, base)).toEqual({ removed: [], put: [] });
    expect(compareManifests(base, sorted(file('a', { mtimeMs: 1 }), file('b'))).put).toHaveLength(1);
    expect(isDifference(encodeManifest(base))).toBe(false);
  });

  it('are refused where they do not fit', () => {
    const base = sorted(file('a'), file('b'));
    const difference = encodeDifference(BASE, { removed: [at('c')], put: [] });
    expect(applyDifference(base, BASE, difference)).toMatchObject({
      ok: false,
      error: expect.stringMatching(/c, which is removed/),
    });
    expect(applyDifference(base, hashOf(1) as string as ManifestHash, difference).ok).toBe(false);
    const below = encodeDifference(BASE, { removed: [], put: [file('a/x')] });
    expect(applyDifference(base, BASE, below)).toMatchObject({
      ok: false,
      error: expect.stringMatching(/a\/x lies below/),
    });
    const both = encodeDifference(BASE, { removed: [at('a')], put: [file('a')] });
    expect(applyDifference(base, BASE, both).ok).toBe(false);
  });

  it('are refused what no whole manifest may be: more folders or paths than memory holds', () => {
    const deep = (first: number): ManifestEntry[] =>
      Array.from({ length: 300 }, (_, index) => file(`${first + index}/${'a/'.repeat(2000)}x`));
    const base = sorted(...deep(100));
    const difference = encodeDifference(BASE, { removed: [], put: deep(400) });
    expect(applyDifference(base, BASE, difference)).toMatchObject({
      ok: false,
      error: expect.stringMatching(/more than 1000000 folders/),
    });
    const long = (first: number): ManifestEntry[] =>
      Array.from({ length: 40_000 }, (_, index) => file(`${'a'.repeat(4000)}${first + index}`));
    const names = encodeDifference(BASE, { removed: [], put: long(500_000) });
    expect(applyDifference(sorted(...long(100_000)), BASE, names)).toMatchObject({
      ok: false,
      error: expect.stringMatching(/paths of more than/),
    });
    const instead = { removed: base.entries.map(({ path }) => path), put: deep(400) };
    expect(applyDifference(base, BASE, encodeDifference(BASE, instead)).ok).toBe(true);
  });

  it.each(seeds)('never lead out of the root, whatever the bytes (seed %i)', (seed) => {
    fc.assert(
      fc.property(valid, anyEntries, fc.array(anyPath, { maxLength: 3 }), damage, (base, put, removed, changes) => {
        const bytes = damaged(encodeDifference(BASE, { removed: removed.toSorted().map(at), put }), changes);
        const applied = applyDifference(base, BASE, bytes);
        if (applied.ok) expectInside(applied.value.entries, true);
      }),
      { numRuns: RUNS / 5, seed },
    );
  });
});

describe('lists of changes', () => {
  const list = {
    changed: sorted(file('.git/hooks/x'), link('l', '/etc'), file('n')).entries,
    deleted: [at('a'), at('a/b')],
    earlier: [at('n')],
  };

  it('come back as they were', () => {
    const bytes = encodeChangeList(list);
    expect(decodeChangeHead(bytes.subarray(0, CHANGE_HEAD_BYTES))).toEqual({
      ok: true,
      value: bytes.length - CHANGE_HEAD_BYTES,
    });
    expect(decodeChangeList(bytes.subarray(CHANGE_HEAD_BYTES))).toEqual({ ok: true, value: list });
  });

  it('are refused with a path that is changed and deleted', () => {
    const bytes = encodeChangeList({ changed: [file('a')], deleted: [at('a')], earlier: [] });
    expect(decodeChangeList(bytes.subarray(CHANGE_HEAD_BYTES))).toMatchObject({
      ok: false,
      error: expect.stringMatching(/: a is changed and deleted/),
    });
    const stray = encodeChangeList({ changed: [file('a')], deleted: [], earlier: [at('b')] });
    expect(decodeChangeList(stray.subarray(CHANGE_HEAD_BYTES))).toMatchObject({ ok: false });
  });

  it.each(seeds)(`never lead out of the root, whatever the bytes (${RUNS} runs, seed %i)`, (seed) => {
    fc.assert(
      fc.property(anyEntries, fc.array(anyPath, { maxLength: 4 }), damage, (changed, deleted, changes) => {
        const earlier = changed.slice(0, 1).map(({ path }) => path);
        const bytes = damaged(encodeChangeList({ changed, deleted: deleted.toSorted().map(at), earlier }), changes);
        expect(typeof decodeChangeHead(bytes.subarray(0, CHANGE_HEAD_BYTES)).ok).toBe('boolean');
        const decoded = decodeChangeList(bytes.subarray(CHANGE_HEAD_BYTES));
        if (!decoded.ok) return;
        expectInside(decoded.value.changed, false);
        for (const path of decoded.value.deleted) expect(resolve('/r', path)).toBe(`/r/${path}`);
      }),
      { numRuns: RUNS, seed },
    );
  });
});

describe('packs', () => {
  it.each(seeds)(`are whole blocks or refused, whatever the bytes (${RUNS} runs, seed %i)`, (seed) => {
    const block = fc
      .record({ method: fc.constantFrom(0, 1, 2), sizes: fc.array(fc.nat(40), { maxLength: 4 }), given: fc.nat(60) })
      .map(({ method, sizes, given }) => {
        const bytes = Buffer.alloc(9 + sizes.length * 36 + given);
        bytes[0] = method;
        bytes.writeUInt32LE(sizes.length, 1);
        bytes.writeUInt32LE(method === 0 ? sizes.reduce((sum, size) => sum + size, 0) : given, 5);
        for (const [index, size] of sizes.entries()) bytes.writeUInt32LE(size, 9 + index * 36 + 32);
        return bytes;
      });
    fc.assert(
      fc.property(fc.array(block, { maxLength: 4 }), damage, (blocks, changes) => {
        const bytes = damaged(Buffer.concat(blocks), changes);
        const pack = parsePack(bytes);
        if (!pack.ok) return;
        let length = 0;
        for (const { objects, heads, body, method, contentBytes } of pack.value) {
          expect(heads.length).toBe(objects * 36);
          expect(contentBytes).toBeLessThanOrEqual(4 * MiB);
          if (method === 0) expect(body.length).toBe(contentBytes);
          length += 9 + heads.length + body.length;
        }
        expect(length).toBe(bytes.length);
      }),
      { numRuns: RUNS, seed },
    );
  });
});
