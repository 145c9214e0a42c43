import { Command } from 'commander';
import { expect, test } from 'vitest';
import { splitAtCommand } from '../../../../src/front/cli/command-words.ts';
import { addJobOptions } from '../../../../src/front/cli/job-options.ts';

const program = new Command('meshwork').option('--home <dir>').option('--json');
addJobOptions(program.command('run'), 'run');
addJobOptions(program.command('map').option('-j, --jobs <n>'), 'map');
program.command('logs').argument('<job>').option('--stream <name>');

const split = (line: string): string => {
  const { own, words } = splitAtCommand(program, line.split(' ').filter(Boolean));
  return `${own.join(' ')} | ${words.join(' ')}`;
};

test.each([
  ['run -- make -j8', 'run | make -j8'],
  ['--json run --on b -- ls -- x', '--json run --on b | ls -- x'],
  ['run --on run ls -la', 'run --on run | ls -la'],
  ['--home logs run npm test --json', '--home logs run | npm test --json'],
  ['run --json git checkout -- file', 'run --json | git checkout -- file'],
  ['run --priority -5 --env A=1 ls --on c', 'run --priority -5 --env A=1 | ls --on c'],
  ['run --need tool:git label:a=b gpu make', 'run --need tool:git --need label:a=b --need gpu | make'],
  ['run --need=gpu tool:x', 'run --need=gpu | tool:x'],
  ['run --out a b --local -- c', 'run --out a b --local | c'],
  ['map -j 4 echo ::: 1', 'map -j 4 | echo ::: 1'],
  ['map -j4 echo', 'map -j4 | echo'],
  ['logs --stream stdout JOB --json', 'logs --stream stdout JOB --json | '],
  ['run --bogus x', 'run --bogus | x'],
  ['run --on', 'run --on | '],
  ['run --on -- make', 'run --on | make'],
  ['run - x', 'run | - x'],
  ['frobnicate run', 'frobnicate run | '],
  ['logs -- -weird', 'logs -- -weird | '],
  ['-- ls', ' | ls'],
])('%s', (line, parts) => {
  expect(split(line)).toBe(parts);
});

test.each([
  ['run --on logs --bogus -- x', 'run'],
  ['--home run logs JOB', 'logs'],
  ['logs run', 'logs'],
  ['frobnicate x', undefined],
])('the command of ours in `%s`', (line, name) => {
  expect(splitAtCommand(program, line.split(' ')).command?.name()).toBe(name);
});
