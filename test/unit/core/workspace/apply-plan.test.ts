import { describe, expect, it } from 'vitest';
import {
  type ApplyRules,
  applyRules,
  decideDeletion,
  type DeleteDecision,
  decideWrite,
  type LocalState,
  type WriteDecision,
} from '../../../../src/core/workspace/apply-plan.ts';
import type { ManifestEntry, ObjectHash, TreePath } from '../../../../src/wire/manifest.ts';

const hash = (digit: string): ObjectHash => digit.repeat(64) as ObjectHash;
const file = (path: string, digit: string, mode = 0o644): ManifestEntry => ({
  kind: 'file',
  path: path as TreePath,
  size: 1,
  mode,
  mtimeMs: 0,
  hash: hash(digit),
  chunks: null,
});
const link = (path: string, target: string): ManifestEntry => ({ kind: 'link', path: path as TreePath, target });
const folder = (path: string): ManifestEntry => ({ kind: 'folder', path: path as TreePath });

const LOCAL = {
  absent: { kind: 'absent' },
  asSent: { kind: 'file', hash: hash('a'), mode: 0o644 },
  asSentOtherMode: { kind: 'file', hash: hash('a'), mode: 0o600 },
  asMade: { kind: 'file', hash: hash('b'), mode: 0o644 },
  edited: { kind: 'file', hash: hash('c'), mode: 0o644 },
  link: { kind: 'link', target: 'x' },
  folder: { kind: 'folder' },
  other: { kind: 'other' },
  blocked: { kind: 'blocked' },
} as const satisfies Record<string, LocalState>;
type Local = keyof typeof LOCAL;

const RULES: ApplyRules = { held: false, isMassDeletion: false };
const HELD: ApplyRules = { held: true, isMassDeletion: true };

/** What was sent and what the job made of it; then what becomes of it for each thing that may lie here now. */
const WRITES: Record<string, readonly [ManifestEntry | null, ManifestEntry, Record<Local, WriteDecision['kind']>]> = {
  'a changed file': [
    file('p', 'a'),
    file('p', 'b'),
    {
      absent: 'conflict',
      asSent: 'write',
      asSentOtherMode: 'write',
      asMade: 'there',
      edited: 'conflict',
      link: 'conflict',
      folder: 'conflict',
      other: 'conflict',
      blocked: 'conflict',
    },
  ],
  'a new file': [
    null,
    file('p', 'b'),
    {
      absent: 'write',
      asSent: 'conflict',
      asSentOtherMode: 'conflict',
      asMade: 'there',
      edited: 'conflict',
      link: 'conflict',
      folder: 'conflict',
      other: 'conflict',
      blocked: 'conflict',
    },
  ],
  'a changed mode': [
    file('p', 'a'),
    file('p', 'a', 0o755),
    {
      absent: 'conflict',
      asSent: 'write',
      asSentOtherMode: 'conflict',
      asMade: 'conflict',
      edited: 'conflict',
      link: 'conflict',
      folder: 'conflict',
      other: 'conflict',
      blocked: 'conflict',
    },
  ],
  'a link that became a file': [
    link('p', 'x'),
    file('p', 'b'),
    {
      absent: 'conflict',
      asSent: 'conflict',
      asSentOtherMode: 'conflict',
      asMade: 'there',
      edited: 'conflict',
      link: 'write',
      folder: 'conflict',
      other: 'conflict',
      blocked: 'conflict',
    },
  ],
  'a file that became a link': [
    file('p', 'a'),
    link('p', 'x'),
    {
      absent: 'conflict',
      asSent: 'write',
      asSentOtherMode: 'write',
      asMade: 'conflict',
      edited: 'conflict',
      link: 'there',
      folder: 'conflict',
      other: 'conflict',
      blocked: 'conflict',
    },
  ],
  'an empty folder that became a file': [
    folder('p'),
    file('p', 'b'),
    {
      absent: 'write',
      asSent: 'conflict',
      asSentOtherMode: 'conflict',
      asMade: 'there',
      edited: 'conflict',
      link: 'conflict',
      folder: 'write',
      other: 'conflict',
      blocked: 'conflict',
    },
  ],
  'a new folder': [
    null,
    folder('p'),
    {
      absent: 'write',
      asSent: 'conflict',
      asSentOtherMode: 'conflict',
      asMade: 'conflict',
      edited: 'conflict',
      link: 'conflict',
      folder: 'there',
      other: 'conflict',
      blocked: 'conflict',
    },
  ],
  'a protected file': [
    file('.envrc', 'a'),
    file('.envrc', 'b'),
    {
      absent: 'conflict',
      asSent: 'held',
      asSentOtherMode: 'held',
      asMade: 'there',
      edited: 'conflict',
      link: 'conflict',
      folder: 'conflict',
      other: 'conflict',
      blocked: 'conflict',
    },
  ],
  'a link that leads out': [
    null,
    link('p', '../x'),
    {
      absent: 'held',
      asSent: 'conflict',
      asSentOtherMode: 'conflict',
      asMade: 'conflict',
      edited: 'conflict',
      link: 'conflict',
      folder: 'conflict',
      other: 'conflict',
      blocked: 'conflict',
    },
  ],
};

const DELETIONS: Record<string, readonly [ManifestEntry | null, Record<Local, DeleteDecision['kind']>]> = {
  'a file': [
    file('p', 'a'),
    {
      absent: 'gone',
      asSent: 'delete',
      asSentOtherMode: 'delete',
      asMade: 'conflict',
      edited: 'conflict',
      link: 'conflict',
      folder: 'gone',
      other: 'conflict',
      blocked: 'gone',
    },
  ],
  'a link': [
    link('p', 'x'),
    {
      absent: 'gone',
      asSent: 'conflict',
      asSentOtherMode: 'conflict',
      asMade: 'conflict',
      edited: 'conflict',
      link: 'delete',
      folder: 'gone',
      other: 'conflict',
      blocked: 'gone',
    },
  ],
  'a folder': [
    folder('p'),
    {
      absent: 'gone',
      asSent: 'conflict',
      asSentOtherMode: 'conflict',
      asMade: 'conflict',
      edited: 'conflict',
      link: 'conflict',
      folder: 'delete',
      other: 'conflict',
      blocked: 'gone',
    },
  ],
  'what was never sent': [
    null,
    {
      absent: 'never_sent',
      asSent: 'never_sent',
      asSentOtherMode: 'never_sent',
      asMade: 'never_sent',
      edited: 'never_sent',
      link: 'never_sent',
      folder: 'never_sent',
      other: 'never_sent',
      blocked: 'never_sent',
    },
  ],
  'a protected file': [
    file('.husky/x', 'a'),
    {
      absent: 'gone',
      asSent: 'held',
      asSentOtherMode: 'held',
      asMade: 'conflict',
      edited: 'conflict',
      link: 'conflict',
      folder: 'gone',
      other: 'conflict',
      blocked: 'gone',
    },
  ],
};

const locals = Object.keys(LOCAL) as Local[];

describe('what becomes of what a job wrote', () => {
  it.each(Object.keys(WRITES))('%s', (name) => {
    const [sent, made, expected] = WRITES[name] ?? [];
    if (sent === undefined || made === undefined) throw new Error(name);
    const found = locals.map((local) => [local, decideWrite(made, sent, LOCAL[local], RULES).kind]);
    expect(Object.fromEntries(found)).toEqual(expected);
    // `meshwork apply` does what was held, and nothing else otherwise.
    const all = locals.map((local) => [local, decideWrite(made, sent, LOCAL[local], HELD).kind]);
    const done = Object.entries(expected ?? {}).map(([local, kind]) => [local, kind === 'held' ? 'write' : kind]);
    expect(all).toEqual(done);
  });

  it('gives a file the bits of the job, or those that were changed here', () => {
    const mode = (sent: number, made: number, local: number): WriteDecision =>
      decideWrite(file('p', 'b', made), file('p', 'a', sent), { kind: 'file', hash: hash('a'), mode: local }, RULES);
    expect(mode(0o644, 0o755, 0o644)).toEqual({ kind: 'write', mode: 0o755 });
    expect(mode(0o600, 0o600, 0o640)).toEqual({ kind: 'write', mode: 0o640 });
    expect(decideWrite(file('p', 'b', 0o751), null, LOCAL.absent, RULES)).toEqual({ kind: 'write', mode: 0o751 });
  });
});

describe('what becomes of what a job deleted', () => {
  it.each(Object.keys(DELETIONS))('%s', (name) => {
    const [sent, expected] = DELETIONS[name] ?? [];
    if (sent === undefined) throw new Error(name);
    const path = (sent?.path ?? 'p') as TreePath;
    expect(
      Object.fromEntries(locals.map((local) => [local, decideDeletion(path, sent, LOCAL[local], RULES).kind])),
    ).toEqual(expected);
    const mass = { held: false, isMassDeletion: true };
    const held = Object.entries(expected ?? {}).map(([local, kind]) => [local, kind === 'delete' ? 'held' : kind]);
    expect(locals.map((local) => [local, decideDeletion(path, sent, LOCAL[local], mass).kind])).toEqual(held);
    const done = Object.entries(expected ?? {}).map(([local, kind]) => [local, kind === 'held' ? 'delete' : kind]);
    expect(locals.map((local) => [local, decideDeletion(path, sent, LOCAL[local], HELD).kind])).toEqual(done);
  });

  it('counts as many at more than half of the files that were sent, .git apart', () => {
    const sent = {
      entries: [
        file('.git/HEAD', 'a'),
        file('.git/index', 'a'),
        file('a', 'a'),
        file('b', 'a'),
        folder('c'),
        link('d', 'a'),
        file('e', 'a'),
      ],
    };
    const isMass = (...deleted: string[]): boolean =>
      applyRules(sent, { changed: [], deleted: deleted as TreePath[] }, false).isMassDeletion;
    expect(isMass('a', 'b')).toBe(false);
    expect(isMass('a', 'b', 'c', 'never/sent', '.git/HEAD')).toBe(false);
    expect(isMass('a', 'b', 'd')).toBe(true);
    expect(applyRules({ entries: [] }, { changed: [], deleted: ['a' as TreePath] }, false).isMassDeletion).toBe(false);
  });

  it('does not count files that only moved, as many as there are copies', () => {
    const sent = { entries: [file('a', 'a'), file('b', 'b'), file('c', 'a'), link('d', 'x'), file('e', 'e')] };
    const isMass = (changed: readonly ManifestEntry[], ...deleted: string[]) =>
      applyRules(sent, { changed, deleted: deleted as TreePath[] }, false).isMassDeletion;
    const moved = [file('m/a', 'a'), file('m/b', 'b'), link('m/d', 'x')];
    expect(isMass(moved, 'a', 'b', 'd')).toBe(false);
    expect(isMass(moved, 'a', 'b', 'c', 'd', 'e')).toBe(false);
    expect(isMass([file('m/a', 'a')], 'a', 'b', 'c', 'e')).toBe(true);
    // What takes the place of another file, or is held back, keeps nothing.
    expect(isMass([file('e', 'a')], 'a', 'b', 'd')).toBe(true);
    expect(isMass([file('.claude/a', 'a')], 'a', 'b', 'd')).toBe(true);
  });
});
