import { describe, expect, it } from 'vitest';
import { bytesOfText } from '../../../src/base/byte-text.ts';
import {
  foldedPath,
  isPortableLink,
  isProtected,
  parseChangedPath,
  parseTreePath,
  wrongWithKind,
} from '../../../src/wire/tree-path.ts';
import type { TreePath } from '../../../src/wire/manifest.ts';

const path = (text: string): TreePath => {
  const parsed = parseChangedPath(bytesOfText(text));
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
};
const allowed = (text: string): boolean => parseTreePath(bytesOfText(text)).ok;

describe('paths of a tree', () => {
  it.each([
    'a',
    'src/a b.ts',
    'new\nline',
    'back\\slash',
    '...',
    '.github/x',
    '.gitignore',
    'a/.gitmodules',
    'git',
    'digit~1',
    'grün/ß',
    '.git/HEAD',
    '.git/MERGE_HEAD',
    '.git/packed-refs',
    '.git/index',
    '.git/config',
    '.git/refs/heads/feature/x',
    '.git/refs',
    'sub/deep/.git/HEAD',
    '.git/objects',
    `.git/objects/ab/${'0'.repeat(38)}`,
    `.git/objects/pack/pack-${'a'.repeat(40)}.idx`,
    '.git/objects/info/commit-graphs/commit-graph-chain',
    '.git/info/exclude',
  ])('has %j', (text) => {
    expect(allowed(text)).toBe(true);
  });

  it.each([
    '',
    '/etc/passwd',
    '../x',
    'a/../b',
    'a/..',
    '.',
    './a',
    'a//b',
    'a/',
    'a\0b',
    '.GIT/hooks/x',
    '.Git/HEAD',
    'GIT~1/hooks',
    'sub/.gIt',
    '.git./HEAD',
    '.git /HEAD',
    '.git::$INDEX_ALLOCATION/x',
    '.g\u200cit/hooks/x',
    '\ufeff.git/hooks',
    '.git',
    'sub/.git',
    '.git/hooks/pre-commit',
    '.git/logs/HEAD',
    '.git/objects/info/alternates',
    '.git/objects/pack/tmp_pack_x',
    '.git/refs/heads/.git/hooks',
    '.git/refs/heads/x.lock',
    '.git/config.worktree',
    '.git/HEAD/x',
    '.git/modules/sub/HEAD',
    'sub/.git/hooks/x',
  ])('never has %j', (text) => {
    expect(allowed(text)).toBe(false);
  });

  it('refuses with the name and the reason, without control characters', () => {
    expect(parseTreePath('a/../b\x1b')).toEqual({ ok: false, error: String.raw`a/../b\u001b has '..' as a part` });
    expect(parseTreePath('x'.repeat(5000))).toMatchObject({ ok: false });
    expect(parseTreePath('\u0100').ok).toBe(false);
  });

  it('lets a job change what does not travel, within .git, but no names that are taken for it', () => {
    expect(parseChangedPath('.git/hooks/pre-commit').ok).toBe(true);
    expect(parseChangedPath('.GIT/hooks/pre-commit').ok).toBe(false);
    expect(parseChangedPath('../x').ok).toBe(false);
  });

  it('has no links within .git, and no files where git has folders', () => {
    expect(wrongWithKind('.git/HEAD', 'link')).not.toBeNull();
    expect(wrongWithKind('.git/refs', 'file')).not.toBeNull();
    expect(allowed('.git/hooks')).toBe(true);
    for (const kind of ['file', 'link'] as const) expect(wrongWithKind('.git/hooks', kind)).not.toBeNull();
    expect(wrongWithKind('.git/refs', 'folder')).toBeNull();
    expect(wrongWithKind('a/b', 'link')).toBeNull();
  });

  it.each([
    '.git/config',
    'a/.git/x',
    '.claude/settings.json',
    '.MCP.json',
    'pkg/.vscode/tasks.json',
    '.idea',
    '.envrc',
    '.husky/pre-commit',
    'x/.meshwork.toml',
    '.v\u200cscode/x',
  ])('protects %j', (text) => {
    expect(isProtected(path(text))).toBe(true);
  });

  it.each(['.env', 'mcp.json', 'src/claude/x', '.gitignore', 'envrc'])('does not protect %j', (text) => {
    expect(isProtected(path(text))).toBe(false);
  });

  it('folds case and normalisation, and leaves what is not UTF-8 alone', () => {
    expect(foldedPath(bytesOfText('Straße'))).toBe(foldedPath(bytesOfText('STRASSE')));
    expect(foldedPath(bytesOfText('caf\u00e9'))).toBe(foldedPath(bytesOfText('CAFE\u0301')));
    expect(foldedPath('a\xe9')).not.toBe(foldedPath('a\xea'));
    expect(foldedPath('README')).toBe(foldedPath('readme'));
  });

  it.each([
    ['a', 'b', true],
    ['a/b', '../c', true],
    ['a/b', '../../c', false],
    ['a', '..', false],
    ['a', '/etc/passwd', false],
    ['a/b', './/x/..', true],
    ['a', 'x/../../y', false],
    ['a', '', false],
  ])('says of the link %j to %j: portable is %j', (from, target, portable) => {
    expect(isPortableLink(path(from), target)).toBe(portable);
  });
});
