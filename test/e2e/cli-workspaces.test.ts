import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { RunObject } from '../../src/node/api-types.ts';
import { TestMesh, startProgram, until, type Ran } from '../fixtures/nodes.ts';

/** A project's files go along and come back, at the command line. */
let mesh: TestMesh;
let root: string;
let projects = 0;

beforeAll(async () => {
  mesh = await TestMesh.start(['origin', 'peer']);
});

afterAll(() => mesh.stop());

/** A git project with an edit that is not committed. */
beforeEach(async () => {
  projects += 1;
  root = mesh.folder(`project-${projects}`);
  write('.gitignore', 'build/\n.env\n');
  write('src/a.txt', 'a\n');
  write('src/b.txt', 'b\n');
  await git('init', '-q');
  await git('add', '.');
  await git('-c', 'user.name=n', '-c', 'user.email=e@e', 'commit', '-qm', 'first');
  write('src/a.txt', 'edited\n');
  write('new.txt', 'new\n');
});

const at = (path: string): string => join(root, path);
const text = (path: string): string => readFileSync(at(path), 'utf8');
function write(path: string, content: string): void {
  mkdirSync(join(at(path), '..'), { recursive: true });
  writeFileSync(at(path), content);
}
async function git(...args: readonly string[]): Promise<void> {
  const ran = await startProgram('git', args, { cwd: root }).done;
  if (ran.code !== 0) throw new Error(`git ${args.join(' ')}: ${ran.stderr}`);
}

const cli = (args: readonly string[], cwd = root): Promise<Ran> => mesh.node('origin').run(args, { cwd });
const onPeer = (line: string, ...flags: readonly string[]): Promise<Ran> =>
  cli(['run', '--on', 'peer', ...flags, '--', line]);
/** The run object, whatever its exit code. */
async function object(line: string, ...flags: readonly string[]): Promise<RunObject> {
  const ran = await onPeer(line, '--json', ...flags);
  return JSON.parse(ran.stdout.toString()) as RunObject;
}

describe('a command on another node', () => {
  it('works on the files as they are now, in a folder of its own', async () => {
    const ran = await onPeer('pwd; cat src/a.txt src/b.txt new.txt; git status --short; git log --format=%s');
    expect(ran.stderr.toString()).toBe('');
    const [where, ...lines] = ran.stdout.toString().trimEnd().split('\n');
    expect(where).toContain(join(mesh.node('peer').home, 'workspaces'));
    expect(lines).toEqual(['edited', 'b', 'new', ' M src/a.txt', '?? new.txt', 'first']);
    expect(ran.code).toBe(0);
  });

  it('runs in the same folder of the project', async () => {
    const ran = await mesh.node('origin').run(['run', '--on', 'peer', '--', 'cat a.txt; basename "$PWD"'], {
      cwd: at('src'),
    });
    expect(ran.stdout.toString()).toBe('edited\nsrc\n');
  });

  it('brings back what it changes, also where it fails', async () => {
    chmodSync(at('src/b.txt'), 0o644);
    symlinkSync('src/b.txt', at('link'));
    const run = await object(
      "echo more >> src/a.txt; rm new.txt; chmod +x src/b.txt; printf x > $'odd\\nname'; mkdir -p build; echo o > build/o; exit 3",
    );
    expect(run).toMatchObject({ return_code: 3, executed_on: 'peer', reason: 'exited' });
    expect(text('src/a.txt')).toBe('edited\nmore\n');
    expect(existsSync(at('new.txt'))).toBe(false);
    expect(statSync(at('src/b.txt')).mode & 0o111).toBe(0o111);
    expect(text('odd\nname')).toBe('x');
    expect(existsSync(at('build'))).toBe(false);
    expect([...run.changes.returned].sort()).toEqual(['odd\nname', 'src/a.txt', 'src/b.txt']);
    expect(run.changes).toMatchObject({ deleted: ['new.txt'], conflicts: [], held_back: [] });
    expect(run.changes.left_there).toEqual([{ path: expect.stringMatching(/^build/), files: 1, bytes: 2 }]);
    expect(run.sync_ms).toBeGreaterThan(0);
  });

  it('brings ignored products that --out names, and says what stayed', async () => {
    const make = 'mkdir -p build/deep; echo o > build/deep/o; echo p > build/p';
    const stayed = await onPeer(make);
    expect(stayed.stderr.toString()).toMatch(/build.* stayed on peer: fetch with --out 'build\/\*\*'/);
    const ran = await onPeer('cat build/p', '--out', 'build/deep/**');
    expect(ran.stdout.toString()).toBe('p\n');
    await onPeer('echo again > build/deep/o', '--out', 'build/**');
    expect(text('build/deep/o')).toBe('again\n');
  });

  it('keeps products for the next one, unless --clean says otherwise', async () => {
    await onPeer('mkdir -p build; echo kept > build/p');
    expect((await onPeer('cat build/p')).stdout.toString()).toBe('kept\n');
    expect((await onPeer('ls build/p 2>/dev/null; true', '--clean')).stdout.toString()).toBe('');
  });

  it('leaves all there with --no-return, and sends nothing with --no-sync', async () => {
    expect(await object('echo x > src/a.txt', '--no-return')).toMatchObject({ changes: { returned: [] } });
    expect(text('src/a.txt')).toBe('edited\n');
    const ran = await onPeer('pwd', '--no-sync');
    expect(ran.stdout.toString()).toBe(`${root}\n`);
  });

  it('leaves out and takes along what it is told to', async () => {
    write('build/o', 'o\n');
    const ran = await onPeer('ls; ls src build', '--exclude', 'src/b.txt', '--include', 'build/o');
    expect(ran.stdout.toString()).toBe('build\nnew.txt\nsrc\nbuild:\no\n\nsrc:\na.txt\n');
  });

  it('keeps what changed here meanwhile, and the other version aside', async () => {
    const gate = join(mesh.root, `gate-${projects}`);
    const line = `touch begun; until [ -e ${gate} ]; do sleep 0.05; done; echo theirs > src/a.txt`;
    const job = cli(['run', '--on', 'peer', '--json', '--', line]);
    await until('it is running', async () => {
      const { jobs } = JSON.parse((await cli(['jobs', '--json'])).stdout.toString()) as {
        jobs: { state: string; cwd: string | null }[];
      };
      return jobs.some((one) => one.state === 'running' && one.cwd?.includes(`project-${projects}`));
    });
    write('src/a.txt', 'mine\n');
    writeFileSync(gate, '');
    const run = JSON.parse((await job).stdout.toString()) as RunObject;
    expect(run).toMatchObject({ return_code: 0, changes: { conflicts: ['src/a.txt'], returned: ['begun'] } });
    expect(text('src/a.txt')).toBe('mine\n');
    expect(run.notices.join('\n')).toContain('src/a.txt');
    const aside = join(mesh.node('origin').home, 'conflicts', run.job_id, 'src/a.txt');
    expect(readFileSync(aside, 'utf8')).toBe('theirs\n');
  });
});

describe('apply', () => {
  it('brings what other programs obey, which waits for it', async () => {
    const run = await object('echo "{}" > .mcp.json; mkdir .vscode; echo 1 > .vscode/tasks.json; echo x > src/b.txt');
    expect([...run.changes.held_back].sort()).toEqual(['.mcp.json', '.vscode/tasks.json']);
    expect(run.notices.join('\n')).toContain(`meshwork apply ${run.job_id}`);
    expect(existsSync(at('.mcp.json'))).toBe(false);
    expect(text('src/b.txt')).toBe('x\n');
    const ran = await cli(['apply', run.job_id.slice(0, 20), '--json']);
    expect(JSON.parse(ran.stdout.toString())).toMatchObject({ job_id: run.job_id, changes: { held_back: [] } });
    expect(text('.mcp.json')).toBe('{}\n');
    const again = await cli(['apply', run.job_id]);
    expect(again.code).toBe(125);
    expect(again.stderr.toString()).toContain('[nothing_to_apply]');
  });

  it('brings what a command changed before its time was over', async () => {
    const ran = await onPeer('echo late > src/b.txt; sleep 97532', '--timeout', '10s', '--json');
    expect(ran.code).toBe(124);
    const run = JSON.parse(ran.stdout.toString()) as RunObject;
    expect(text('src/b.txt')).toBe('b\n');
    const applied = await cli(['apply', run.job_id]);
    expect(applied.stdout.toString()).toContain('applied     src/b.txt');
    expect(text('src/b.txt')).toBe('late\n');
  });

  it('knows no job of another name', async () => {
    const ran = await cli(['apply', '01ARZ3NDEKZZZZZZZZZZZZZZZZ']);
    expect(ran.code).toBe(125);
    expect(ran.stderr.toString()).toMatch(/\[(job_unknown|nothing_to_apply)\]/);
  });
});

it('a folder whose tracked files were all deleted is there, and goes and comes back with its files', async () => {
  rmSync(at('src/a.txt'));
  rmSync(at('src/b.txt'));
  const ran = await onPeer('ls -dF *; git status --short');
  expect(ran.stdout.toString()).toBe('new.txt\nsrc/\n D src/a.txt\n D src/b.txt\n?? new.txt\n');
  await onPeer('git checkout -q -- src/a.txt');
  expect(text('src/a.txt')).toBe('a\n');
  rmSync(at('src/a.txt'));
  await onPeer('rmdir src');
  expect(existsSync(at('src'))).toBe(false);
});

describe('secrets', () => {
  it('that nobody decided about keep a command here, until they are sent or left out', async () => {
    write('.env', 'TOKEN=1\n');
    const listed = await cli(['secrets', '--json']);
    expect(JSON.parse(listed.stdout.toString())).toMatchObject({ root, files: [{ path: '.env', decision: null }] });
    const explained = await cli(['explain', '--json', '--', 'make']);
    expect(explained.stdout.toString()).toContain('.env');
    const stayed = JSON.parse((await cli(['run', '--json', '--', 'make --version'])).stdout.toString());
    expect(stayed.notices).toEqual([expect.stringMatching(/^ran here: \.env is not tracked.*secrets send \.env/)]);
    expect((await cli(['secrets', 'send', '.env'])).stdout.toString()).toMatch(/sent +\.env/);
    const ran = await onPeer('cat .env; stat -c %a .env');
    expect(ran.stdout.toString()).toBe('TOKEN=1\n600\n');
    write('src/deep/.env', 'TOKEN=2\n');
    // As messages name it, in a folder below the root.
    const below = await cli(['secrets', 'skip', 'src/deep/.env'], join(root, 'src'));
    expect(below.stdout.toString()).toMatch(/not sent +src\/deep\/\.env/);
    await cli(['secrets', 'skip', '.env']);
    expect((await onPeer('ls -A')).stdout.toString()).not.toContain('.env\n');
    // A name that is not there may be a slip.
    expect((await cli(['secrets', 'send', '.evn'])).stdout.toString()).toMatch(
      /sent +\.evn\n[^]*! not there now: \.evn\n$/,
    );
  });
});

describe('a folder of secrets', () => {
  it('is decided about with what comes into it later, but for files that are decided about by name', async () => {
    write('conf/.env', 'TOKEN=1\n');
    write('conf/own/.env', 'TOKEN=2\n');
    expect((await cli(['secrets', 'send', 'conf'])).stdout.toString()).toMatch(/^\S+:\n {2}sent +conf\/\n$/);
    const skipped = await cli(['secrets', 'skip', './own/'], at('conf'));
    expect(skipped.stdout.toString()).toMatch(
      /^\S+:\n {2}sent +conf\/\n {2}not sent +conf\/own\/\n {2}not sent +conf\/own\/\.env\n$/,
    );
    write('conf/later/.env', 'TOKEN=3\n');
    const ran = await onPeer('cat conf/.env conf/later/.env conf/own/.env');
    expect(ran.stdout.toString()).toBe('TOKEN=1\nTOKEN=3\n');
    await cli(['secrets', 'send', 'conf/own/.env']);
    expect((await onPeer('cat conf/own/.env')).stdout.toString()).toBe('TOKEN=2\n');
    const listed = JSON.parse((await cli(['secrets', '--json'])).stdout.toString());
    expect(listed.files).toEqual([
      { path: 'conf/', decision: 'send' },
      { path: 'conf/own/', decision: 'skip' },
      { path: 'conf/own/.env', decision: 'send' },
    ]);
    await git('add', '-f', 'conf/later/.env');
    expect((await cli(['secrets', 'skip', 'conf'])).stdout.toString()).toMatch(
      /not sent +conf\/\n[^]*! tracked, so sent whatever is decided: conf\/later\/\.env\n$/,
    );
  });

  it('that nothing could come of is refused: the whole project, a link, dependencies', async () => {
    write('build/out/x', 'x');
    write('.gitignore', 'build/\nnode_modules/\n');
    write('node_modules/x/a.js', 'x');
    symlinkSync('build', at('linked'));
    const refusals = [
      ['send', '.', /is the whole project: name files or folders in it; nothing was changed/],
      ['skip', 'linked', /linked is a link to a folder: name that folder; nothing was changed/],
      [
        'send',
        'node_modules/x',
        /node_modules\/x: dependencies.*nothing was changed.*\[ship\] ignored = \["node_modules\/x"\]/,
      ],
    ] as const;
    for (const [decision, name, message] of refusals) {
      const refused = await cli(['secrets', decision, name]);
      expect(refused.code).toBe(125);
      expect(refused.stderr.toString()).toMatch(message);
    }
    expect((await cli(['secrets'])).stdout.toString()).toMatch(/no untracked secrets\n$/);
  });
});

describe('a secret that is tracked', () => {
  it('goes along, so that nobody can decide to skip it', async () => {
    write('conf/.env', 'TOKEN=1\n');
    await git('add', '-f', 'conf/.env');
    const skipped = await cli(['secrets', 'skip', 'conf/.env']);
    expect({ code: skipped.code, out: skipped.stdout.toString() }).toEqual({ code: 125, out: '' });
    expect(skipped.stderr.toString()).toMatch(
      /^meshwork: conf\/\.env: .*tracked.*nothing was changed.*\[bad_argument\]/,
    );
    const sent = await cli(['secrets', 'send', 'conf/.env']);
    expect(sent.stdout.toString()).toMatch(
      /no untracked secrets\n! tracked, so sent whatever is decided: conf\/\.env\n$/,
    );
    expect((await cli(['secrets', '--json'])).stdout.toString()).not.toContain('conf');
    expect((await onPeer('cat conf/.env')).stdout.toString()).toBe('TOKEN=1\n');
    // What was decided while it was not tracked is told as void.
    await git('rm', '-q', '--cached', 'conf/.env');
    expect((await cli(['secrets', 'skip', 'conf/.env'])).stdout.toString()).toMatch(/not sent +conf\/\.env/);
    await git('add', '-f', 'conf/.env');
    expect((await cli(['secrets'])).stdout.toString()).toMatch(/no untracked secrets\n! tracked.*conf\/\.env/);
    write('.meshworkignore', 'conf/.env\n');
    expect((await onPeer('ls conf/.env')).code).not.toBe(0);
  });
});

describe('workspaces', () => {
  it('are listed and removed where they are kept', async () => {
    await onPeer('true');
    const peer = mesh.node('peer');
    const listed = (await peer.json(['workspaces'])) as {
      workspaces: { name: string; root: string; in_use: number }[];
    };
    const kept = listed.workspaces.find((one) => one.root === root);
    expect(kept).toMatchObject({ origin: 'origin', in_use: 0 });
    expect(await peer.must(['workspaces'])).toContain(kept?.name);
    expect(await peer.must(['workspaces', 'rm', kept?.name ?? ''])).toContain(`removed ${kept?.name}`);
    const again = await peer.run(['workspaces', 'rm', kept?.name ?? '']);
    expect(again).toMatchObject({ code: 1 });
    expect(again.stdout.toString()).toContain('nothing was removed');
    expect((await onPeer('cat src/a.txt')).stdout.toString()).toBe('edited\n');
    const all = (await peer.json(['workspaces', 'rm'])) as { removed: string[] };
    expect(all.removed.length).toBeGreaterThan(0);
    rmSync(root, { recursive: true });
  });
});
