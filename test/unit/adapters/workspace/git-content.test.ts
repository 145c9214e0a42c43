import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { normalisedIndex, withStatOf } from '../../../../src/adapters/workspace/git-content.ts';
import { SHA1_TOOLS } from '../../../../src/adapters/workspace/git-index-file.ts';
import { normaliseGitIndex } from '../../../../src/core/workspace/git-index.ts';
import { gitEnvironment, gitRunner } from '../../../fixtures/git-repositories.ts';
import { temporaryFolders, writeTree } from '../../../fixtures/temporary-folder.ts';

const temporary = temporaryFolders();

function repository(format: 'sha1' | 'sha256' = 'sha1') {
  const root = join(temporary(), 'r');
  mkdirSync(root);
  const git = gitRunner(gitEnvironment(join(root, '..')));
  git(root, 'init', '-q', `--object-format=${format}`);
  const files = Object.fromEntries(
    Array.from({ length: 40 }, (_, index) => [`d${index % 3}/${'n'.repeat(index)}x`, `${index}`]),
  );
  writeTree(root, files);
  git(root, 'add', '-A');
  const index = (): Buffer => readFileSync(join(root, '.git/index'));
  return { root, git, index };
}

test.each(['sha1', 'sha256'] as const)('an index of %s repositories says the same without stat data', (format) => {
  const { root, git, index } = repository(format);
  const listed = git(root, 'ls-files', '-s');
  const normalised = normalisedIndex(index());
  if (normalised === null) throw new Error('not understood');
  expect(normalisedIndex(normalised)).toEqual(normalised);
  writeFileSync(join(root, '.git/index'), normalised);
  expect(git(root, 'ls-files', '-s')).toBe(listed);
  expect(git(root, 'ls-files', '--debug')).toContain('mtime: 0:0');
  expect(
    git(root, 'status', '--porcelain')
      .split('\n')
      .filter((line) => !line.startsWith('A  ')),
  ).toEqual(['']);
  // Git wrote what it learnt; what is staged is the same.
  git(root, 'update-index', '-q', '--refresh');
  expect(index().equals(normalised)).toBe(false);
  expect(normalisedIndex(index())).toEqual(normalised);
  git(root, 'add', '--chmod=+x', 'd0/x');
  expect(normalisedIndex(index())).not.toEqual(normalised);
});

test('stat data is carried over for what stages the same', () => {
  const { root, git, index } = repository();
  git(root, 'update-index', '-q', '--refresh');
  const there = index();
  writeFileSync(join(root, 'd1/nx'), 'changed');
  git(root, 'add', '-A');
  const sent = normalisedIndex(index());
  if (sent === null) throw new Error('not understood');
  expect(withStatOf(sent, Buffer.from('no index'))).toEqual(sent);
  writeFileSync(join(root, '.git/index'), withStatOf(sent, there));
  const stale = git(root, 'diff-files', '--name-only').trim();
  expect(stale).toBe('d1/nx');
});

test('damaged, cut and foreign bytes are no index', () => {
  const whole = repository().index();
  expect(normalisedIndex(new Uint8Array(0))).toBeNull();
  expect(normalisedIndex(Buffer.from('no index at all, but long enough to be one'))).toBeNull();
  for (let cut = 0; cut < whole.length; cut += 7) expect(normalisedIndex(whole.subarray(0, cut))).toBeNull();
  for (let at = 0; at < whole.length - 20; at += 5) {
    const damaged = Buffer.from(whole);
    damaged[at] = (damaged[at] ?? 0) ^ 0xff;
    // Its trailer tells; without it, nothing throws and nothing is read beyond the end.
    expect(normalisedIndex(damaged)).toBeNull();
    normaliseGitIndex(damaged, SHA1_TOOLS);
  }
});
