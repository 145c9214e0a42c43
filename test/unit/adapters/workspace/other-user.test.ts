import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sentOf, TestExecutor } from '../../../fixtures/sent-project.ts';

const NOBODY = { uid: 65_534, gid: 65_534 };
const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stderr.write('trees of another user: left out, since only root can give files away\n');

let executor: TestExecutor;
beforeEach(() => {
  executor = new TestExecutor(NOBODY);
});
afterEach(() => executor.remove());

const asNobody = (command: string, cwd: string): { status: number | null; stdout: string } =>
  spawnSync('/bin/sh', ['-c', command], { cwd, encoding: 'utf8', ...NOBODY });

describe.runIf(isRoot)('trees of another user', () => {
  it('belong to that user, who passes through the folders above and cannot list them', async () => {
    const files = { 'a/b': '1', link: { link: 'a' }, 'empty/x': null, run: { text: '#!/bin/sh\n', mode: 0o755 } };
    const { id, tree } = await executor.sync(files, { user: NOBODY });
    const list = spawnSync('find', [tree, '-printf', '%U:%G\\n'], { encoding: 'utf8' }).stdout.trim().split('\n');
    expect(new Set(list)).toEqual(new Set(['65534:65534']));
    expect(asNobody('echo 2 > a/b && echo new > c && mkdir d && cat a/b', tree)).toMatchObject({
      status: 0,
      stdout: '2\n',
    });
    for (let folder = join(tree, '..'); folder !== executor.home; folder = join(folder, '..')) {
      expect(asNobody(`ls ${folder}`, '/').status).not.toBe(0);
      expect(statSync(folder)).toMatchObject({ uid: 0 });
    }
    expect((await executor.collect(id)).changed).toBe(3);
    await executor.files.close(id);
    const again = await executor.sync({ ...files, 'a/b': '3' }, { user: NOBODY });
    expect(statSync(join(again.tree, 'a/b'))).toMatchObject(NOBODY);
  });

  it('are refused where a folder above keeps that user out', async () => {
    const closed = join(executor.home, 'closed');
    mkdirSync(closed);
    chmodSync(closed, 0o700);
    executor.useFolder(join(closed, 'home/workspaces'));
    const opened = await executor.files.open(executor.request(sentOf({ a: '1' }), { user: NOBODY }));
    expect(opened).toMatchObject({ ok: false, error: { code: 'refused', message: expect.stringContaining(closed) } });
  });

  it('give root no way out: a link in the place of a folder is replaced, not followed', async () => {
    const outside = join(executor.home, 'outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'b'), 'root’s');
    const { id, tree } = await executor.sync({ 'a/b': '1' }, { user: NOBODY });
    asNobody('rm -r a', tree);
    symlinkSync(outside, join(tree, 'a'));
    await executor.collect(id);
    await executor.files.close(id);
    await executor.sync({ 'a/b': '2' }, { user: NOBODY });
    expect(readFileSync(join(outside, 'b'), 'utf8')).toBe('root’s');
    expect(statSync(join(outside, 'b')).uid).toBe(0);
    expect(readFileSync(join(tree, 'a/b'), 'utf8')).toBe('2');
  });
});
