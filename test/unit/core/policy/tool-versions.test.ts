import { describe, expect, it } from 'vitest';
import { compatible, pinSatisfied, projectPins } from '../../../../src/core/policy/tool-versions.ts';

const pins = (files: Record<string, string>) =>
  projectPins(Object.entries(files).map(([name, text]) => ({ name, text })));

describe('compatible', () => {
  it.each<[string, string, string, boolean]>([
    ['cargo', '1.79.0', '1.79.1', true],
    ['cargo', '1.79.0', '1.80.0', false],
    ['python3', '3.11.2', '3.12.0', false],
    ['node', '20.11.1', '20.20.2', true],
    ['node', 'v20.11.1', '20.20.2', true],
    ['node', '20.11.1', '22.1.0', false],
    ['npm', '10.2.4', '10.8.2', true],
    ['java', '17.0.9', '17.1.0', true],
    ['java', '1.8.0_392', '8.0.402', true],
    ['java', '1.8.0_392', '11.0.1', false],
    ['gcc', '12.2.0', '13.2.0', false],
    ['make', '4.3', '4.4.1', false],
    ['tool', '4', '4.4.1', true],
    ['tool', '', '4.4.1', true],
    ['tool', '4.4', '', true],
    ['tool', '', '', true],
    ['tool', 'git-abcdefg', 'git-abcdefg', true],
    ['tool', 'stable', 'nightly', false],
    ['constructor', '1.2', '1.2', true],
  ])('%s %j and %j: %s', (tool, here, there, expected) => {
    expect(compatible(tool, here, there)).toBe(expected);
    expect(compatible(tool, there, here)).toBe(expected);
  });
});

describe('the pins of a project', () => {
  it.each<[Record<string, string>, Record<string, string>]>([
    [{ '.nvmrc': 'v20.11.1\n' }, { node: '20.11.1' }],
    [{ '.nvmrc': '# ours\n20\n' }, { node: '20' }],
    [{ '.nvmrc': 'lts/iron' }, { node: '20' }],
    [{ '.nvmrc': 'lts/*' }, {}],
    [{ '.nvmrc': 'lts/constructor' }, {}],
    [{ '.nvmrc': 'node' }, {}],
    [{ '.node-version': '22.1' }, { node: '22.1' }],
    [{ '.nvmrc': '20', '.node-version': '22' }, { node: '20' }],
    [{ '.nvmrc': 'node', '.node-version': '22' }, { node: '22' }],
    [{ 'rust-toolchain.toml': '[toolchain]\nchannel = "1.79.0"\n' }, { rustc: '1.79.0', cargo: '1.79.0' }],
    [{ 'rust-toolchain': '1.79\n' }, { rustc: '1.79', cargo: '1.79' }],
    [{ 'rust-toolchain': 'nightly-2024-05-01' }, {}],
    [{ 'rust-toolchain.toml': "channel = 'stable'" }, {}],
    [{ '.python-version': '3.11.4\n3.10.1\n' }, { python: '3.11.4', python3: '3.11.4' }],
    [{ '.python-version': 'pypy3.10' }, {}],
    [{ '.java-version': '1.8' }, { java: '8' }],
    [{ '.java-version': 'temurin-17.0.9' }, { java: '17.0.9' }],
    [{ '.ruby-version': 'ruby-3.2.2' }, { ruby: '3.2.2' }],
    [
      {
        '.tool-versions':
          'nodejs 20.11.1 18.0.0 # both\n\n# x\ngolang 1.22.1\nrust 1.79\njava temurin-17.0.9+9\nx system\n',
      },
      { node: '20.11.1', go: '1.22.1', rustc: '1.79', cargo: '1.79', java: '17.0.9' },
    ],
    [{ '.tool-versions': 'terraform 1.8.2' }, { terraform: '1.8.2' }],
    [{ 'package.json': '{"engines":{"node":"18"}}' }, {}],
    [{ '.nvmrc': '' }, {}],
  ])('%j', (files, expected) => {
    expect(pins(files)).toEqual(expected);
  });

  it.each<[string, string, string, boolean]>([
    ['20', '20.11.1', 'node', true],
    ['20.11', '20.11.1', 'node', true],
    ['20.11.1', '20.12.0', 'node', false],
    ['20', '22.1.0', 'node', false],
    ['2', '20.1.0', 'node', false],
    ['8', '1.8.0_392', 'java', true],
    ['1.79.0', '1.79.0', 'cargo', true],
    ['1.79', '1.80.1', 'cargo', false],
    ['1.79.0', '', 'cargo', true],
    ['1.79.0', '1.79', 'cargo', true],
  ])('%s allows %j of %s: %s', (pin, version, tool, expected) => {
    expect(pinSatisfied(pin, version, tool)).toBe(expected);
  });
});
