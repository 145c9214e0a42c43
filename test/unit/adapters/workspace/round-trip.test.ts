import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { diskClockMovedOn } from '../../../fixtures/disk-clock.ts';
import { COMMAND_ENV, RoundTrips, seenIn, sh } from '../../../fixtures/round-trips.ts';
import { temporaryFolders } from '../../../fixtures/temporary-folder.ts';

/** A project from one folder to another and back: the same commands here and there. */
const temporaryFolder = temporaryFolders();

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
    { cwd: root, env: COMMAND_ENV },
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
    const trip = await new RoundTrips(temporaryFolder()).run(there, line);
    expect({ status: trip.status, stdout: trip.stdout }).toEqual(local);
    expect(trip.applied?.changes.conflicts ?? []).toEqual([]);
    const expected = seenIn(here);
    // Ignored products stay there.
    for (const path of ['build/out.bin', 'a.o']) if (!existsSync(join(there, path))) delete expected[path];
    expect(seenIn(there)).toEqual(expected);
    expect(sh(there, 'git status --porcelain -z').stdout).toEqual(
      sh(here, 'git status --porcelain -z -- . :!build').stdout,
    );
  });

  it('brings a commit back when that is applied', async () => {
    const root = newProject();
    const mesh = new RoundTrips(temporaryFolder());
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
    const mesh = new RoundTrips(temporaryFolder());
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
    const mesh = new RoundTrips(temporaryFolder());
    await diskClockMovedOn(temporaryFolder());
    // One right after the other: what one brought is not taken for what somebody changed since the next one's scan.
    for (const round of ['1', '2', '3', '4', '5']) {
      const trip = await mesh.run(root, `mkdir -p build; echo ${round} > build/old.bin`, { outputs: ['build/**'] });
      expect(trip.applied?.changes).toMatchObject({ returned: ['build/old.bin'], conflicts: [] });
      expect(readFileSync(join(root, 'build/old.bin'), 'utf8')).toBe(`${round}\n`);
    }
  });

  it('brings no product that an earlier job had made over one that was made since', async () => {
    const root = newProject();
    const mesh = new RoundTrips(temporaryFolder());
    await diskClockMovedOn(temporaryFolder());
    await mesh.run(root, 'mkdir -p build; echo 1 > build/old.bin', { outputs: ['build/**'] });
    await diskClockMovedOn(temporaryFolder());
    writeFileSync(join(root, 'build/old.bin'), 'made here');
    const made = await mesh.run(root, 'echo own > build/own', { outputs: ['build/**'] });
    expect(made.applied).toMatchObject({ changes: { returned: ['build/own'], conflicts: [] }, notices: [] });
    expect(readFileSync(join(root, 'build/old.bin'), 'utf8')).toBe('made here');
    await diskClockMovedOn(temporaryFolder());
    const asked = await mesh.run(root, 'true', { outputs: ['build/**'] });
    expect(asked.applied).toMatchObject({
      changes: { returned: [], conflicts: [] },
      notices: [expect.stringContaining('build/old.bin is as new here')],
    });
    rmSync(join(root, 'build/old.bin'));
    const again = await mesh.run(root, 'true', { outputs: ['build/**'] });
    expect(again.applied?.changes).toMatchObject({ returned: ['build/old.bin'] });
    expect(readFileSync(join(root, 'build/old.bin'), 'utf8')).toBe('1\n');
  });

  it('keeps what make knows: nothing is built twice, what was touched is built once', async () => {
    const root = temporaryFolder();
    writeFileSync(join(root, 'Makefile'), 'all: a.o b.o\n%.o: %.c\n\t@echo CC $<; cp $< $@\n');
    writeFileSync(join(root, '.gitignore'), '*.o\n');
    for (const name of ['a.c', 'b.c']) writeFileSync(join(root, name), name);
    sh(root, 'git init -q . && git add -A && git commit -qm x');
    const mesh = new RoundTrips(temporaryFolder());
    expect((await mesh.run(root, 'make')).stdout).toBe('CC a.c\nCC b.c\n');
    expect((await mesh.run(root, 'make')).stdout).toMatch(/Nothing to be done|up to date/);
    sh(root, 'touch a.c');
    expect((await mesh.run(root, 'make')).stdout).toBe('CC a.c\n');
  });
});

/** What a job, or somebody at the keyboard, does to a tree; paths are few, so that kinds change into each other. */
const PATHS = ['a', 'b', 'd/a', 'd/b', 'd/e/f', 'b/x', 'a/y/z', 'l', 'n\nl', 'ü'];
const anyPath = fc.constantFrom(...PATHS);
const quoted = (text: string): string => `'${text}'`;
const above = (path: string): string => (path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '.');
const ready = (path: string): string => `mkdir -p ${quoted(above(path))} 2>/dev/null`;
const anyStep = fc.oneof(
  fc.tuple(anyPath, fc.nat(3)).map(([path, content]) => `${ready(path)}; echo ${content} > ${quoted(path)}`),
  fc.tuple(anyPath, fc.nat(3)).map(([path, content]) => `echo ${content} >> ${quoted(path)}`),
  anyPath.map((path) => `rm -rf ${quoted(path)}`),
  anyPath.map((path) => `rm -rf ${quoted(path.split('/')[0] ?? path)}`),
  fc.tuple(anyPath, anyPath).map(([from, to]) => `${ready(to)}; mv ${quoted(from)} ${quoted(to)}`),
  fc
    .tuple(anyPath, fc.constantFrom('644', '755', '600'))
    .map(([path, mode]) => `[ -f ${quoted(path)} ] && chmod ${mode} ${quoted(path)}`),
  anyPath.map((path) => `rm -rf ${quoted(path)}; mkdir -p ${quoted(path)}`),
  anyPath.map((path) => `[ -d ${quoted(path)} ] || { ${ready(path)}; ln -sfn ./b ${quoted(path)}; }`),
  anyPath.map((path) => `[ -f ${quoted(path)} ] && touch ${quoted(path)}`),
);
const anyScript = fc.array(anyStep, { maxLength: 6 }).map((steps) => ['exec 2>/dev/null', ...steps, 'true'].join('\n'));
const anyRound = fc.record({ edits: anyScript, job: anyScript });

describe('any commands, one after the other, with edits in between', () => {
  it.each(['git', 'plain'])('leave the same trees as here, in a project of kind %s', async (kind) => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyRound, { minLength: 1, maxLength: 4 }), async (rounds) => {
        const [here, there] = [temporaryFolder(), temporaryFolder()];
        const mesh = new RoundTrips(temporaryFolder());
        for (const root of [here, there]) {
          const setUp =
            kind === 'git' ? 'git init -q .; echo 1 > a; git add a; git commit -qm x' : 'echo > .meshworkignore';
          sh(root, setUp);
        }
        for (const { edits, job } of rounds) {
          for (const root of [here, there]) sh(root, edits);
          sh(here, job);
          const trip = await mesh.run(there, job, { held: true });
          expect(trip.applied?.changes.conflicts ?? []).toEqual([]);
          expect(seenIn(there)).toEqual(seenIn(here));
        }
      }),
      { numRuns: 12 },
    );
  });

  it('does not send there again what was made there, be it small or large', async () => {
    const here = newProject();
    const trips = new RoundTrips(temporaryFolder());
    await trips.run(here, 'true');
    const made = 'head -c 100000 /dev/urandom > small; head -c 5000000 /dev/urandom > large; printf x >> big.bin';
    expect((await trips.run(here, made)).applied?.changes.returned).toEqual(['big.bin', 'large', 'small']);
    const sum = 'sha256sum small large big.bin';
    const trip = await trips.run(here, sum);
    expect(trip.stdout).toBe(sh(here, sum).stdout);
    expect(trip.sentBytes).toBeLessThan(10_000);
    // The other way of sending: what changed goes along unasked, where it did not come from there.
    await trips.run(here, 'true');
    await trips.run(here, 'head -c 100000 /dev/urandom > small');
    expect((await trips.run(here, 'true')).sentBytes).toBeLessThan(10_000);
  });
});
