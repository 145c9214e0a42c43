import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import { readBootId, readPidNamespace, readProcessStart } from '../../../src/adapters/os/process-identity.ts';
import { acquireLock } from '../../../src/node/lock.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();

/** A lock file as this process would write it, with other contents where given. */
function lockFile(changes: Readonly<Record<string, unknown>> = {}): string {
  const path = join(folder(), 'daemon.lock');
  const holder = {
    pid: process.pid,
    start: readProcessStart(process.pid),
    boot: readBootId(),
    host: hostname(),
    pid_namespace: readPidNamespace(),
    nonce: '0123456789abcdef',
  };
  writeFileSync(path, JSON.stringify({ ...holder, ...changes }));
  return path;
}

async function pidOfTheDead(): Promise<number> {
  const child = fork('-', [], { execArgv: ['-e', '0'], stdio: 'ignore' });
  await once(child, 'exit');
  return child.pid ?? 0;
}

describe('the daemon lock', () => {
  it('names its file where it cannot be written, as on a full disk', async () => {
    const path = join(folder(), 'missing', 'daemon.lock');
    await expect(acquireLock(path)).rejects.toMatchObject({
      code: 'io',
      message: expect.stringMatching(/daemon\.lock cannot be made \(.*\); nothing was started/),
    });
  });

  it('has one holder at a time, who is named', async () => {
    const path = join(folder(), 'daemon.lock');
    const lock = await acquireLock(path);
    await expect(acquireLock(path)).rejects.toMatchObject({
      code: 'already_running',
      message: expect.stringContaining(`pid ${process.pid}`),
    });
    lock.release();
    lock.release();
    (await acquireLock(path)).release();
    expect(readdirSync(join(path, '..'))).toEqual([]);
  });

  it('is taken from a holder that is gone', async () => {
    const lock = await acquireLock(lockFile({ pid: await pidOfTheDead() }));
    lock.release();
  });

  it('is taken where the pid belongs to another process by now, or to another boot', async () => {
    (await acquireLock(lockFile({ start: '1' }))).release();
    (await acquireLock(lockFile({ boot: 'another boot' }))).release();
  });

  it('is not taken from another machine that shares the folder', async () => {
    await expect(acquireLock(lockFile({ boot: 'other', host: 'other-host' }))).rejects.toMatchObject({
      code: 'already_running',
      message: expect.stringContaining('on other-host'),
    });
  });

  it('of another container is taken only if its holder does not answer', async () => {
    const path = lockFile({ pid_namespace: 'pid:[1]', host: 'old-container' });
    await expect(acquireLock(path)).rejects.toMatchObject({ code: 'already_running' });
    await expect(acquireLock(path, { holderAnswers: async () => true })).rejects.toMatchObject({
      code: 'already_running',
    });
    (await acquireLock(path, { holderAnswers: async () => false })).release();
  });

  it('is never guessed about when the file is not a lock', async () => {
    const path = join(folder(), 'daemon.lock');
    writeFileSync(path, '12345\n');
    await expect(acquireLock(path)).rejects.toMatchObject({ code: 'io', message: expect.stringContaining(path) });
    expect(readFileSync(path, 'utf8')).toBe('12345\n');
  });

  it('goes to exactly one of many that find a dead holder', async () => {
    const dead = await pidOfTheDead();
    for (let round = 0; round < 20; round++) {
      const path = lockFile({ pid: dead });
      const results = await Promise.allSettled(Array.from({ length: 10 }, () => acquireLock(path)));
      expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
      expect(existsSync(path)).toBe(true);
    }
  });

  it('is taken although a newcomer died while it removed a dead lock', async () => {
    const dead = await pidOfTheDead();
    const path = lockFile({ pid: dead });
    const right = lockFile({ pid: dead, nonce: 'fedcba9876543210' });
    writeFileSync(`${path}.0123456789abcdef`, readFileSync(right));
    (await acquireLock(path)).release();
    expect(readdirSync(join(path, '..'))).toEqual([]);
  });
});

describe('the daemon lock between processes', () => {
  /** A program that tries once, says how it went, and keeps what it got until its stdin ends. */
  const PROGRAM = `
    import { acquireLock } from './src/node/lock.ts';
    process.stdin.on('end', () => process.exit()).resume();
    try {
      await acquireLock(process.argv[2]);
      console.log('held');
    } catch (error) {
      console.log(error.code);
    }`;

  it('goes to one of six that start at once, again after that one was killed', async () => {
    const root = folder();
    const program = join(root, 'contender.mjs');
    await build({
      stdin: { contents: PROGRAM, resolveDir: process.cwd(), loader: 'ts' },
      outfile: program,
      bundle: true,
      platform: 'node',
      format: 'esm',
    });
    const path = join(root, 'daemon.lock');
    for (let round = 0; round < 3; round++) {
      const contenders = Array.from({ length: 6 }, () =>
        spawn(process.execPath, [program, path], { stdio: ['pipe', 'pipe', 'inherit'] }),
      );
      const answers = await Promise.all(
        contenders.map(async (child) => String((await once(child.stdout, 'data'))[0]).trim()),
      );
      expect(answers.toSorted()).toEqual([...Array.from({ length: 5 }, () => 'already_running'), 'held']);
      const exits = contenders.map((child) => once(child, 'exit'));
      // The holder leaves its file behind, as in a crash.
      for (const child of contenders) child.kill('SIGKILL');
      await Promise.all(exits);
    }
  });
});

describe('the identity of a process', () => {
  it('names a living one and no other', async () => {
    expect(readProcessStart(process.pid)).toBe(readProcessStart(process.pid));
    expect(readProcessStart(await pidOfTheDead())).toBeNull();
  });
});
