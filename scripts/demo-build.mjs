// The demo's real build: SQLite from source where a C compiler is found, else this project's own type check.
import { access, constants, mkdir, rm, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { CHECKOUT, plainEnvironment, runProgram } from './loopback-mesh.mjs';

/** A package whose tarball holds the SQLite amalgamation as one 9 MB C file; only the tarball is fetched, nothing installed. */
const PACKAGE = 'better-sqlite3@12.11.1';
const INTEGRITY = 'sha512-dq9AtApgg5PGFtBzPFSBl3HZQjHok5gaQCM6zh2Yk0aSmDCs1CbnVI8/HgASQkNKsWFpseIO9beg5xxpYhbIfA==';
const SOURCES = 'package/deps/sqlite3';
const FETCH_TIMEOUT_MS = 120_000;

/** @param greeting what an edit changes */
const mainC = (greeting) => `#include <stdio.h>
#include "sqlite3.h"

static int print(void *unused, int columns, char **values, char **names) {
  (void)unused; (void)columns; (void)names;
  return printf("${greeting}: SQLite %s counted %s rows\\n", sqlite3_libversion(), values[0]) < 0;
}

int main(void) {
  sqlite3 *db = NULL;
  if (sqlite3_open(":memory:", &db) != SQLITE_OK) return 1;
  const char *sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT count(*) FROM n";
  int code = sqlite3_exec(db, sql, print, NULL, NULL);
  sqlite3_close(db);
  return code;
}
`;
const PROGRAM = 'sqlite-demo';
const MAKEFILE = `CFLAGS = -O2
${PROGRAM}: main.o sqlite3.o
	$(CC) -o $@ main.o sqlite3.o -lpthread -ldl -lm
main.o: main.c sqlite3.h
sqlite3.o: sqlite3.c sqlite3.h
`;

async function hasTool(name) {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    try {
      await access(join(folder, name), constants.X_OK);
      return true;
    } catch (error) {
      if (!['ENOENT', 'EACCES', 'ENOTDIR'].includes(error.code)) throw error;
    }
  }
  return false;
}

/**
 * @param folder where sources may be put
 * @returns {Promise<{title: string, command: string, cwd: string, outputs: string[], edit: (() => Promise<void>) | null, product: string | null}>}
 *   `edit` changes one source file; `product` runs what was built. Both null where nothing is built
 */
export async function buildJob(folder) {
  if (!(await hasTool('cc')) || !(await hasTool('make'))) {
    const title = 'type-check of this project (no C compiler found)';
    return { title, command: 'npx tsc -p tsconfig.json', cwd: CHECKOUT, outputs: [], edit: null, product: null };
  }
  const cwd = join(folder, 'sqlite');
  await mkdir(cwd);
  const options = { cwd, env: plainEnvironment(), timeout: FETCH_TIMEOUT_MS };
  const pack = await runProgram('npm', ['pack', PACKAGE, '--json', '--loglevel=error'], options);
  if (pack.code !== 0) throw new Error(`npm pack ${PACKAGE}: ${pack.stderr}`);
  const [tarball] = JSON.parse(pack.stdout);
  if (tarball.integrity !== INTEGRITY) throw new Error(`${PACKAGE} is not the tarball it was: ${tarball.integrity}`);
  const unpack = await runProgram('tar', ['-xzf', tarball.filename, '--strip-components=3', SOURCES], options);
  if (unpack.code !== 0) throw new Error(`tar: ${unpack.stderr}`);
  await rm(join(cwd, tarball.filename));
  await writeFile(join(cwd, 'main.c'), mainC('first build'));
  await writeFile(join(cwd, 'Makefile'), MAKEFILE);
  // It makes this folder a project, and says what is a product.
  await writeFile(join(cwd, '.meshworkignore'), `*.o\n${PROGRAM}\n`);
  return {
    title: 'build of SQLite from source',
    command: 'make',
    cwd,
    outputs: [PROGRAM],
    edit: () => writeFile(join(cwd, 'main.c'), mainC('after an edit here')),
    product: `./${PROGRAM}`,
  };
}
