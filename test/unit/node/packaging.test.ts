import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { VERSION } from '../../../src/node/version.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  readonly version: string;
  readonly bin: Readonly<Record<string, string>>;
};

test('the product says the version of its package', () => {
  expect(VERSION).toBe(manifest.version);
});

test('the package holds the example of every setting and what a user reads', () => {
  const listed = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [packed] = JSON.parse(listed) as [{ readonly files: readonly { readonly path: string }[] }];
  const paths = packed.files.map(({ path }) => path);
  for (const path of ['config/meshwork.example.toml', 'README.md', 'CHANGELOG.md', 'LICENSE', 'package.json']) {
    expect(existsSync(join(ROOT, path)), path).toBe(true);
    expect(paths).toContain(path);
  }
  expect(paths.filter((path) => /^(src|test|scripts)\//.test(path))).toEqual([]);
  expect(manifest.bin).toEqual({ meshwork: 'dist/cli.js', mw: 'dist/cli.js' });
});
