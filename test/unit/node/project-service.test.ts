import { mkdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { base32, makeJobId, type NodeId } from '../../../src/base/ids.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { err, ok, type Result } from '../../../src/base/result.ts';
import { ProjectBook } from '../../../src/node/project-book.ts';
import { namedPaths, ProjectService } from '../../../src/node/project-service.ts';
import { SecretDecisions } from '../../../src/node/secret-decisions.ts';
import type { Project, Scan, ScanRefusal, ScanRequest } from '../../../src/ports/workspace.ts';
import type { JobSpec, SyncSpec } from '../../../src/wire/job-spec.ts';
import { SHIPPED } from '../../fixtures/plain-spec.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';
import { MemoryProject, SCAN } from './memory-workspaces.ts';
import { specOf } from './origin-rig.ts';

const folder = temporaryFolders();
const nodeId = (number: number): NodeId => base32(new Uint8Array(33).fill(number)).slice(0, 52) as NodeId;
const [SELF, WARM, COLD] = [nodeId(1), nodeId(2), nodeId(3)];
const JOB = makeJobId(1, new Uint8Array(16));

class Rig {
  readonly root = realpathSync(folder());
  readonly project: Project = { root: this.root, key: '1'.repeat(32), kind: 'git' };
  readonly home = folder();
  readonly book = new ProjectBook(join(this.home, 'projects.json'), silentLogger);
  readonly secrets = new SecretDecisions(join(this.home, 'secrets.json'));
  readonly scans: ScanRequest[] = [];
  readonly service: ProjectService;
  found: Result<Project | null, ScanRefusal> = ok(this.project);
  scan: Result<Scan, ScanRefusal> = ok(SCAN);
  isAlone = false;

  constructor() {
    this.service = new ProjectService({
      files: {
        ...new MemoryProject().files,
        findProject: async () => this.found,
        scan: async (request) => {
          this.scans.push(request);
          return this.scan;
        },
      },
      book: this.book,
      secrets: this.secrets,
      config: { workspaces: { files_max: 100, project_bytes_max: 1000, quota_bytes: 1, keep_days: 1 } },
      self: () => ({ id: SELF, name: 'here' }),
      isAlone: () => this.isAlone,
    });
  }

  terms(more: Partial<JobSpec> = {}, jobClass: 'bound' | 'heavy' | 'light' = 'heavy', sync: Partial<SyncSpec> = {}) {
    const target = { kind: 'any' } as const;
    return this.service.terms(
      JOB,
      specOf({ cwd: this.root, target, sync: { ...SHIPPED, ...sync }, ...more }),
      jobClass,
    );
  }
}

test('a project is looked at only where its files may be sent', async () => {
  const rig = new Rig();
  expect(await rig.terms({ sync: null })).toBeNull();
  expect(await rig.terms({ target: { kind: 'local' } })).toBeNull();
  expect(await rig.terms({ target: { kind: 'node', node: 'here' } })).toBeNull();
  expect(await rig.terms({}, 'bound')).toBeNull();
  expect(await rig.terms({ target: { kind: 'bash' } }, 'light')).toBeNull();
  rig.isAlone = true;
  expect(await rig.terms()).toBeNull();
  rig.isAlone = false;
  rig.found = ok(null);
  expect(await rig.terms()).toBeNull();
  expect(rig.scans).toEqual([]);
  rig.found = ok(rig.project);
  const requires = { os: 'linux', arch: null, capabilities: [], cpus: null, memory_bytes: null } as const;
  expect(
    await rig.terms({ target: { kind: 'bash' }, requires: { ...requires, capabilities: [] } }, 'light'),
  ).not.toBeNull();
  expect(await rig.terms({ target: { kind: 'node', node: 'there' } }, 'bound')).not.toBeNull();
  // The name of another node may be how this one's id begins; from four characters on that means this one.
  expect(await rig.terms({ target: { kind: 'node', node: SELF.slice(0, 1) } })).not.toBeNull();
  expect(await rig.terms({ target: { kind: 'node', node: SELF.slice(0, 4) } })).toBeNull();
});

test('bytes are those that a node lacks; where products are is told', async () => {
  const rig = new Rig();
  rig.book.sentTo(rig.project, WARM, 'b'.repeat(64) as Scan['manifest']);
  rig.book.productsAre(rig.project, { node: WARM, what: 'dist', paths: ['dist'] });
  const terms = await rig.terms();
  expect([terms?.bytesTo(WARM), terms?.bytesTo(COLD)]).toEqual([7, SCAN.bytes]);
  expect(terms?.productsAt).toEqual({ node: WARM, what: 'dist', paths: ['dist'] });
  const again = new ProjectBook(join(rig.home, 'projects.json'), silentLogger);
  expect(again.warm(rig.project)).toEqual(rig.book.warm(rig.project));
  // What ended here did not make them here.
  rig.service.forget(JOB, true);
  expect(rig.book.productsAt(rig.project)).not.toBeNull();
  await rig.terms();
  mkdirSync(join(rig.root, 'dist'));
  rig.service.forget(JOB, true);
  expect(rig.book.productsAt(rig.project)).toBeNull();
});

test('a command that stays here is told that what it names was made elsewhere', () => {
  const rig = new Rig();
  const told = (
    line: string,
    target: JobSpec['target'],
    jobClass: 'bound' | 'light' | 'other' = 'other',
    tools = ['x'],
  ) =>
    rig.service.missedHere(specOf({ cwd: rig.root, command: { kind: 'line', line }, target, sync: SHIPPED }), {
      class: jobClass,
      reason: '',
      tools,
    });
  const [local, bash] = [{ kind: 'local' }, { kind: 'bash' }] as const;
  expect(told('cat dist/x', local)).toBeNull();
  rig.book.productsAre(rig.project, { node: WARM, what: 'dist on b', paths: ['dist'] });
  expect(told('cd . && ./dist/x', local)).toMatch(/^stays here.*newest products \(dist on b\) are not/);
  expect(told('ls dist', bash, 'light')).toContain('dist on b');
  expect(told('npm publish', bash, 'bound', ['npm'])).toContain('dist on b');
  expect(told('git push', bash, 'bound', ['git'])).toBeNull();
  expect(told('ls', bash, 'light')).toBeNull();
  // It may leave: where to is placement's, which knows of them.
  expect(told('./dist/x', { kind: 'any' })).toBeNull();
  expect(told('./dist/x', { kind: 'node', node: 'there' })).toBeNull();
});

test('a scan that is a moment old is sent, one that was found wrong is made again; an unstable one twice', async () => {
  const rig = new Rig();
  await rig.terms();
  const spec = specOf({ cwd: rig.root, target: { kind: 'any' }, sync: SHIPPED });
  expect(await rig.service.fresh(JOB, spec)).toMatchObject({ ok: true });
  expect(rig.scans).toHaveLength(1);
  rig.service.outdated(JOB);
  expect(await rig.service.fresh(JOB, spec)).toMatchObject({ ok: true });
  expect(rig.scans).toHaveLength(2);
  rig.scan = err({ code: 'unstable', message: 'a changes' });
  await rig.terms();
  expect(rig.scans).toHaveLength(4);
});

test('undecided secrets keep it here and say how to decide; what cannot be sent refuses every other node', async () => {
  const rig = new Rig();
  rig.scan = ok({ ...SCAN, undecided: ['.env'] });
  const undecided = await rig.terms();
  expect(undecided).toMatchObject({ staysHere: { code: 'secrets' }, refused: null });
  expect(undecided?.staysHere?.text).toContain('meshwork secrets send .env');
  rig.scan = ok({ ...SCAN, undecided: ['sp dir/.env', '-x.key'] });
  expect((await rig.terms())?.staysHere?.text).toContain("secrets send 'sp dir/.env' ./-x.key`");
  rig.scan = ok({ ...SCAN, outward: ['data'] });
  const outward = await rig.terms();
  expect(outward).toMatchObject({ staysHere: { code: 'sync' }, refused: null });
  expect(outward?.staysHere?.text).toMatch(/^data leads out of the project.*\.meshworkignore/);
  rig.scan = err({ code: 'too_large', message: 'too large: big (3 GiB)' });
  const reason = { code: 'too_large', text: 'too large: big (3 GiB)' };
  expect(await rig.terms()).toMatchObject({ staysHere: reason, refused: reason });
  rig.scan = err({ code: 'unstable', message: 'a changes' });
  expect(await rig.terms()).toMatchObject({ refused: { code: 'sync', text: 'a changes' } });
  rig.scan = ok({ ...SCAN, dependencies: [{ folder: 'vendor' }] });
  expect(await rig.terms()).toMatchObject({ refused: { code: 'needs_prepare' } });
});

test('globs that lead out of the root are refused: what somebody meant from a folder on would be sent', async () => {
  const rig = new Rig();
  for (const options of [{ exclude: ['a', '../docs'] }, { include: ['x/../../y'] }, { exclude: ['!..'] }]) {
    await expect(rig.terms({}, 'heavy', options)).rejects.toMatchObject({ code: 'bad_argument' });
  }
  expect(rig.scans).toEqual([]);
  await rig.terms({}, 'heavy', { exclude: ['..a', 'b..'] });
  expect(rig.scans).toHaveLength(1);
});

test('settings, options and decisions reach the scan; outputs are relative to the directory', async () => {
  const rig = new Rig();
  mkdirSync(join(rig.root, 'sub/ü'), { recursive: true });
  symlinkSync(join(rig.root, 'sub/ü'), join(rig.root, 'link'));
  writeFileSync(join(rig.root, '.meshwork.toml'), 'outputs = ["dist/**"]\n[ship]\nexclude = ["big"]\n');
  rig.secrets.decide(rig.root, ['.env', 'x.pem'], 'send');
  rig.secrets.decide(rig.root, ['x.pem'], null);
  const options = { exclude: ['more'], outputs: ['out/*', '!out/y'] };
  await rig.terms({ cwd: join(rig.root, 'link') }, 'heavy', options);
  expect(rig.scans[0]).toMatchObject({
    ship: { exclude: ['big', 'more'], git: true },
    secrets: { '.env': 'send' },
    filesMax: 100,
    bytesMax: 1000,
  });
  expect(rig.scans[0]?.secrets).toEqual({ '.env': 'send' });
  const fresh = await rig.service.fresh(JOB, specOf());
  if (fresh?.ok !== true) throw new Error('it is not known');
  expect(Buffer.from(fresh.value.folder, 'latin1').toString()).toBe('sub/ü');
  expect(fresh.value.outputs).toEqual(['dist/**', 'sub/ü/out/*', '!sub/ü/out/y']);
  rig.service.forget(JOB);
  expect(await rig.service.fresh(JOB, specOf())).toBeNull();
});

test('a glob of outputs means the directory that it is given in by its very name, or an absolute path', async () => {
  const rig = new Rig();
  const cwd = join(rig.root, '!app/[slug]{a,b}*');
  mkdirSync(cwd, { recursive: true });
  const outputs = ['dist/**', '!dist/x', '../../o', '../..', `${rig.root}/abs/*.o`, rig.root, `${cwd}/*.o`];
  await rig.terms({ cwd }, 'heavy', { outputs });
  const fresh = await rig.service.fresh(JOB, specOf());
  if (fresh?.ok !== true) throw new Error('it is not known');
  const below = String.raw`\!app/\[slug]?a,b?\*`;
  expect(fresh.value.outputs).toEqual([
    `${below}/dist/**`,
    `!${below}/dist/x`,
    'o',
    '**',
    'abs/*.o',
    '**',
    `${below}/*.o`,
  ]);
});

test('an absolute glob may begin as the directory was given, though that leads through a link', async () => {
  const rig = new Rig();
  mkdirSync(join(rig.root, 'sub'));
  const cwd = `${rig.root}-link`;
  symlinkSync(join(rig.root, 'sub'), cwd);
  await rig.terms({ cwd }, 'heavy', { outputs: [`${cwd}/dist/*.o`, `!${cwd}/dist/x`, cwd] });
  const fresh = await rig.service.fresh(JOB, specOf());
  if (fresh?.ok !== true) throw new Error('it is not known');
  expect(fresh.value.outputs).toEqual(['sub/dist/*.o', '!sub/dist/x', 'sub']);
});

test('a glob of outputs that is too long below the directory is refused: no node would take it', async () => {
  const rig = new Rig();
  const cwd = join(rig.root, ...Array<string>(5).fill('d'.repeat(200)));
  mkdirSync(cwd, { recursive: true });
  expect(await rig.terms({ cwd }, 'heavy', { outputs: ['o'] })).not.toBeNull();
  const long = rig.terms({ cwd }, 'heavy', { outputs: ['o'.repeat(100)] });
  await expect(long).rejects.toMatchObject({
    code: 'bad_argument',
    message: expect.stringContaining('nothing was run'),
  });
});

test('names of products that are too long to be kept cost nothing else that is known', () => {
  const rig = new Rig();
  rig.book.sentTo(rig.project, WARM, 'b'.repeat(64) as Scan['manifest']);
  rig.book.productsAre(rig.project, { node: WARM, what: 'dist', paths: ['x'.repeat(8000), 'dist'] });
  const again = new ProjectBook(join(rig.home, 'projects.json'), silentLogger);
  expect(again.warm(rig.project)).toHaveLength(1);
  expect(again.productsAt(rig.project)?.paths).toEqual(['dist']);
});

test('a directory outside of the named project, and settings that are not understood, are refused', async () => {
  const rig = new Rig();
  await expect(rig.terms({ cwd: folder() })).rejects.toMatchObject({ code: 'no_project' });
  await expect(rig.terms({ cwd: join(rig.root, 'gone') })).rejects.toMatchObject({ code: 'cwd_missing' });
  await expect(rig.terms({ cwd: join(rig.root, 'caf\uFFFD') })).rejects.toThrow('its name is not UTF-8');
  rig.found = err({ code: 'no_project', message: 'it is a home' });
  await expect(rig.terms()).rejects.toMatchObject({ code: 'no_project', message: 'it is a home' });
  writeFileSync(join(rig.home, 'secrets.json'), '{"x": 1}');
  rig.found = ok(rig.project);
  await expect(rig.terms()).rejects.toMatchObject({ code: 'bad_config' });
});

test.each([
  ['./build/app', 'src', '/p/src/build/app'],
  ['../build/x', 'src', '/p/build/x'],
  ['/p/build/app', 'src', '/p/build/app'],
  ['--input=build/app', '', '/p/build/app'],
  ['../../q', 'src', '/q'],
  ['-v', 'build', '/p/build'],
])('%s in /p/%s may name %s', (word, below, path) => {
  expect(namedPaths(['cat', word], `/p/${below}`)).toContain(path);
});
