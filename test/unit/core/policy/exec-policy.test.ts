import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { invalidPatterns, judge, type ExecPolicy } from '../../../../src/core/policy/exec-policy.ts';

const line = (text: string, policy: ExecPolicy): string => {
  const result = judge({ kind: 'line', line: text }, policy);
  return result.ok ? 'ok' : result.error.code;
};
const argv = (words: string[], policy: ExecPolicy): string => {
  const result = judge({ kind: 'argv', argv: words }, policy);
  return result.ok ? 'ok' : result.error.code;
};

describe('exec.mode', () => {
  it('off runs nothing', () => {
    expect(line('true', { mode: 'off', allow: ['true'], deny: [] })).toBe('exec_off');
  });

  it('shell runs anything', () => {
    const policy: ExecPolicy = { mode: 'shell', allow: [], deny: [] };
    for (const text of ['a | b > c', 'echo "unterminated', '$X', '(((', 'sudo reboot'])
      expect(line(text, policy)).toBe('ok');
  });

  const commands: ExecPolicy = {
    mode: 'commands',
    allow: ['make', 'git status', 'env', '/opt/x/run', 'bash'],
    deny: [],
  };

  it.each(['make', 'make -j8 "a b"', 'git status', 'git status -s', 'env A=1 make', '/opt/x/run fast', "make 'a;b'"])(
    'commands runs %s',
    (text) => {
      expect(line(text, commands)).toBe('ok');
    },
  );

  it.each([
    'cargo test',
    'git push',
    'git -c core.pager=x status',
    'git',
    './make',
    '/tmp/make',
    'run',
    'make; make',

    'make | make',
    'make &',
    'make > x',
    'make < x',
    'make $X',
    'make `make`',
    'make $(make)',
    'A=1 make',
    'make *',
    'make ~',
    '(make)',
    'env rm -rf /',
    'env bash -c "rm x"',
    'bash -c "make; rm x"',
    'bash x.sh',
    'make # x',

    'make "x',
    '! make',
    'time make',
    'make\nmake',
    '# make',
    'if make; then make; fi',
    'm{ake,x}',
    'PATH=/tmp make',
  ])('commands does not run %s', (text) => {
    expect(line(text, commands)).toBe('denied');
  });

  it('commands judges an argv by its words', () => {
    expect(argv(['make', '$(x)', ';'], commands)).toBe('ok');
    expect(argv(['git', 'push'], commands)).toBe('denied');
    expect(argv(['env', 'rm', 'x'], commands)).toBe('denied');
    expect(argv([''], commands)).toBe('denied');
  });

  it('commands with an empty list runs nothing', () => {
    expect(line('true', { mode: 'commands', allow: [], deny: [] })).toBe('denied');
  });
});

describe('exec.deny, a guard rail', () => {
  const policy: ExecPolicy = { mode: 'shell', allow: [], deny: ['rm -rf', 'git push', 'sudo', 'reboot'] };

  it.each([
    'rm -rf x',
    'rm x -rf',
    'cd x && rm -rf y',
    'git -C x push',
    'sudo ls',
    'bash -c "git push"',
    'echo $(git push)',

    'env A=1 timeout 5 sudo ls',
    '/sbin/reboot',
    'find . -exec rm -rf {} +',
    'ls | xargs rm -rf',
    'a() { sudo ls; }',
    'if x; then reboot; fi',
    '('.repeat(500),
  ])('stops %s', (text) => {
    expect(line(text, policy)).toBe('denied');
  });

  it.each(['rm x', 'git status', 'echo "git push"', 'echo sudo', 'grep -r reboot .', '# sudo'])(
    'lets %s pass',
    (text) => {
      expect(line(text, policy)).toBe('ok');
    },
  );

  it('names the pattern, and no pattern is never a match', () => {
    const result = judge({ kind: 'line', line: 'git push' }, policy);
    expect(result.ok ? '' : result.error.text).toContain('`git push`');
    expect(line('ls', { ...policy, deny: ['-x'] })).toBe('denied');
    expect(invalidPatterns(['ls', '-x', ''])).toHaveLength(2);
  });

  it('never throws', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), fc.constantFrom('shell', 'commands'), (text, mode) => {
        line(text, { ...policy, mode });
      }),
    );
  });
});
