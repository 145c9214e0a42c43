import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { planPreparation } from '../../../src/node/preparation-plan.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();

function planned(
  files: Readonly<Record<string, string>>,
  lockfiles: readonly string[],
  dependency = 'node_modules',
): readonly string[] {
  const root = folder();
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  const scan = { dependencies: [{ folder: dependency }], lockfiles };
  const settings = { prepare: { run: null, inputs: [], makes: [] } };
  const plan = planPreparation(root, scan, settings, { kind: 'line', line: 'make' }, '');
  return plan.ok ? plan.value.map((step) => step.run) : [plan.error.code];
}

it('tells the versions of yarn apart by the header of the lockfile', () => {
  expect(planned({ 'yarn.lock': '# yarn lockfile v1\n' }, ['yarn.lock'])).toEqual(['yarn install --frozen-lockfile']);
  expect(planned({ 'yarn.lock': '# …\n\n__metadata:\n' }, ['yarn.lock'])).toEqual(['yarn install --immutable']);
});

it('looks at what filled node_modules where there are several lockfiles', () => {
  const locks = { 'yarn.lock': '# yarn lockfile v1\n', 'package-lock.json': '{}' };
  const by = (mark: string) => planned({ ...locks, [`node_modules/${mark}`]: '' }, Object.keys(locks));
  expect(by('.package-lock.json')).toEqual(['npm ci']);
  expect(by('.yarn-integrity')).toEqual(['yarn install --frozen-lockfile']);
  expect(by('.yarn-state.yml')).toEqual(['yarn install --immutable']);
  expect(planned(locks, Object.keys(locks))).toEqual(['needs_prepare']);
});

it('does without a lockfile that is gone since', () => {
  expect(planned({}, ['yarn.lock'])).toEqual(['yarn install --frozen-lockfile']);
});

it('takes paths as text, and looks for their bytes', () => {
  const locks = { 'ä/yarn.lock': '__metadata:\n' };
  expect(planned(locks, Object.keys(locks), 'ä/node_modules')).toEqual(['yarn install --immutable']);
});

it('is not held up by a FIFO in the place of a lockfile', () => {
  const root = folder();
  execFileSync('mkfifo', [join(root, 'yarn.lock')]);
  const scan = { dependencies: [{ folder: 'node_modules' }], lockfiles: ['yarn.lock'] };
  const settings = { prepare: { run: null, inputs: [], makes: [] } };
  expect(planPreparation(root, scan, settings, { kind: 'line', line: 'make' }, '').ok).toBe(true);
});
