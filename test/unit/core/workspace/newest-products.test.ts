import { expect, test } from 'vitest';
import { bindsProject, isInProduct } from '../../../../src/core/workspace/newest-products.ts';

test.each([
  { path: 'build', files: 12 },
  { path: 'dist', files: 1 },
  { path: '.next', files: 40 },
  { path: 'src/main.o', files: 1 },
  { path: 'prog', files: 1 },
  { path: 'coverage', files: 3 },
])('$path is what the next command may run or build on', ({ path, files }) => {
  expect(bindsProject({ path, files, bytes: 10 })).toBe(true);
});

test.each([
  { path: 'sub/.envrc', files: 1 },
  { path: '.eslintcache', files: 1 },
  { path: 'npm-debug.log', files: 1 },
  { path: 'npm-debug.log.1', files: 1 },
  { path: 'main.c~', files: 1 },
  { path: 'tsconfig.tsbuildinfo', files: 1 },
  { path: 'logs', files: 9 },
  { path: 'a/tmp', files: 2 },
])('$path binds nothing', ({ path, files }) => {
  expect(bindsProject({ path, files, bytes: 5_000_000 })).toBe(false);
});

test.each([
  ['build', true],
  ['build/sub/app', true],
  ['prog', true],
  ['builder', false],
  ['src/build', false],
  ['../build', false],
  ['', false],
])('%j is, or lies in, what was made elsewhere: %s', (path, isIn) => {
  expect(isInProduct(path, ['build', 'prog'])).toBe(isIn);
});
