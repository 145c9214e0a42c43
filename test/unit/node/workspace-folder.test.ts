import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { folderWithin, wrongStepPath } from '../../../src/node/workspace-folder.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';

const temporary = temporaryFolders();

it("makes a job's directory, never through a link", async () => {
  const outside = temporary();
  const tree = join(temporary(), 'tree');
  mkdirSync(join(tree, 'a'), { recursive: true });
  symlinkSync(outside, join(tree, 'a/link'));
  symlinkSync('nowhere', join(tree, 'dangling'));
  writeFileSync(join(tree, 'file'), '');
  expect(await folderWithin(tree, '', null)).toEqual({ ok: true, value: tree });
  expect(await folderWithin(tree, 'a/b/c', null)).toEqual({ ok: true, value: join(tree, 'a/b/c') });
  expect(await folderWithin(tree, 'a/b/c', null)).toMatchObject({ ok: true });
  expect(existsSync(join(tree, 'a/b/c'))).toBe(true);
  for (const wrong of [
    'a/link',
    'a/link/x',
    'dangling',
    'dangling/x',
    'file',
    'file/x',
    '..',
    'a/../..',
    '/etc',
    'a//b',
  ]) {
    expect(await folderWithin(tree, wrong, null), wrong).toMatchObject({ ok: false });
  }
  expect(readdirSync(outside)).toEqual([]);
  symlinkSync(tree, join(outside, 'tree'));
  expect(await folderWithin(join(outside, 'tree'), 'x', null)).toMatchObject({ ok: false });
});

it('finds what a preparation must not name', () => {
  const step = { folder: '', inputs: ['package.json', 'a/b'], makes: ['node_modules/', './x'] };
  expect(wrongStepPath(step)).toBeNull();
  expect(wrongStepPath({ ...step, folder: '../x' })).toContain('../x');
  expect(wrongStepPath({ ...step, inputs: ['/etc/shadow'] })).toContain('/etc/shadow');
  expect(wrongStepPath({ ...step, makes: ['a/../../.venv'] })).toContain('.venv');
});
