// The projects of the fidelity check: what they are, what they are made of, and the commands that are run here and there.
import { rmSync, writeFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runOrFail } from './fidelity-sources.mjs';

/** The lock file is made once, before the copies are; the executor makes node_modules from it. */
async function withPackages(folder, packages) {
  const file = join(folder, 'package.json');
  const { devDependencies: _unwanted, scripts: _unused, ...released } = JSON.parse(readFileSync(file, 'utf8'));
  const manifest = { ...released, devDependencies: packages };
  writeFileSync(file, `${JSON.stringify(manifest, null, 2)}\n`);
  ignore(folder, 'node_modules/');
  await runOrFail('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: folder });
}

function ignore(folder, ...lines) {
  const file = join(folder, '.gitignore');
  let before = '';
  try {
    before = readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  writeFileSync(file, `${before}\n${lines.join('\n')}\n`);
}

/**
 * `commands` are run one after another in the same tree, as a user would. `git`: false for a plain folder. `needs`: programs
 * without which the project is left out, with a line that says so.
 */
export const PROJECTS = [
  {
    name: 'bzip2',
    what: 'C, make, no git: every product comes back',
    needs: ['make', 'cc'],
    git: false,
    fetch: async (sources, folder) => {
      await sources.debian('bzip2', folder);
      writeFileSync(join(folder, '.meshworkignore'), '*.tmp\n');
    },
    commands: ['make CFLAGS=-O2 bzip2 bzip2recover libbz2.a', 'make test', 'make CFLAGS=-O2 bzip2'],
  },
  {
    name: 'cjson',
    what: 'C, cmake and ctest, out of tree',
    needs: ['cmake', 'make', 'cc'],
    fetch: async (sources, folder) => {
      await sources.debian('cjson', folder);
      ignore(folder, 'build/');
    },
    commands: ['cmake -S . -B build -DENABLE_CJSON_TEST=On', 'cmake --build build', 'ctest --test-dir build'],
  },
  {
    name: 'zod',
    what: 'TypeScript library, vitest',
    needs: ['npm'],
    fetch: async (sources, folder) => {
      await sources.npm('zod@4.6.7', folder);
      await withPackages(folder, { vitest: '4.1.12' });
    },
    commands: ['npx vitest run --no-file-parallelism --reporter=json src/v4/classic/tests/array.test.ts src/v4/mini'],
  },
  {
    name: 'hash.js',
    what: 'JavaScript, mocha',
    needs: ['npm'],
    fetch: async (sources, folder) => {
      await sources.npm('hash.js@1.1.7', folder);
      await withPackages(folder, { mocha: '11.7.4' });
    },
    commands: ['npx mocha --reporter dot test/*.js', 'npx mocha --reporter tap test/hmac-test.js'],
  },
  {
    name: 'fnv',
    what: 'Rust, cargo without dependencies',
    needs: ['cargo'],
    fetch: async (sources, folder) => {
      await sources.debian('rust-fnv', folder);
      rmSync(join(folder, '.cargo_vcs_info.json'), { force: true });
      ignore(folder, 'target/');
    },
    commands: ['cargo test --offline -- --test-threads=1', 'cargo build --offline --release'],
  },
  {
    name: 'pyasn1',
    what: 'Python, unittest',
    needs: ['python3'],
    fetch: async (sources, folder) => {
      await sources.debian('pyasn1', folder);
      ignore(folder, '__pycache__/');
    },
    commands: ['python3 -W ignore -m unittest tests.type.test_char tests.type.test_namedval'],
  },
  {
    name: 'ply',
    what: 'code generator that rewrites tracked files (parser tables)',
    needs: ['python3'],
    fetch: async (sources, folder) => {
      await sources.debian('ply', folder);
      ignore(folder, '__pycache__/');
      // The tables as of an earlier grammar, tracked: the second command makes new ones.
      await runOrFail('bash', ['-c', 'python3 calc.py < /dev/null'], { cwd: join(folder, 'example', 'calc') });
    },
    folder: 'example/calc',
    commands: ['echo "x = 6 * 7" | python3 calc.py', 'sed -i s/NAME/WORD/g calc.py && python3 calc.py < /dev/null'],
  },
  {
    name: 'prettier',
    what: 'formatter over a tree',
    needs: ['npm'],
    fetch: async (sources, folder) => {
      await sources.npm('hash.js@1.1.7', folder);
      await withPackages(folder, { prettier: '3.6.2' });
    },
    commands: ['npx prettier --write lib test', 'npx prettier --check lib'],
  },
  {
    name: 'lua',
    what: 'git version stamp compiled in',
    needs: ['make', 'cc'],
    fetch: async (sources, folder) => {
      await sources.debian('lua5.4', folder);
      ignore(folder, '*.o', '*.a', 'src/lua', 'src/luac');
    },
    tag: 'v5.4.4',
    commands: [
      'git describe --tags --dirty --always && git status --porcelain && git log --oneline',
      'printf \'#define BUILD "%s"\\n\' "$(git describe --tags --dirty)" > src/build.h && make -s -C src generic MYCFLAGS="-include build.h"',
      'git describe --tags --dirty && src/lua -v && src/lua -e "print(1 + 1)"',
    ],
  },
];
