import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeAfter } from '../../../src/wire/encoded-manifest.ts';
import { decodeManifest, encodeManifest, sortEntries } from '../../../src/wire/manifest-codec.ts';
import { applyDifference, encodeDifference } from '../../../src/wire/manifest-difference.ts';
import type { Manifest, ManifestEntry, ManifestHash, ObjectHash, TreePath } from '../../../src/wire/manifest.ts';

const BASE = 'ba'.repeat(32) as ManifestHash;
const MiB = 1024 * 1024;

const anyPath = fc
  .array(fc.constantFrom('a', 'a-', 'a.b', 'b', 'src', 'src0', 'é', 'x'.repeat(150)), { minLength: 1, maxLength: 4 })
  .map((parts) => parts.join('/') as TreePath);
const anyHash = fc.nat(255).map((byte) => byte.toString(16).padStart(2, '0').repeat(32) as ObjectHash);
const anyEntry: fc.Arbitrary<ManifestEntry> = fc.oneof(
  fc.record({
    kind: fc.constant('file' as const),
    path: anyPath,
    size: fc.nat(2 * MiB),
    mode: fc.nat(0o777),
    mtimeMs: fc.nat(),
    hash: anyHash,
    chunks: fc.constant(null),
  }),
  fc.record({ path: anyPath, hash: anyHash }).map(({ path, hash }) => {
    const chunks = [1, 2, 3].map(() => ({ hash, size: MiB }));
    return { kind: 'file' as const, path, size: 3 * MiB, mode: 0o644, mtimeMs: 1, hash, chunks };
  }),
  anyPath.map((path) => ({ kind: 'link' as const, path, target: 'a' })),
  anyPath.map((path) => ({ kind: 'folder' as const, path })),
);

/** Any list, as a manifest that is taken. */
function tree(entries: readonly ManifestEntry[]): Manifest {
  const kept: ManifestEntry[] = [];
  for (const entry of sortEntries([...entries])) {
    if (decodeManifest(encodeManifest({ entries: [...kept, entry] })).ok) kept.push(entry);
  }
  return { entries: kept };
}

const anyTree = fc.array(anyEntry, { maxLength: 24 }).map(tree);

/** Some of the entries left out, some put in or instead; all others are the same objects. */
const anyNext = fc
  .record({ base: anyTree, dropped: fc.array(fc.nat(23), { maxLength: 3 }), put: fc.array(anyEntry, { maxLength: 4 }) })
  .map(({ base, dropped, put }) => {
    const paths = new Set(put.map(({ path }) => path));
    const rest = base.entries.filter((entry, index) => !dropped.includes(index) && !paths.has(entry.path));
    return { base, next: tree([...rest, ...put]) };
  });

describe('an encoding after another', () => {
  it('has the bytes of one that is made anew, and says where each entry begins', () => {
    fc.assert(
      fc.property(anyNext, ({ base, next }) => {
        const after = encodeAfter(encodeAfter(null, base), next);
        const anew = encodeAfter(null, next);
        expect(Buffer.compare(after.bytes, encodeManifest(next))).toBe(0);
        expect(Buffer.compare(anew.bytes, after.bytes)).toBe(0);
        expect(after.starts).toEqual(anew.starts);
      }),
      { numRuns: 1000 },
    );
  });

  it('serves for the next one, and that for the one after it', () => {
    fc.assert(
      fc.property(anyTree, fc.array(fc.array(anyEntry, { maxLength: 3 }), { maxLength: 6 }), (first, changes) => {
        let latest = encodeAfter(null, first);
        for (const put of changes) {
          const paths = new Set(put.map(({ path }) => path));
          const next = tree([...latest.manifest.entries.filter(({ path }) => !paths.has(path)), ...put]);
          latest = encodeAfter(latest, next);
          expect(Buffer.compare(latest.bytes, encodeManifest(next))).toBe(0);
        }
      }),
      { numRuns: 200 },
    );
  });

  it('does not take entries that are alike but not the same objects for copies of each other', () => {
    const base = tree([{ kind: 'folder', path: 'a' as TreePath }]);
    const next = tree([{ kind: 'folder', path: 'a' as TreePath }]);
    expect(Buffer.compare(encodeAfter(encodeAfter(null, base), next).bytes, encodeManifest(next))).toBe(0);
  });
});

describe('what a difference puts', () => {
  it('is refused exactly where the whole manifest is', () => {
    let refused = 0;
    fc.assert(
      fc.property(anyTree, fc.array(anyEntry, { maxLength: 3 }), (base, added) => {
        // By itself it is a list that is taken.
        const put = tree(added).entries;
        const paths = new Set(put.map(({ path }) => path));
        const next = { entries: sortEntries([...base.entries.filter(({ path }) => !paths.has(path)), ...put]) };
        const whole = decodeManifest(encodeManifest(next));
        const applied = applyDifference(base, BASE, encodeDifference(BASE, { removed: [], put }));
        expect(applied.ok).toBe(whole.ok);
        if (applied.ok && whole.ok) expect(applied.value).toEqual(whole.value);
        else refused++;
        if (!applied.ok && !whole.ok) expect(applied.error.split(': ')[1]).toBe(whole.error.split(': ')[1]);
      }),
      { numRuns: 1000 },
    );
    expect(refused).toBeGreaterThan(20);
  });
});
