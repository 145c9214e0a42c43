import { chmodSync, mkdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { KNOWN_TOOLS, VERSION_QUESTIONS } from '../../../../src/adapters/os/tool-list.ts';
import { findExecutable, pathDirectories, pathStamp, scanTools } from '../../../../src/adapters/os/tool-scan.ts';
import { createToolVersions, parseVersion } from '../../../../src/adapters/os/tool-versions.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import { TOOLS_MAX } from '../../../../src/wire/facts.ts';
import { temporaryFolders, writeScript, writeTree } from '../../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();

const asking = (env: Record<string, string> = {}) =>
  createToolVersions({
    env: { PATH: '/usr/bin:/bin', ...env },
    cwd: '/',
    user: null,
    log: silentLogger,
    timeoutMs: 60_000,
  });

describe('tools on PATH', () => {
  it('finds the first executable of each known name, and nothing that is none', async () => {
    const root = folder();
    writeScript(join(root, 'a/git'));
    writeScript(join(root, 'b/git'));
    writeScript(join(root, 'b/unknown-tool'));
    writeTree(root, { 'a/make': 'not executable' });
    mkdirSync(join(root, 'a/gcc'));
    symlinkSync(join(root, 'nowhere'), join(root, 'a/cmake'));
    symlinkSync(join(root, 'b/git'), join(root, 'b/ninja'));
    symlinkSync(join(root, 'b'), join(root, 'c'));
    const tools = await scanTools([`${root}/a`, `${root}/missing`, 'relative', `${root}/c`, `${root}/b`].join(':'));
    expect([...tools].sort()).toEqual([
      ['git', `${root}/a/git`],
      ['ninja', `${root}/c/ninja`],
    ]);
  });

  it('finds any executable by name, as a shell would', async () => {
    const root = folder();
    writeScript(join(root, 'bin/odd-tool'));
    expect(await findExecutable('odd-tool', `/nowhere:${root}/bin`)).toBe(`${root}/bin/odd-tool`);
    expect(await findExecutable(`${root}/bin/odd-tool`, '')).toBe(`${root}/bin/odd-tool`);
    for (const name of ['', 'other', '../bin/odd-tool', 'a\0b', 'x'.repeat(5000)]) {
      expect(await findExecutable(name, `${root}/bin`)).toBeNull();
    }
  });

  it('is bounded', () => {
    expect(pathDirectories(Array.from({ length: 200 }, (_, index) => `/d${index}`).join(':'))).toHaveLength(64);
    expect(KNOWN_TOOLS.size).toBeLessThanOrEqual(TOOLS_MAX);
    for (const name of VERSION_QUESTIONS.keys()) expect(KNOWN_TOOLS).toContain(name);
  });

  it('stamps change when something is installed', async () => {
    const root = folder();
    writeScript(join(root, 'git'));
    utimesSync(root, 1, 1);
    const before = await pathStamp(root);
    expect(await pathStamp(root)).toBe(before);
    writeScript(join(root, 'make'));
    expect(await pathStamp(root)).not.toBe(before);
  });
});

describe('versions', () => {
  it.each([
    ['node', 'v20.20.2\n', '20.20.2'],
    ['git', 'git version 2.39.5 (Apple Git-154)', '2.39.5'],
    ['gcc', 'gcc (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright', '12.2.0'],
    ['gcc', 'Apple clang version 15.0.0 (clang-1500.3.9.4)', '15.0.0'],
    ['clang', 'Debian clang version 14.0.6', '14.0.6'],
    ['go', 'go version go1.21.5 linux/amd64', '1.21.5'],
    ['java', 'openjdk version "17.0.15" 2025-04-15', '17.0.15'],
    ['java', 'java version "1.8.0_392"', '8.0.392'],
    ['docker', 'Docker version 28.2.2, build e6534b4', '28.2.2'],
    ['make', 'GNU Make 4.3\nBuilt for', '4.3'],
    ['ninja', '1.11.1\n', '1.11.1'],
    ['tsc', 'Version 5.3.3', '5.3.3'],
    ['swift', 'swift-driver version: 1.90.11 Apple Swift version 5.10 (swiftlang)', '5.10'],
    ['git', 'nonsense', null],
  ])('of %s out of %j', (tool, output, version) => {
    const question = VERSION_QUESTIONS.get(tool);
    expect(question && parseVersion(output, question)).toBe(version);
  });

  it('asks once per file, in the environment of jobs, and again when the file changed', async () => {
    const root = folder();
    const count = join(root, 'count');
    const tool = writeScript(join(root, 'git'), `echo run >> ${count}`, 'echo "git version 1.$MINOR.0"');
    const versions = asking({ MINOR: '7' });
    const seen: string[] = [];
    const ask = () => versions.ask(new Map([['git', tool]]), (name, version) => seen.push(`${name} ${version}`));
    expect(await ask()).toBe(true);
    await ask();
    expect(seen).toEqual(['git 1.7.0', 'git 1.7.0']);
    expect(readFileSync(count, 'utf8')).toBe('run\n');
    writeFileSync(tool, '#!/bin/sh\necho git version 2.0.1\n');
    chmodSync(tool, 0o755);
    await ask();
    expect(seen[2]).toBe('git 2.0.1');
    versions.forget();
    await ask();
    expect(seen[3]).toBe('git 2.0.1');
  });

  it('runs nothing but what it knows to ask, and takes a failing tool for one without a version', async () => {
    const root = folder();
    const trace = join(root, 'ran');
    const gradle = writeScript(join(root, 'gradle'), `touch ${trace}`, 'echo 8.0');
    const broken = writeScript(join(root, 'cmake'), 'echo 9.9.9; exit 1');
    const seen = new Map<string, string>();
    await asking().ask(
      new Map([
        ['gradle', gradle],
        ['cmake', broken],
      ]),
      (name, version) => seen.set(name, version),
    );
    expect([...seen]).toEqual([['cmake', '']]);
    expect(() => readFileSync(trace)).toThrow('ENOENT');
  });

  it('reads what lies beside a tool instead of running it', async () => {
    const root = folder();
    writeTree(root, {
      'lib/npm/package.json': JSON.stringify({ name: 'npm', version: '11.1.2' }),
      'jdk/release': 'IMPLEMENTOR="X"\nJAVA_VERSION="1.8.0_392"\n',
    });
    const npm = writeScript(join(root, 'lib/npm/bin/npm-cli.js'), 'exit 1');
    const java = writeScript(join(root, 'jdk/bin/java'), 'exit 1');
    mkdirSync(join(root, 'bin'));
    symlinkSync(npm, join(root, 'bin/npm'));
    const tools = new Map([
      ['npm', join(root, 'bin/npm')],
      ['java', java],
      ['node', process.execPath],
    ]);
    const seen = new Map<string, string>();
    await asking().ask(tools, (name, version) => seen.set(name, version));
    expect(Object.fromEntries(seen)).toEqual({ npm: '11.1.2', java: '8.0.392', node: process.versions.node });
  });
});
