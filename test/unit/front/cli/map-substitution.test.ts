import { spawnSync } from 'node:child_process';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { substitute } from '../../../../src/front/cli/map-arguments.ts';

describe("map's arguments", () => {
  test.each([
    [['gzip -9'], 'a.log', ['gzip -9 a.log']],
    [['gzip {}'], 'a b.log', ["gzip 'a b.log'"]],
    [['cp {} {}.bak'], 'x', ['cp x x.bak']],
    [['echo'], '', ["echo ''"]],
    [['echo {}'], '$&$1', ["echo '$&$1'"]],
    [['{}'], 'A=b', ["'A=b'"]],
    [['gzip', '-9'], 'a b', ['gzip', '-9', 'a b']],
    [['cp', '{}', '{}.bak'], "it's $&", ['cp', "it's $&", "it's $&.bak"]],
    [['echo', '{}'], '{}', ['echo', '{}']],
  ])('%j with %j is %j', (command, arg, words) => {
    expect(substitute(command, arg)).toEqual(words);
  });

  test('reach the command through a real shell exactly as they were given', () => {
    // All in one shell, since starting one for each would take the time of the suite.
    const text = fc.string({
      unit: fc.oneof(
        fc.constantFrom(...`'"\\$\`!*?[]{}()<>|&;#~=%^ \t\n\r-`),
        fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }),
      ),
      maxLength: 20,
    });
    const args = fc.sample(text, 400).filter((arg) => !arg.includes('\0'));
    const lines = args.map((arg) => substitute(["printf '%s\\0'"], arg)[0] ?? '');
    const placed = args.map((arg) => substitute(["printf '%s\\0' {}"], arg)[0] ?? '');
    for (const script of [lines, placed]) {
      const shell = spawnSync('sh', [], { input: script.join('\n'), encoding: 'utf8' });
      expect(shell.stderr).toBe('');
      expect(shell.stdout.split('\0').slice(0, -1)).toEqual(args);
    }
  });
});
