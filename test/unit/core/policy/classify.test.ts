import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { classListsWith, defaultClassLists } from '../../../../src/core/policy/class-lists.ts';
import { classify, CLASS_REASON_CHARS_MAX, type ClassContext } from '../../../../src/core/policy/classify.ts';
import { REQUIRED_TOOLS_MAX } from '../../../../src/core/policy/required-tools.ts';
import { COMMAND_TABLE, TABLE_SCRIPTS } from './command-table.ts';

/** Far above what linear work takes on a busy machine (tens of ms), far below quadratic (minutes). */
const LINEAR_MS_MAX = 15_000;

const context: ClassContext = { scripts: (name) => TABLE_SCRIPTS[name] ?? null, lists: defaultClassLists };
const ofLine = (line: string, ctx: ClassContext = context) => classify({ kind: 'line', line }, ctx);

const withScripts = (scripts: Record<string, string>): ClassContext => ({
  scripts: (name) => scripts[name] ?? null,
  lists: defaultClassLists,
});

const scriptsAt = (directory: string, name: string) => (directory === 'sub' && name === 'gen' ? 'make' : null);

describe('the class of a command line', () => {
  it('has a table of at least 200 lines', () => {
    expect(COMMAND_TABLE.length).toBeGreaterThan(200);
    expect(new Set(COMMAND_TABLE.map((row) => row.line)).size).toBe(COMMAND_TABLE.length);
  });

  it.each(COMMAND_TABLE)('$expected: $line', ({ line, expected }) => {
    const result = ofLine(line);
    expect(`${result.class} (${result.reason})`).toContain(`${expected} (`);
    expect(result.reason).not.toMatch(/\n/);
    expect(result.reason.length).toBeLessThanOrEqual(CLASS_REASON_CHARS_MAX);
  });
});

describe('the tools a command needs', () => {
  it.each<[string, string[]]>([
    ['cd x && FOO=1 make -j8 | tee log', ['make', 'tee']],
    ['cargo test', ['cargo']],
    ['time ninja', ['ninja']],
    ['echo hi; printf x; [ -f y ] && true', []],
    ['./build.sh', []],
    ['/usr/bin/make', []],
    ['./gradlew build', ['java']],
    ['npm test', ['npm', 'node']],
    ['npm run native', ['npm', 'node', 'make']],
    ['npx tsc', ['npx', 'node']],
    ['npx -p typescript tsc -b', ['npx', 'node']],
    ['pnpm exec vitest', ['pnpm', 'node']],
    ['timeout 5 env A=1 nice -n 3 gcc x.c', ['timeout', 'env', 'nice', 'gcc']],
    ['sudo -u me make install', ['sudo', 'make']],
    ['nohup python3 x.py &', ['nohup', 'python3']],
    ['find . -name x -exec grep y {} +', ['find', 'grep']],
    ['ls | xargs -n1 gcc -c', ['ls', 'xargs', 'gcc']],
    ['bash -c "make && ctest"', ['bash', 'make', 'ctest']],
    ['command -v cargo', []],
    ['command cargo test', ['cargo']],
    ['exec ninja', ['ninja']],
    ['make; make; make -C x', ['make']],
    ['f() { make; }; f; f', ['make']],
    ['CC=gcc; $CC x.c', ['gcc']],
    ['$CC x.c', []],
    ['echo $(rustc --version) `go version`', ['rustc', 'go']],
    ['poetry run pytest', ['poetry']],
    ['. .venv/bin/activate && pytest', []],
    ['PATH=$PWD/bin:$PATH tool x; make', ['make']],
    ['export PATH=/x:$PATH; tool', []],
    ['(export PATH=/x:$PATH; tool); make', ['make']],
    ['env PATH=/x tool', ['env']],
    ['docker build .', ['docker']],
    ['python -m pytest', ['python']],
    ['mvn test', ['mvn', 'java']],
    ['if cmake --version; then ninja; fi', ['cmake', 'ninja']],
    ['bash x.sh', ['bash']],
    ['"we ird" x', []],
    ['ls "unterminated', ['ls']],
  ])('%s → %j', (line, tools) => {
    expect(ofLine(line).tools).toEqual(tools);
  });

  it('are bounded', () => {
    const line = Array.from({ length: 500 }, (_, i) => `tool${i}`).join('; ');
    expect(ofLine(line).tools).toHaveLength(REQUIRED_TOOLS_MAX);
  });
});

describe('an argv', () => {
  it.each<[string[], string, string[]]>([
    [['make', '-j8'], 'heavy', ['make']],
    [['git', 'commit', '-m', 'a; b'], 'bound', ['git']],
    [['echo', '$(git push)'], 'light', []],
    [['ls', '&&', 'git', 'push'], 'light', ['ls']],
    [['bash', '-c', 'git push'], 'bound', ['bash', 'git']],
    [['env', 'A=1', 'cargo', 'test'], 'heavy', ['env', 'cargo']],
    [['$CC', 'x.c'], 'other', []],
    [['-oProxyCommand=x'], 'other', ['-oProxyCommand=x']],
    [['b; rm -rf /'], 'other', []],
    [['A=1'], 'other', []],
    [[''], 'light', []],
  ])('%j is %s', (argv, expected, tools) => {
    const result = classify({ kind: 'argv', argv }, context);
    expect([result.class, result.tools.filter((tool) => !tool.startsWith('-'))]).toEqual([
      expected,
      tools.filter((tool) => !tool.startsWith('-')),
    ]);
  });
});

describe('package scripts', () => {
  it('are followed with their pre and post scripts', () => {
    expect(ofLine('npm run x', withScripts({ x: 'echo', prex: 'make' })).class).toBe('heavy');
    expect(ofLine('npm run x', withScripts({ x: 'echo', postx: 'git push' })).class).toBe('bound');
    expect(ofLine('npm test', withScripts({ test: 'npm run a', a: 'npm run b', b: 'vitest --watch' })).class).toBe(
      'bound',
    );
  });

  it('end where they run themselves', () => {
    for (const name of ['loop', 'ping']) expect(ofLine(`npm run ${name}`).class).toBe('light');
  });

  it('are followed so far and no further, and what is not followed counts as bound', () => {
    const scripts: Record<string, string> = {};
    for (let i = 0; i < 40; i++) scripts[`s${i}`] = `npm run s${i + 1}; npm run s${i + 1}`;
    expect(ofLine('npm run s0', withScripts(scripts)).class).toBe('bound');
  });

  it('take their arguments', () => {
    expect(ofLine('npm test -- --watch').class).toBe('bound');
    expect(ofLine('npm run build -- "; git push"').class).toBe('heavy');
    expect(ofLine('yarn test --watch').class).toBe('bound');
  });

  it('of another directory are asked for there, else judged by name', () => {
    expect(ofLine('cd sub && npm run gen').class).toBe('other');
    expect(ofLine('cd sub && npm run gen', { ...context, scriptsAt }).class).toBe('heavy');
    for (const away of ['cd "$X"', 'cd -', 'cd', 'popd']) {
      expect(ofLine(`${away} && npm run ship`, { ...context, scriptsAt }).class).toBe('other');
    }
    expect(ofLine('cd . && npm run ship', { ...context, scriptsAt }).class).toBe('bound');
    expect(ofLine('(cd sub && ls) && npm run ship', { ...context, scriptsAt }).class).toBe('bound');
  });

  it('say why', () => {
    expect(ofLine('npm test').reason).toBe('`npm test` runs it: `vitest run` is heavy');
    expect(ofLine('cargo test').reason).toBe('`cargo test` is heavy');
    expect(ofLine('frob x').reason).toBe('`frob` is in no list: other');
  });
});

describe('settings', () => {
  const withSettings = (settings: Parameters<typeof classListsWith>[0]): ClassContext => {
    const lists = classListsWith(settings);
    if (!lists.ok) throw new Error(lists.error);
    return { ...context, lists: lists.value };
  };

  it('add tools and win over what is built in, however short', () => {
    const ctx = withSettings({ bound: ['mytool', 'make flash'], heavy: ['stage scene'], light: ['docker'] });
    expect(ofLine('mytool x', ctx).class).toBe('bound');
    expect(ofLine('make -j4 flash', ctx).class).toBe('bound');
    expect(ofLine('make -j4', ctx).class).toBe('heavy');
    expect(ofLine('stage scene 1', ctx).class).toBe('heavy');
    expect(ofLine('stage other', ctx).class).toBe('other');
    expect(ofLine('docker build .', ctx).class).toBe('light');
    expect(ofLine('env A=1 timeout 5 mytool', ctx).class).toBe('bound');
  });

  it('decide about a package script without looking into it', () => {
    expect(ofLine('npm run dev', withSettings({ heavy: ['npm run dev'] })).class).toBe('heavy');
    expect(ofLine('npm run dev', withSettings({ heavy: ['npm run dev'] })).reason).toBe(
      '`npm run dev` is heavy by settings',
    );
  });

  it('refuse what is no pattern', () => {
    for (const bad of ['', '  ', '-x', '$', 'a b c d e f g h i', 'x'.repeat(300)]) {
      expect(classListsWith({ bound: [bad] }).ok).toBe(false);
    }
    expect(classListsWith({ light: Array.from({ length: 1001 }, (_, i) => `t${i}`) }).ok).toBe(false);
  });
});

const WORDS = [
  'git',
  'push',
  'npm',
  'run',
  'test',
  'npx',
  'yarn',
  'pnpm',
  'bun',
  'bash',
  '-c',
  '-lc',
  'eval',
  'env',
  'timeout',
  '5',
  'xargs',
  'find',
  '-exec',
  ';',
  '+',
  'sudo',
  '-u',
  'python',
  '-m',
  'node',
  '--run',
  'make',
  'all',
  'constructor',

  '__proto__',
  'toString',
  'parallel',
  ':::',
  'watch',
  'trap',
  'run-s',
  'hyperfine',
  '--',
  '-',
  'A=1',
  '$A',
  '$(',
  ')',

  '"',
  "'",
  '`',
  '|',
  '&&',
  '\n',
  '<<EOF',
  'EOF',
  '{',
  '}',
  '(',
  'cd',
  'source',
  'loop',
  'x',
  'uv',
  'poetry',
  'cargo',
];

describe('any command at all', () => {
  const total = (line: string): void => {
    const result = ofLine(line);
    expect(['bound', 'heavy', 'other', 'light']).toContain(result.class);
    expect(result.reason).not.toMatch(/\p{C}/u);
    expect(result.tools.length).toBeLessThanOrEqual(REQUIRED_TOOLS_MAX);
  };

  it('has a class, as text', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 300 }), total));
  });

  it('has a class, as words', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...WORDS), { maxLength: 40 }), (words) => total(words.join(' '))),
      { numRuns: 600 },
    );
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...WORDS), { minLength: 1, maxLength: 20 }), (words) => {
        classify({ kind: 'argv', argv: words }, context);
      }),
      { numRuns: 600 },
    );
  });

  it('that is quoted is data', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 100 }), (text) => {
        expect(ofLine(`echo '${text.replaceAll("'", "'\\''")}'`).class).toBe('light');
      }),
    );
  });

  it('of a part that is bound is bound', () => {
    fc.assert(
      fc.property(fc.constantFrom(...COMMAND_TABLE.filter((row) => !/[\n#]/.test(row.line))), ({ line, expected }) => {
        const seen = ofLine(`( ${line}\n) && git push`);
        expect(seen.class === 'bound' || expected === 'other').toBe(true);
      }),
    );
  });

  it('of 100 KB is read in linear time', () => {
    const units = [
      'a;',
      'git a;',
      'env ',
      'npm run all;',
      'a=1;$a;',
      '$(a)',
      'x|bash;',
      'make a ',
      "bash -c '",
      'eval ',
      'find -exec a \\; ',
      'f(){ a;};',
      'cd x;',
      'cat <<E\n$(a)\nE\n',
      'run-s lint ',
      'sudo -u x ',
    ];
    for (const unit of units) {
      const line = unit.repeat(Math.floor(100_000 / unit.length));
      const startedMs = performance.now();
      total(line);
      expect([unit, performance.now() - startedMs < LINEAR_MS_MAX]).toEqual([unit, true]);
    }
  });
});
