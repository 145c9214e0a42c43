import { expect, test } from 'vitest';
import { OutputGlobs } from '../../../src/adapters/workspace/output-globs.ts';
import { literalGlob } from '../../../src/base/literal-glob.ts';

test.each(['a/b.o', 'app/[slug]/x', 's/a[1]*.o', '!x', String.raw`back\slash`, 'what?', 'b{1,2}/x', '[', 'ü'])(
  'the glob for %s fits it alone',
  (path) => {
    const glob = new OutputGlobs([literalGlob(path)]);
    const bytes = Buffer.from(path).toString('latin1');
    expect(glob.matches(bytes)).toBe(true);
    for (const other of ['s/a1x.o', 'app/s/x', 'x', 'whatx', 'backslash', 'b1/x']) {
      if (other !== path) expect(glob.matches(other)).toBe(false);
    }
    expect(new OutputGlobs([`${literalGlob(path)}/**`]).matches(`${bytes}/deep/file`)).toBe(true);
  },
);
