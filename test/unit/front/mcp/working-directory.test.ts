import { execFileSync } from 'node:child_process';
import { mkdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { repositoryAround } from '../../../../src/front/mcp/linked-worktrees.ts';
import { WorkingDirectory } from '../../../../src/front/mcp/working-directory.ts';
import { temporaryFolders, writeTree } from '../../../fixtures/temporary-folder.ts';

const temporary = temporaryFolders();
let root: string;
/** The user's home in these tests; projects lie in it. */
let home: string;
let project: string;

beforeEach(() => {
  root = realpathSync(temporary());
  home = join(root, 'home');
  project = join(home, 'project');
  for (const folder of [join(project, 'src'), join(root, 'elsewhere')]) mkdirSync(folder, { recursive: true });
});

/** A repository as git lays it out, with linked work trees (gitrepository-layout(5)). */
function repository(top: string, linked: Readonly<Record<string, string>>, relativePaths = false): void {
  writeTree(top, { '.git/HEAD': 'ref: refs/heads/main\n' });
  for (const [name, path] of Object.entries(linked)) {
    const entry = join(top, '.git/worktrees', name);
    writeTree(entry, {
      gitdir: relativePaths ? `../../../../${name}/.git\n` : `${join(path, '.git')}\n`,
      commondir: '../..\n',
      HEAD: 'ref: refs/heads/other\n',
    });
    writeTree(path, { '.git': `gitdir: ${entry}\n` });
  }
}

const resolved = async (base: string, cwd: string | undefined, roots: readonly string[] = []): Promise<string> => {
  const result = await new WorkingDirectory(base, home).resolve(cwd, roots);
  return result.ok ? result.value : result.error.code;
};

describe('the directory of a command', () => {
  it('is the project where none is given', async () => {
    expect(await resolved(project, undefined)).toBe(project);
    expect(await resolved(join(root, 'gone'), undefined)).toBe('cwd_missing');
  });

  it('may be anywhere in the project', async () => {
    expect(await resolved(project, join(project, 'src'))).toBe(join(project, 'src'));
    expect(await resolved(project, `${project}/src/../src/`)).toBe(join(project, 'src'));
  });

  it('may be anywhere in the work tree that the server was started within', async () => {
    repository(project, {});
    expect(await resolved(join(project, 'src'), project)).toBe(project);
  });

  it('is found where a FIFO is called .git', async () => {
    execFileSync('mkfifo', [join(project, '.git')]);
    expect(await resolved(join(project, 'src'), undefined)).toBe(join(project, 'src'));
  });

  it('is refused outside the project', async () => {
    expect(await resolved(project, join(root, 'elsewhere'))).toBe('cwd_not_allowed');
    expect(await resolved(project, '/')).toBe('cwd_not_allowed');
    expect(await resolved(project, `${project}/../../elsewhere`)).toBe('cwd_not_allowed');
    mkdirSync(`${project}-two`);
    expect(await resolved(project, `${project}-two`)).toBe('cwd_not_allowed');
  });

  it('does not follow a symbolic link out of the project', async () => {
    symlinkSync(join(root, 'elsewhere'), join(project, 'out'));
    expect(await resolved(project, join(project, 'out'))).toBe('cwd_not_allowed');
    symlinkSync(join(project, 'src'), join(root, 'elsewhere', 'in'));
    expect(await resolved(project, join(root, 'elsewhere', 'in'))).toBe(join(root, 'elsewhere', 'in'));
  });

  it('may lie in the roots of the settings', async () => {
    expect(await resolved(project, join(root, 'elsewhere'), [join(root, 'elsewhere')])).toBe(join(root, 'elsewhere'));
    expect(await resolved(project, join(root, 'elsewhere'), [join(root, 'gone')])).toBe('cwd_not_allowed');
  });

  it('is refused where it is not absolute, does not exist or is a file', async () => {
    writeFileSync(join(project, 'file'), '');
    expect(await resolved(project, 'src')).toBe('bad_argument');
    expect(await resolved(project, join(project, 'gone'))).toBe('cwd_missing');
    expect(await resolved(project, join(project, 'file'))).toBe('cwd_missing');
  });

  it.each(['/', 'home', 'above'])('%s is no project: what lies in it is not allowed for that', async (which) => {
    const base = { '/': '/', home, above: root }[which] ?? '';
    expect(await resolved(base, undefined)).toBe(base);
    expect(await resolved(base, base)).toBe(base);
    expect(await resolved(base, project)).toBe('cwd_not_allowed');
    expect(await resolved(base, project, [home])).toBe(project);
  });
});

describe('a repository with linked work trees', () => {
  it('needs a cwd, and lists them', async () => {
    const linked = join(root, 'linked');
    repository(project, { linked });
    for (const base of [project, linked, join(project, 'src')]) {
      const result = await new WorkingDirectory(base, home).resolve(undefined, []);
      expect(result).toMatchObject({ ok: false, error: { code: 'worktree_ambiguous' } });
      expect(result.ok ? '' : result.error.message).toContain(`${project}, ${linked}`);
    }
    expect(await resolved(project, linked)).toBe(linked);
    expect(await resolved(linked, join(project, 'src'))).toBe(join(project, 'src'));
  });

  it('forgets those whose folder is gone', async () => {
    const linked = join(root, 'linked');
    repository(project, { linked });
    rmSync(linked, { recursive: true });
    expect(await resolved(project, undefined)).toBe(project);
  });

  it('reads relative paths and bare repositories', async () => {
    repository(project, { linked: join(home, 'linked') }, true);
    expect((await repositoryAround(project))?.worktrees).toEqual([project, join(home, 'linked')]);
    const bare = join(root, 'bare.git');
    writeTree(bare, {
      HEAD: 'ref: refs/heads/main\n',
      'worktrees/one/gitdir': `${join(root, 'one/.git')}\n`,
      'worktrees/one/commondir': '../..\n',
    });
    writeTree(join(root, 'one'), { '.git': `gitdir: ${bare}/worktrees/one\n` });
    expect((await repositoryAround(join(root, 'one')))?.worktrees).toEqual([join(root, 'one')]);
  });

  it('takes a submodule for a repository of its own', async () => {
    repository(project, { linked: join(root, 'linked') });
    writeTree(project, { '.git/modules/sub/HEAD': 'x\n', 'sub/.git': 'gitdir: ../.git/modules/sub\n' });
    expect(await repositoryAround(join(project, 'sub'))).toEqual({
      top: join(project, 'sub'),
      worktrees: [join(project, 'sub')],
    });
  });

  it('is none where .git is no repository', async () => {
    mkdirSync(join(project, '.git'));
    expect(await repositoryAround(join(project, 'src'))).toBeNull();
  });
});
