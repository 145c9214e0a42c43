import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createExecutorOperations } from '../../../../src/adapters/workspace/executor-operations.ts';
import { createOriginOperations } from '../../../../src/adapters/workspace/origin-operations.ts';
import type { JobId, NodeId } from '../../../../src/base/ids.ts';
import type { Result } from '../../../../src/base/result.ts';
import type { Applied, Project, ProjectFiles, WorkspaceFiles } from '../../../../src/ports/workspace.ts';
import { temporaryFolders } from '../../../fixtures/temporary-folder.ts';

/** A project from one folder to another and back, all of it but the network: the same commands here and there. */
const temporaryFolder = temporaryFolders();
const ENV = {
  PATH: process.env['PATH'] ?? '',
  HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'a',
  GIT_AUTHOR_EMAIL: 'a@b',
  GIT_COMMITTER_NAME: 'a',
  GIT_COMMITTER_EMAIL: 'a@b',
  GIT_AUTHOR_DATE: '2024-01-01T00:00:00Z',
  GIT_COMMITTER_DATE: '2024-01-01T00:00:00Z',
  LC_ALL: 'C',
};

const sh = (cwd: string, line: string): { readonly status: number | null; readonly stdout: string } => {
  const { status, stdout } = spawnSync('/bin/sh', ['-c', line], { cwd, env: ENV, encoding: 'latin1' });
  return { status, stdout };
};

function value<T>(result: Result<T, { readonly message: string }>): T {
  if (!result.ok) throw new Error(result.error.message);
  return result.value;
}

interface Trip {
  readonly status: number | null;
  readonly stdout: string;
  readonly applied: Applied | null;
  readonly sentBytes: number;
}

class Mesh {
  readonly #folder = temporaryFolder();
  readonly #origin: ProjectFiles;
  readonly #executor: WorkspaceFiles;
  #jobs = 0;

  constructor() {
    const settings = { home: '/nonexistent', env: ENV, user: null };
    mkdirSync(join(this.#folder, 'origin'));
    mkdirSync(join(this.#folder, 'executor'));
    this.#origin = createOriginOperations({ folder: join(this.#folder, 'origin'), ...settings });
    this.#executor = createExecutorOperations({ folder: join(this.#folder, 'executor'), ...settings });
  }

  /** @param meanwhile what happens in the project while the command runs */
  async run(
    root: string,
    line: string,
    more: { readonly outputs?: readonly string[]; readonly held?: boolean; readonly meanwhile?: () => void } = {},
  ): Promise<Trip> {
    const at = await this.#project(root);
    const scannedMs = Date.now();
    const scan = value(
      await this.#origin.scan({
        project: at,
        ship: { include: [], exclude: [], ignored: [], git: true },
        secrets: {},
        filesMax: 10_000,
        bytesMax: 1e9,
      }),
    );
    const job = String(++this.#jobs).padStart(26, '0') as JobId;
    const opened = value(
      await this.#executor.open({
        origin: 'o'.repeat(52) as NodeId,
        project: at.key,
        label: 'project',
        root,
        job,
        attempt: 1,
        manifest: scan.manifest,
        rules: scan.rules,
        isGit: at.kind === 'git',
        clean: false,
        quotaBytes: 1e9,
        user: null,
      }),
    );
    const sentBytes = await this.#send(at, scan.manifest, opened);
    value(await this.#executor.place(opened.id, () => {}));
    const ran = sh(opened.tree, line);
    more.meanwhile?.();
    const pack = join(this.#folder, `${job}.pack`);
    const outputs = more.outputs ?? [];
    const changes = await this.#executor.collect({ id: opened.id, pack, returns: true, outputs, prepared: [] });
    expect(changes.problem).toBeNull();
    await this.#executor.close(opened.id);
    if (changes.pack_bytes === 0) return { ...ran, applied: null, sentBytes };
    const applied = await this.#origin.apply({
      project: at,
      manifest: scan.manifest,
      pack,
      packSha256: changes.pack_sha256,
      outputs,
      scannedMs,
      conflicts: join(this.#folder, 'conflicts'),
      held: more.held ?? false,
    });
    return { ...ran, applied: value(applied), sentBytes };
  }

  async #project(root: string): Promise<Project> {
    const found = value(await this.#origin.findProject(root, root));
    if (found === null) throw new Error('no project');
    return found;
  }

  async #send(
    at: Project,
    manifest: Parameters<ProjectFiles['openPacks']>[1],
    opened: { readonly id: string; readonly base: Parameters<ProjectFiles['encodeManifest']>[1] },
  ): Promise<number> {
    const { id, base } = opened;
    const encoded = base === manifest ? null : await this.#origin.encodeManifest(manifest, base);
    let sentBytes = encoded?.length ?? 0;
    const wanted = value(await this.#executor.takeManifest(id, encoded));
    const source = await this.#origin.openPacks(at, manifest, wanted.want);
    if (source === null) throw new Error('the want list does not fit');
    for (let pack = value(await this.#origin.nextPack(source)); pack !== null;) {
      sentBytes += pack.length;
      value(await this.#executor.takePack(id, pack));
      pack = value(await this.#origin.nextPack(source));
    }
    await this.#origin.closePacks(source);
    return sentBytes;
  }
}

/** Everything that a later command could see, by path; of `.git` what git itself says. */
function seen(root: string): Record<string, string> {
  const found: Record<string, string> = {};
  const visit = (folder: string): void => {
    for (const name of readdirSync(Buffer.from(join(root, folder)), { encoding: 'buffer' })) {
      const path = join(folder, name.toString('latin1'));
      if (path === '.git') continue;
      const where = Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, 'latin1')]);
      const stat = lstatSync(where);
      const mode = (stat.mode & 0o777).toString(8);
      if (stat.isDirectory()) {
        found[`${path}/`] = '';
        visit(path);
      } else if (stat.isSymbolicLink()) found[path] = `-> ${readlinkSync(where)}`;
      else found[path] = `${mode} ${createHash('sha256').update(readFileSync(where)).digest('hex')}`;
    }
  };
  visit('');
  return found;
}

function newProject(): string {
  const root = temporaryFolder();
  const put = (path: string, content: string, mode = 0o644): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
    chmodSync(join(root, path), mode);
  };
  put('a.c', 'int main(void) { return 0; }\n');
  put('src/b.txt', 'b\n');
  put('src/deep/c.txt', 'c\n');
  put('run.sh', '#!/bin/sh\necho run\n', 0o755);
  put('.gitignore', 'build/\n*.o\n');
  put('build/old.bin', 'a product of this side\n');
  put('edited.txt', 'committed\n');
  put('new\nline.txt', 'n\n');
  put('big.bin', Array.from({ length: 400_000 }, (_, index) => String(index)).join('\n'));
  execFileSync(
    '/bin/sh',
    ['-c', 'ln -s src/b.txt link && git init -q -b main . && git add -A && git commit -qm first'],
    { cwd: root, env: ENV },
  );
  writeFileSync(Buffer.concat([Buffer.from(`${root}/caf`), Buffer.from([0xe9])]), 'latin1\n');
  put('edited.txt', 'uncommitted\n');
  put('untracked.txt', 'u\n');
  return root;
}

const COMMANDS = [
  'cat edited.txt untracked.txt; git status --porcelain -z; git describe --always --dirty; ls src *.c',
  'echo changed > a.c; rm src/b.txt; mkdir -p x/y; echo n > x/y/z; chmod 700 run.sh; exit 3',
  'rm -r src; mkdir src; ln -s ../a.c src/l; ln -sfn a.c link',
  'mv edited.txt renamed.txt; mv src moved; echo more >> moved/deep/c.txt',
  'rm link; mkdir link; echo f > link/f; rm -r src/deep; echo file > src/deep',
  'for i in 1 2 3; do echo $i > gen$i; done; echo >> big.bin; rm caf*',
  'mkdir -p build; echo product > build/out.bin; echo o > a.o; echo kept > kept.txt',
  'mkdir empty; rm -r src/deep; : > nothing; chmod 444 a.c',
  'printf x > "new\nline.txt"; printf y > "$(printf "b\\377d")"; sh ./run.sh',
  'git stash -q; cat edited.txt; git stash pop -q; git status --porcelain',
];

describe('a command that ran there', () => {
  it.each(COMMANDS)('leaves the same tree, output and exit code as here: %j', async (line) => {
    const here = newProject();
    const there = temporaryFolder();
    execFileSync('cp', ['-a', `${here}/.`, there]);
    const local = sh(here, line);
    const trip = await new Mesh().run(there, line);
    expect({ status: trip.status, stdout: trip.stdout }).toEqual(local);
    expect(trip.applied?.changes.conflicts ?? []).toEqual([]);
    const expected = seen(here);
    // Ignored products stay there.
    for (const path of ['build/out.bin', 'a.o']) if (!existsSync(join(there, path))) delete expected[path];
    expect(seen(there)).toEqual(expected);
    expect(sh(there, 'git status --porcelain -z').stdout).toEqual(
      sh(here, 'git status --porcelain -z -- . :!build').stdout,
    );
  });

  it('brings a commit back when that is applied', async () => {
    const root = newProject();
    const mesh = new Mesh();
    const line = 'git add -A && git commit -qm second && git tag v1';
    const held = await mesh.run(root, line);
    expect(held.applied?.changes.returned).toEqual([]);
    expect(held.applied?.changes.held_back).toContain('.git/refs/heads/main');
    expect(sh(root, 'git log --format=%s').stdout).toBe('first\n');
    const applied = await mesh.run(root, line, { held: true });
    expect(applied.applied?.changes).toMatchObject({ conflicts: [], held_back: [] });
    expect(sh(root, 'git log --format=%s').stdout).toBe('second\nfirst\n');
    expect(sh(root, 'git fsck --strict && git describe --tags && git status --porcelain').stdout).toBe('v1\n');
  });

  it('returns to a project that goes on: no conflicts, little to send, edits are kept', async () => {
    const root = newProject();
    const mesh = new Mesh();
    const first = await mesh.run(root, 'echo 1 > made; date > stamp');
    expect(first.applied?.changes.returned).toEqual(['made', 'stamp']);
    const second = await mesh.run(root, 'echo 2 > made; cat stamp > stamp2');
    expect(second.applied?.changes).toMatchObject({ returned: ['made', 'stamp2'], conflicts: [] });
    expect(second.sentBytes).toBeLessThan(2000);
    const third = await mesh.run(root, 'echo 3 > made', { meanwhile: () => writeFileSync(join(root, 'made'), 'mine') });
    expect(third.applied?.changes).toMatchObject({ returned: [], conflicts: ['made'] });
    expect(readFileSync(join(root, 'made'), 'utf8')).toBe('mine');
    expect((await mesh.run(root, 'cat made')).stdout).toBe('mine');
  });

  it('brings products that were asked for, again and again', async () => {
    const root = newProject();
    const mesh = new Mesh();
    for (const round of ['1', '2']) {
      const trip = await mesh.run(root, `mkdir -p build; echo ${round} > build/old.bin`, { outputs: ['build/**'] });
      expect(trip.applied?.changes).toMatchObject({ returned: ['build/old.bin'], conflicts: [] });
      expect(readFileSync(join(root, 'build/old.bin'), 'utf8')).toBe(`${round}\n`);
    }
  });

  it('keeps what make knows: nothing is built twice, what was touched is built once', async () => {
    const root = temporaryFolder();
    writeFileSync(join(root, 'Makefile'), 'all: a.o b.o\n%.o: %.c\n\t@echo CC $<; cp $< $@\n');
    writeFileSync(join(root, '.gitignore'), '*.o\n');
    for (const name of ['a.c', 'b.c']) writeFileSync(join(root, name), name);
    sh(root, 'git init -q . && git add -A && git commit -qm x');
    const mesh = new Mesh();
    expect((await mesh.run(root, 'make')).stdout).toBe('CC a.c\nCC b.c\n');
    expect((await mesh.run(root, 'make')).stdout).toMatch(/Nothing to be done|up to date/);
    sh(root, 'touch a.c');
    expect((await mesh.run(root, 'make')).stdout).toBe('CC a.c\n');
  });
});
