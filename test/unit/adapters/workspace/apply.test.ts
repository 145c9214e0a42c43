import * as fc from 'fast-check';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { brotliCompressSync } from 'node:zlib';
import { applyChanges } from '../../../../src/adapters/workspace/apply.ts';
import { removeUnfinished } from '../../../../src/adapters/workspace/local-files.ts';
import { PackBuilder } from '../../../../src/adapters/workspace/pack-builder.ts';
import { bytesOfText } from '../../../../src/base/byte-text.ts';
import type { Applied } from '../../../../src/ports/workspace.ts';
import { CHANGES_SHOWN_MAX } from '../../../../src/wire/changes.ts';
import { encodeChangeList } from '../../../../src/wire/change-pack.ts';
import type { FileEntry, ManifestEntry, ManifestHash, ObjectHash, TreePath } from '../../../../src/wire/manifest.ts';
import { sortEntries } from '../../../../src/wire/manifest-codec.ts';
import {
  BLOCK_HEAD_BYTES,
  METHODS,
  OBJECT_HEAD_BYTES,
  writeBlockHead,
  writeObjectHead,
} from '../../../../src/wire/object-pack.ts';

const MTIME_MS = 1_700_000_000_123;
const SENT = 'ab'.repeat(32) as ManifestHash;
const sha256 = (bytes: string | Uint8Array): ObjectHash =>
  createHash('sha256').update(bytes).digest('hex') as ObjectHash;
const at = (path: string): TreePath => bytesOfText(path) as TreePath;

let folder: string;
let root: string;
let conflicts: string;
const contents = new Map<string, Buffer>();

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshwork-apply-'));
  root = join(folder, 'project');
  conflicts = join(folder, 'conflicts', 'JOB');
  mkdirSync(root);
  contents.clear();
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function file(path: string, content: string | Buffer, mode = 0o644): FileEntry {
  const bytes = Buffer.from(content);
  contents.set(sha256(bytes), bytes);
  return {
    kind: 'file',
    path: at(path),
    size: bytes.length,
    mode,
    mtimeMs: MTIME_MS,
    hash: sha256(bytes),
    chunks: null,
  };
}
const link = (path: string, target: string): ManifestEntry => ({ kind: 'link', path: at(path), target });
const emptyFolder = (path: string): ManifestEntry => ({ kind: 'folder', path: at(path) });

/** A file as it lies here. */
function put(path: string, content: string, mode = 0o644): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
  chmodSync(join(root, path), mode);
}
const text = (path: string): string => readFileSync(join(root, path), 'utf8');
const kept = (path: string): string => readFileSync(join(conflicts, path), 'utf8');

function objectsFor(changed: readonly ManifestEntry[]): Buffer {
  const builder = new PackBuilder();
  const blocks: Uint8Array[] = [];
  const seen = new Set<string>();
  for (const entry of changed) {
    if (entry.kind !== 'file') continue;
    for (const { hash } of entry.chunks ?? [entry]) {
      const bytes = contents.get(hash) ?? Buffer.alloc(0);
      if (seen.has(hash)) continue;
      seen.add(hash);
      if (!builder.fits(bytes.length)) blocks.push(builder.take(true));
      builder.add(hash, bytes, true);
    }
  }
  if (!builder.isEmpty) blocks.push(builder.take(true));
  return Buffer.concat(blocks);
}

interface Job {
  readonly sent?: readonly ManifestEntry[] | null;
  readonly changed?: readonly ManifestEntry[];
  readonly deleted?: readonly string[];
  readonly earlier?: readonly string[];
  readonly held?: boolean;
  readonly objects?: Buffer;
  readonly sha256?: string;
  readonly outputs?: readonly string[];
  readonly scannedMs?: number;
  /** Contents that came back from jobs before that. */
  readonly returned?: readonly string[];
}

async function apply(job: Job): Promise<Applied | string> {
  const changed = sortEntries([...(job.changed ?? [])]);
  const [deleted, earlier] = [job.deleted ?? [], job.earlier ?? []].map((paths) => paths.map(at).toSorted());
  const list = encodeChangeList({ changed, deleted: deleted ?? [], earlier: earlier ?? [] });
  const bytes = Buffer.concat([list, job.objects ?? objectsFor(changed)]);
  const pack = join(folder, 'pack');
  writeFileSync(pack, bytes);
  const result = await applyChanges(
    {
      project: { root, key: 'k', kind: 'plain' },
      manifest: SENT,
      pack,
      packSha256: job.sha256 ?? sha256(bytes),
      outputs: job.outputs ?? [],
      scannedMs: job.scannedMs ?? 0,
      conflicts,
      held: job.held ?? false,
    },
    {
      manifests: { load: () => (job.sent === null ? null : { entries: job.sent ?? [] }) },
      returnedMs: (hash) => (job.returned?.some((content) => sha256(content) === hash) === true ? 1 : null),
    },
  );
  return result.ok ? result.value : result.error.message;
}

async function applied(job: Job): Promise<Applied['changes'] & { readonly notices: readonly string[] }> {
  const result = await apply(job);
  if (typeof result === 'string') throw new Error(result);
  return { ...result.changes, notices: result.notices };
}

/** Without following links, as `recursive` of Node.js 24 does. */
const filesBelow = (of: string): string[] =>
  readdirSync(of, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? filesBelow(join(of, entry.name)) : [join(of, entry.name)],
  );

const tree = (of = root): string[] =>
  filesBelow(of)
    .map((path) => path.slice(of.length + 1))
    .toSorted();

describe('what a job changed, applied', () => {
  it('is new, changed and deleted files, links and folders, with mode and time', async () => {
    const sent = [
      file('a.c', 'old'),
      file('gone/deep/b.c', 'b'),
      file('stays', '1'),
      file('run.sh', 'x'),
      link('l', 'a.c'),
    ];
    for (const entry of sent) if (entry.kind === 'file') put(entry.path, contents.get(entry.hash)?.toString() ?? '');
    symlinkSync('a.c', join(root, 'l'));
    const big = Buffer.alloc(3 * 1024 * 1024, 'big');
    const parts = [
      big.subarray(0, 1024 * 1024),
      big.subarray(1024 * 1024, 2 * 1024 * 1024),
      big.subarray(2 * 1024 * 1024),
    ];
    for (const part of parts) contents.set(sha256(part), part);
    const chunked: FileEntry = {
      ...file('big', big),
      chunks: parts.map((part) => ({ hash: sha256(part), size: part.length })),
    };
    const changed = [
      file('a.c', 'new'),
      file('new/dir/ü\n', 'n', 0o600),
      file('run.sh', 'x', 0o755),
      file('empty', ''),
      link('l', 'stays'),
      emptyFolder('made/here'),
      chunked,
    ];
    const result = await applied({ sent, changed, deleted: ['gone/deep/b.c'] });
    expect(result).toEqual({
      returned: ['a.c', 'big', 'empty', 'l', 'made/here', 'new/dir/ü\n', 'run.sh'],
      deleted: ['gone/deep/b.c'],
      conflicts: [],
      held_back: [],
      left_there: [],
      notices: [],
    });
    expect(text('a.c')).toBe('new');
    expect(Math.floor(statSync(join(root, 'a.c')).mtimeMs)).toBe(MTIME_MS);
    expect(statSync(join(root, 'new/dir/ü\n')).mode & 0o777).toBe(0o600);
    expect(statSync(join(root, 'run.sh')).mode & 0o777).toBe(0o755);
    expect(readlinkSync(join(root, 'l'))).toBe('stays');
    expect(statSync(join(root, 'made/here')).isDirectory()).toBe(true);
    expect(readFileSync(join(root, 'big')).equals(big)).toBe(true);
    expect(existsSync(join(root, 'gone'))).toBe(false);
    expect(existsSync(conflicts)).toBe(false);
    expect(tree()).toEqual(['a.c', 'big', 'empty', 'l', 'new/dir/ü\n', 'run.sh', 'stays']);
  });

  it('may come twice, and goes on where it was interrupted', async () => {
    const sent = [file('a', '1'), file('b', '1'), file('c', '1'), file('d', '1')];
    for (const name of ['b', 'd']) put(name, '1');
    put('a', '2');
    const job = { sent, changed: [file('a', '2'), file('b', '2')], deleted: ['c'] };
    expect(await applied(job)).toMatchObject({ returned: ['a', 'b'], deleted: ['c'], conflicts: [] });
    expect(await applied(job)).toMatchObject({ returned: ['a', 'b'], deleted: ['c'], conflicts: [] });
    expect(tree()).toEqual(['a', 'b', 'd']);
  });

  it('tells what is applied now from what was here before, where somebody asks for it', async () => {
    const sent = [file('a', '1'), file('c', '1'), file('d', '1')];
    for (const name of ['c', 'd']) put(name, '1');
    put('a', '2');
    const job = { sent, changed: [file('a', '2'), file('.envrc', 'x')], deleted: ['c'] };
    expect(await applied(job)).toMatchObject({ returned: ['a'], deleted: ['c'], held_back: ['.envrc'], notices: [] });
    expect(await applied({ ...job, held: true })).toMatchObject({
      returned: ['.envrc'],
      deleted: [],
      held_back: [],
      notices: ['2 changes were here already: a, c'],
    });
  });

  it('lists as many as people read, and says how many more there are', async () => {
    const changed = Array.from({ length: CHANGES_SHOWN_MAX + 7 }, (_, index) => file(`f${index}`, 'x'));
    const result = await applied({ sent: [], changed });
    expect(result.returned).toHaveLength(CHANGES_SHOWN_MAX);
    expect(result.more).toEqual({ returned: 7, deleted: 0, conflicts: 0, held_back: 0, left_there: 0 });
  });

  it('never overwrites or deletes what changed here meanwhile', async () => {
    const sent = [
      file('edited', 'sent'),
      file('removed', 'sent'),
      file('kept', 'sent'),
      file('other', 'x'),
      file('more', 'x'),
    ];
    put('edited', 'mine');
    put('kept', 'mine');
    put('other', 'x');
    put('more', 'x');
    put('sub/new', 'mine');
    const changed = [file('edited', 'job'), file('removed', 'job'), file('sub/new', 'job', 0o755)];
    const result = await applied({ sent, changed, deleted: ['kept'], held: true });
    expect(result).toMatchObject({ returned: [], deleted: [], conflicts: ['edited', 'removed', 'sub/new', 'kept'] });
    expect(result.notices).toEqual([expect.stringContaining('kept was deleted by the job and is kept')]);
    expect([text('edited'), text('kept'), text('sub/new')]).toEqual(['mine', 'mine', 'mine']);
    expect(existsSync(join(root, 'removed'))).toBe(false);
    expect([kept('edited'), kept('removed'), kept('sub/new')]).toEqual(['job', 'job', 'job']);
    expect(statSync(join(conflicts, 'sub/new')).mode & 0o777).toBe(0o755);
    expect(statSync(conflicts).mode & 0o777).toBe(0o700);
  });

  it('leaves bits that were changed here, takes those that the job changed', async () => {
    const sent = [file('a', '1', 0o600), file('b', '1', 0o644)];
    put('a', '1', 0o640);
    put('b', '1', 0o644);
    expect(await applied({ sent, changed: [file('a', '2', 0o600), file('b', '1', 0o755)] })).toMatchObject({
      returned: ['a', 'b'],
    });
    expect(statSync(join(root, 'a')).mode & 0o777).toBe(0o640);
    expect(text('a')).toBe('2');
    expect(statSync(join(root, 'b')).mode & 0o777).toBe(0o755);
  });

  it('turns files into folders and folders into files', async () => {
    const sent = [
      file('was-file', '1'),
      file('was-folder/x', '1'),
      link('was-link', 'y'),
      file('p', ''),
      file('q', ''),
      file('r', ''),
    ];
    put('was-file', '1');
    put('was-folder/x', '1');
    symlinkSync('y', join(root, 'was-link'));
    const changed = [file('was-file/in', '2'), file('was-folder', '2'), file('was-link', '2')];
    const result = await applied({ sent, changed, deleted: ['was-file', 'was-folder/x'] });
    expect(result).toMatchObject({ conflicts: [], held_back: [], deleted: ['was-file', 'was-folder/x'] });
    expect([text('was-file/in'), text('was-folder'), text('was-link')]).toEqual(['2', '2', '2']);
  });

  it.runIf(process.geteuid?.() === 0)('belongs to whom the project does, where the daemon is root', async () => {
    chownSync(root, 1234, 1235);
    put('a', '1');
    chownSync(join(root, 'a'), 4321, 4322);
    await applied({ sent: [file('a', '1')], changed: [file('a', '2'), file('n/x', 'n'), link('n/l', 'x')] });
    const owner = (path: string): number[] => [lstatSync(join(root, path)).uid, lstatSync(join(root, path)).gid];
    expect(owner('a')).toEqual([4321, 4322]);
    for (const path of ['n', 'n/x', 'n/l']) expect(owner(path)).toEqual([1234, 1235]);
  });

  it('turns a file into an empty folder', async () => {
    put('a', '1');
    put('b', 'mine');
    const sent = [file('a', '1'), file('b', '1')];
    const result = await applied({ sent, changed: [emptyFolder('a'), emptyFolder('b')] });
    expect(result).toMatchObject({ returned: ['a'], conflicts: ['b'] });
    expect(statSync(join(root, 'a')).isDirectory()).toBe(true);
    expect(text('b')).toBe('mine');
  });

  it('is whole folders that are gone, with files at each level of them', async () => {
    const deleted = ['d/e/f/g', 'd/e/h', 'q/a', 'q/r/u', 'q/r/s/t', 'q/r/s-t/v', 'x/y/2', 'x/y/z/w/3'];
    const stays = Array.from({ length: 10 }, (_, index) => `stays/${index}`);
    const sent = [...deleted, ...stays].map((path) => file(path, path));
    for (const { path } of sent) put(path, path);
    put('q/own', 'own');
    const result = await applied({ sent, deleted });
    expect(result).toMatchObject({ conflicts: [], held_back: [], notices: [] });
    expect(result.deleted.toSorted()).toEqual(deleted.toSorted());
    expect(tree()).toEqual(['q/own', ...stays]);
    expect(readdirSync(root).toSorted()).toEqual(['q', 'stays']);
    expect(readdirSync(join(root, 'q'))).toEqual(['own']);
  });

  it('leaves a folder that has something of its own here', async () => {
    const sent = [file('d/x', '1'), file('p', ''), file('q', '')];
    put('d/x', '1');
    put('d/ignored', 'mine');
    const result = await applied({ sent, changed: [file('d', '2')], deleted: ['d/x'] });
    expect(result).toMatchObject({ conflicts: ['d'], deleted: ['d/x'] });
    expect(text('d/ignored')).toBe('mine');
    expect(kept('d')).toBe('2');
  });

  it('deletes nothing that was never sent: a sparse checkout, an ignored file', async () => {
    put('ignored', 'mine');
    expect(await applied({ sent: [file('a', '1')], deleted: ['ignored', 'not/there'] })).toMatchObject({
      deleted: [],
      conflicts: [],
      held_back: [],
    });
    expect(text('ignored')).toBe('mine');
  });

  it('without the manifest that was sent: only adds', async () => {
    put('a', 'mine');
    put('b', 'mine');
    const result = await applied({ sent: null, changed: [file('a', 'job'), file('n', 'job')], deleted: ['b'] });
    expect(result).toMatchObject({ returned: ['n'], deleted: [], conflicts: ['a'] });
    expect(result.notices).toHaveLength(1);
    expect([text('a'), text('b'), text('n')]).toEqual(['mine', 'mine', 'job']);
  });
});

describe('products that were asked for', () => {
  const changed = (): FileEntry[] => [file('dist/a', 'job'), file('dist/.envrc', 'job'), file('other/a', 'job')];

  it('replace what lay there when the project was scanned, and nothing else that was not sent', async () => {
    put('dist/a', 'older build');
    put('dist/.envrc', 'mine');
    put('other/a', 'mine');
    const result = await applied({ changed: changed(), outputs: ['dist/**'], scannedMs: Date.now() + 60_000 });
    expect(result).toMatchObject({ returned: ['dist/a'], held_back: ['dist/.envrc'], conflicts: ['other/a'] });
    expect([text('dist/a'), text('dist/.envrc'), text('other/a')]).toEqual(['job', 'mine', 'mine']);
  });

  it('but not what was built here since', async () => {
    const scannedMs = Date.now() - 60_000;
    put('dist/a', 'built here meanwhile');
    expect(await applied({ changed: [file('dist/a', 'job')], outputs: ['dist/**'], scannedMs })).toMatchObject({
      returned: [],
      conflicts: ['dist/a'],
    });
    expect(kept('dist/a')).toBe('job');
  });

  it('nor what the clock of the disk may show as older than it is', async () => {
    put('dist/a', 'edited right after the scan');
    const scannedMs = statSync(join(root, 'dist/a')).ctimeMs + 5;
    expect(await applied({ changed: [file('dist/a', 'job')], outputs: ['dist/**'], scannedMs })).toMatchObject({
      returned: [],
      conflicts: ['dist/a'],
    });
    expect(text('dist/a')).toBe('edited right after the scan');
  });

  it('but what an earlier job brought then is no edit', async () => {
    const job = { changed: [file('dist/a', 'job')], outputs: ['dist/**'], returned: ['of the job before'] };
    put('dist/a', 'of the job before');
    const { ctimeMs } = statSync(join(root, 'dist/a'));
    // By the disk's clock it came after the scan.
    expect(await applied({ ...job, scannedMs: ctimeMs - 1 })).toMatchObject({ conflicts: ['dist/a'] });
    expect(await applied({ ...job, scannedMs: ctimeMs + 5, returned: [] })).toMatchObject({ conflicts: ['dist/a'] });
    expect(await applied({ ...job, scannedMs: ctimeMs + 5 })).toMatchObject({ returned: ['dist/a'], conflicts: [] });
    expect(text('dist/a')).toBe('job');
  });

  it('but not by older ones of an earlier job, which this one found there', async () => {
    const outputs = ['dist/**'];
    const found = [file('dist/a', 'earlier'), file('dist/same', 'same'), link('dist/to', 'a')];
    const job = { changed: found, earlier: found.map(({ path }) => path), outputs, scannedMs: Date.now() + 60_000 };
    put('dist/a', 'made since');
    put('dist/same', 'same');
    symlinkSync('same', join(root, 'dist/to'));
    const result = await applied(job);
    expect(result).toMatchObject({ returned: [], conflicts: [], held_back: [] });
    expect(result.notices).toEqual([expect.stringMatching(/^dist\/a and 1 more are as new here/)]);
    expect([text('dist/a'), readlinkSync(join(root, 'dist/to'))]).toEqual(['made since', 'same']);
    // Beside what the job made itself, that is no news.
    const both = await applied({ ...job, changed: [...found, file('dist/own', 'own')] });
    expect(both).toMatchObject({ returned: ['dist/own'], conflicts: [], notices: [] });
    // An older one is replaced, as is what is not there.
    utimesSync(join(root, 'dist/a'), 0, MTIME_MS / 1000 - 1);
    rmSync(join(root, 'dist/to'));
    expect(await applied(job)).toMatchObject({ returned: ['dist/a', 'dist/to'], conflicts: [], notices: [] });
    expect(text('dist/a')).toBe('earlier');
    // Unless it came here after the project was scanned: with times of its own, such as from an archive.
    put('dist/a', 'unpacked meanwhile');
    utimesSync(join(root, 'dist/a'), 0, 1);
    expect(await applied({ ...job, scannedMs: Date.now() - 60_000 })).toMatchObject({ returned: [], conflicts: [] });
    expect(text('dist/a')).toBe('unpacked meanwhile');
  });

  it('what was brought is replaced by the next job, however soon that comes', async () => {
    for (const round of ['1', '2', '3', '4', '5']) {
      const result = await applied({ changed: [file('dist/a', round)], outputs: ['dist/**'], scannedMs: Date.now() });
      expect(result).toMatchObject({ returned: ['dist/a'], conflicts: [] });
      expect(text('dist/a')).toBe(round);
    }
  });
});

describe('what waits for meshwork apply', () => {
  const protectedFiles = [
    '.git/hooks/pre-commit',
    '.mcp.json',
    'sub/.vscode/tasks.json',
    '.CLAUDE/settings.json',
    '.envrc',
    '.husky/x',
    '.idea/y',
    '.meshwork.toml',
  ];

  it('is what tools run without asking, links that lead out, and more than half of the files gone', async () => {
    const sent = ['1', '2', '3', '4'].map((name) => file(`f${name}`, name));
    for (const name of ['1', '2', '3', '4']) put(`f${name}`, name);
    mkdirSync(join(root, '.git'));
    const job = {
      sent,
      changed: [
        ...protectedFiles.map((path) => file(path, 'evil', 0o755)),
        link('out', '../../etc'),
        link('abs', '/etc/passwd'),
        file('fine', 'new'),
      ],
      deleted: ['f1', 'f2', 'f3'],
    };
    const first = await applied(job);
    expect(first.returned).toEqual(['fine']);
    expect(first.deleted).toEqual([]);
    expect(first.held_back.toSorted()).toEqual([...protectedFiles, 'abs', 'f1', 'f2', 'f3', 'out'].toSorted());
    expect(first.notices).toEqual([expect.stringContaining('more than half')]);
    expect(tree()).toEqual(['f1', 'f2', 'f3', 'f4', 'fine']);
    const second = await applied({ ...job, held: true });
    expect(second.held_back).toEqual([]);
    expect(second.deleted).toEqual(['f1', 'f2', 'f3']);
    expect(text('.git/hooks/pre-commit')).toBe('evil');
    expect(readlinkSync(join(root, 'abs'))).toBe('/etc/passwd');
    expect(existsSync(join(root, 'f1'))).toBe(false);
  });

  it('is what a held deletion is in the way of', async () => {
    put('a', '1');
    const job = { sent: [file('a', '1')], changed: [file('a/b', '2')], deleted: ['a'] };
    expect(await applied(job)).toMatchObject({ returned: [], held_back: ['a', 'a/b'], conflicts: [] });
    expect(await applied({ ...job, held: true })).toMatchObject({ returned: ['a/b'], deleted: ['a'] });
    expect(text('a/b')).toBe('2');
  });

  it('but never a file in the place of a repository, nor a config that is another one here', async () => {
    put('.git/config', 'mine');
    const changed = [file('.git/config', '[core] fsmonitor = evil'), file('sub/.git', 'gitdir: /tmp')];
    expect(await applied({ sent: [file('.git/config', 'sent')], changed, held: true })).toMatchObject({
      returned: [],
      conflicts: ['.git/config', 'sub/.git'],
    });
    expect(text('.git/config')).toBe('mine');
    expect(existsSync(join(root, 'sub'))).toBe(false);
  });

  it('goes to where git has it, in a linked work tree', async () => {
    const main = join(folder, 'main/.git');
    mkdirSync(join(main, 'worktrees/w'), { recursive: true });
    mkdirSync(join(main, 'refs/heads'), { recursive: true });
    writeFileSync(join(main, 'worktrees/w/commondir'), '../..\n');
    writeFileSync(join(main, 'worktrees/w/HEAD'), 'ref: refs/heads/w\n');
    writeFileSync(join(main, 'refs/heads/w'), 'old\n');
    writeFileSync(join(root, '.git'), `gitdir: ${join(main, 'worktrees/w')}\n`);
    const sent = [file('.git/HEAD', 'ref: refs/heads/w\n'), file('.git/refs/heads/w', 'old\n'), file('a', '')];
    const changed = [
      file('.git/HEAD', 'ref: refs/heads/x\n'),
      file('.git/refs/heads/w', 'new\n'),
      file('.git/hooks/h', 'h'),
    ];
    expect(await applied({ sent, changed })).toMatchObject({
      held_back: ['.git/HEAD', '.git/hooks/h', '.git/refs/heads/w'],
    });
    expect(await applied({ sent, changed, held: true })).toMatchObject({
      returned: ['.git/HEAD', '.git/hooks/h', '.git/refs/heads/w'],
    });
    expect(readFileSync(join(main, 'worktrees/w/HEAD'), 'utf8')).toBe('ref: refs/heads/x\n');
    expect(readFileSync(join(main, 'refs/heads/w'), 'utf8')).toBe('new\n');
    expect(readFileSync(join(main, 'hooks/h'), 'utf8')).toBe('h');
    expect(lstatSync(join(root, '.git')).isFile()).toBe(true);
  });
});

describe('a malicious change pack', () => {
  const outside = (): string[] => tree(folder).filter((path) => path !== 'pack' && !path.startsWith('project/'));

  it.each(['../x', '/etc/x', 'a/../../x', 'a//x', '.GIT/hooks/x', 'sub/.gIt/config', 'git~1/hooks/x', 'x\0y', '.'])(
    'that names %j is refused whole',
    async (path) => {
      const message = await apply({ changed: [file('good', '1'), file(path, 'evil')], held: true });
      expect(message).toMatch(/^what came back is refused: a change pack is malformed: /);
      expect(await apply({ sent: [], deleted: [path] })).toMatch(/refused/);
      expect(tree()).toEqual([]);
      expect(outside()).toEqual([]);
    },
  );

  it('that writes below its own link, or names a path twice, is refused whole', async () => {
    expect(await apply({ changed: [link('l', '..'), file('l/x', 'evil')] })).toMatch(/l\/x lies below/);
    expect(await apply({ changed: [file('a', '1'), file('a', '2')] })).toMatch(/a is out of order or there twice/);
    expect(tree()).toEqual([]);
  });

  it('never writes or deletes through a link that is here', async () => {
    mkdirSync(join(folder, 'victim'));
    writeFileSync(join(folder, 'victim/x'), 'precious');
    symlinkSync('../victim', join(root, 'l'));
    symlinkSync('../victim/x', join(root, 'f'));
    const sent = [file('l/x', 'precious'), file('a', ''), file('b', '')];
    const changed = [file('l/new', 'evil'), file('l/deep/er', 'evil'), file('f', 'evil')];
    expect(await applied({ sent, changed, deleted: ['l/x'], held: true })).toMatchObject({
      returned: [],
      conflicts: ['f', 'l/deep/er', 'l/new'],
      deleted: [],
      notices: ['1 change was here already: l/x'],
    });
    expect(tree(join(folder, 'victim'))).toEqual(['x']);
    expect(readFileSync(join(folder, 'victim/x'), 'utf8')).toBe('precious');
    expect(kept('l/new')).toBe('evil');
  });

  it('never writes through a link in the folder of conflicts', async () => {
    mkdirSync(conflicts, { recursive: true });
    mkdirSync(join(folder, 'victim'));
    symlinkSync(join(folder, 'victim'), join(conflicts, 'a'));
    put('a/b', 'mine');
    const result = await applied({ sent: [], changed: [file('a/b', 'evil')] });
    expect(result).toMatchObject({ conflicts: ['a/b'] });
    expect(result.notices).toEqual(['no copy of a/b could be kept']);
    expect(tree(join(folder, 'victim'))).toEqual([]);
  });

  it('with another hash than was announced is refused', async () => {
    expect(await apply({ changed: [file('a', '1')], sha256: '0'.repeat(64) })).toMatch(/not 0{64} as was announced/);
    expect(tree()).toEqual([]);
  });

  it('with objects that are wrong, missing, twice or of no file is refused', async () => {
    const entry = file('a', 'right');
    const block = (hash: string, bytes: Buffer, declared = bytes.length, compressed = false): Buffer => {
      const body = compressed ? brotliCompressSync(bytes) : bytes;
      const head = new Uint8Array(BLOCK_HEAD_BYTES + OBJECT_HEAD_BYTES);
      writeBlockHead(head, compressed ? METHODS.brotli : METHODS.stored, 1, body.length);
      writeObjectHead(head, BLOCK_HEAD_BYTES, hash, declared);
      return Buffer.concat([head, body]);
    };
    const right = block(entry.hash, Buffer.from('right'));
    const refusalOf = async (objects: Buffer): Promise<unknown> => apply({ changed: [entry], objects });
    expect(await refusalOf(block(entry.hash, Buffer.from('wrong')))).toMatch(/does not fit its hash/);
    expect(await refusalOf(Buffer.alloc(0))).toMatch(/lacks the object/);
    expect(await refusalOf(Buffer.concat([right, right]))).toMatch(/twice/);
    expect(await refusalOf(Buffer.concat([right, block(sha256('x'), Buffer.from('x'))]))).toMatch(/no file of it has/);
    expect(await refusalOf(right.subarray(0, -1))).toMatch(/malformed/);
    expect(await refusalOf(Buffer.concat([right, Buffer.alloc(3)]))).toMatch(/malformed/);
    // 64 MiB of zeros in a few bytes.
    expect(await refusalOf(block(entry.hash, Buffer.alloc(64 * 1024 * 1024), 5, true))).toMatch(/does not decompress/);
    const lying = { ...entry, size: 4 };
    expect(await apply({ changed: [lying], objects: right })).toMatch(/has 5 bytes, not 4/);
    expect(tree()).toEqual([]);
    expect(await refusalOf(right)).toMatchObject({ changes: { returned: ['a'] } });
  });

  it('whose chunks do not make the file that it says is refused', async () => {
    const part = Buffer.alloc(1024 * 1024, 'x');
    contents.set(sha256(part), part);
    const chunk = { hash: sha256(part), size: part.length };
    const entry: FileEntry = { ...file('big', 'something else'), size: 3 * part.length, chunks: [chunk, chunk, chunk] };
    expect(await apply({ changed: [entry] })).toMatch(/chunks of big are not the file/);
    expect(tree()).toEqual([]);
  });
});

describe('any change pack', () => {
  const parts = ['a', 'b', 'l', 'd', 'victim', '.git', 'hooks', '.', '..', '', '.GIT', 'x\0', 'HEAD'];
  const anyPath = fc.array(fc.constantFrom(...parts), { minLength: 1, maxLength: 4 }).map((names) => names.join('/'));
  const anyEntry: fc.Arbitrary<ManifestEntry> = fc.oneof(
    anyPath.map((path) => file(path, 'evil')),
    fc
      .tuple(anyPath, fc.constantFrom('..', '../victim', '/tmp', 'a', '../victim/x'))
      .map(([path, target]) => link(path, target)),
    anyPath.map(emptyFolder),
  );
  // The content that all of them have.
  const evil = 'evil';
  const snapshot = (): Record<string, string> =>
    Object.fromEntries(
      tree(folder)
        .filter((path) => !/^(pack$|project\/|conflicts\/)/.test(path))
        .map((path) => [path, readFileSync(join(folder, path), 'utf8')]),
    );

  it.each([4712, Math.floor(Math.random() * 2 ** 31)])(
    'touches nothing outside of the project, over links that are here neither (seed %i)',
    async (seed) => {
      let taken = 0;
      mkdirSync(join(folder, 'victim/d'), { recursive: true });
      for (const name of ['x', 'a', 'b', 'd/a', 'HEAD']) writeFileSync(join(folder, 'victim', name), 'precious');
      const before = snapshot();
      await fc.assert(
        fc.asyncProperty(
          fc.array(anyEntry, { maxLength: 4 }),
          fc.array(anyPath, { maxLength: 3 }),
          async (changed, deleted) => {
            rmSync(root, { recursive: true, force: true });
            rmSync(conflicts, { recursive: true, force: true });
            mkdirSync(join(root, 'd'), { recursive: true });
            symlinkSync('../victim', join(root, 'l'));
            symlinkSync('../../victim', join(root, 'd/l'));
            symlinkSync('../victim/x', join(root, 'b'));
            contents.set(sha256(evil), Buffer.from(evil));
            // As if all of it had been sent, as it lies there.
            const sent = ['l/a', 'l/b', 'd/l/x', 'd/l/a', 'b/x'].map((path) => file(path, 'precious'));
            const result = await apply({
              sent: sortEntries([...sent, link('b', '../victim/x')]),
              changed,
              deleted,
              held: true,
            });
            if (typeof result !== 'string') taken++;
            expect(snapshot()).toEqual(before);
          },
        ),
        { numRuns: 150, seed },
      );
      expect(taken).toBeGreaterThan(0);
    },
  );
});

describe('a large file', () => {
  it('is compared and written while others of the thread get on, and leaves nothing behind where the thread ends', async () => {
    const chunks = Array.from({ length: 120 }, (_, index) => Buffer.alloc(1024 * 1024, index));
    for (const chunk of chunks) contents.set(sha256(chunk), chunk);
    const whole = Buffer.concat(chunks);
    const large: ManifestEntry = {
      ...file('large.bin', ''),
      size: whole.length,
      hash: sha256(whole),
      chunks: chunks.map((chunk) => ({ hash: sha256(chunk), size: chunk.length })),
    };
    put('large.bin', 'x');
    const job = { sent: [file('large.bin', 'x')], changed: [large] };
    const ending = apply(job);
    const isWriting = () => readdirSync(root).some((name) => name.startsWith('.meshwork-tmp-'));
    while (!isWriting()) await new Promise((resolve) => setImmediate(resolve));
    removeUnfinished();
    expect([isWriting(), text('large.bin')]).toEqual([false, 'x']);
    await ending.catch(() => null);
    expect(isWriting()).toBe(false);
    await applied(job);
    expect(readFileSync(join(root, 'large.bin')).equals(whole)).toBe(true);
  });
});

describe('a place that refuses', () => {
  it('is a project that is gone: that is said, and the pack can be applied later', async () => {
    rmSync(root, { recursive: true });
    await expect(apply({ changed: [file('a', '1')] })).rejects.toMatchObject({
      code: 'io',
      message: expect.stringMatching(/can't be opened \(ENOENT\); nothing was changed$/),
    });
    mkdirSync(root);
    expect(await applied({ changed: [file('a', '1')] })).toMatchObject({ returned: ['a'] });
  });

  it('is a name that is too long: it becomes no copy either, and the others are applied', async () => {
    const result = await applied({ changed: [file('x'.repeat(300), '1'), file('y', '2')] });
    expect(result).toMatchObject({ returned: ['y'], conflicts: ['x'.repeat(300)] });
    expect(tree()).toEqual(['y']);
  });
});

describe('a node that means harm', () => {
  it('is refused a few bytes that would be files without end', async () => {
    const chunk = file('x', Buffer.alloc(1024 * 1024));
    const chunks = Array.from({ length: 70_000 }, () => ({ hash: chunk.hash, size: chunk.size }));
    const bomb: FileEntry = { ...file('bomb', ''), size: chunks.length * chunk.size, chunks };
    expect(await apply({ changed: [bomb] })).toContain('its files have more than');
    expect(tree()).toEqual([]);
  });

  it('never replaces or deletes what stayed here, with or without apply', async () => {
    put('.env', 'TOKEN=mine');
    put('build/local', 'mine');
    for (const held of [false, true]) {
      const changed = [file('.env', 'TOKEN=other'), file('build/local', 'other')];
      const result = await applied({ sent: [file('a', 'a')], changed, held });
      expect([result.returned, result.conflicts]).toEqual([[], ['.env', 'build/local']]);
      expect(await applied({ sent: [file('a', 'a')], deleted: ['.env', 'build/local'], held })).toMatchObject({
        deleted: [],
      });
      expect([text('.env'), text('build/local')]).toEqual(['TOKEN=mine', 'mine']);
    }
  });
});
