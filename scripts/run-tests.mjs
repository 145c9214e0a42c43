// Runs the checks and the test suites one after the other, on this Node.js and (unit and end-to-end) on the newest
// supported one, and closes with "N passed, N failed". Called by scripts/test.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const NODE_NEWEST = '24.21.0';
const soak = process.argv.includes('--soak');
const quick = process.argv.includes('--quick');
const unknown = process.argv.slice(2).filter((word) => word !== '--soak' && word !== '--quick');
if (unknown.length > 0) {
  console.error(`scripts/test: unknown option ${unknown.join(' ')}; it takes --soak or --quick`);
  process.exit(2);
}

// The suites start real daemons: nothing of the caller's own node may reach them.
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith('MESHWORK_') || name === 'MESHWORK_SEEDS'),
);

const work = mkdtempSync(join(tmpdir(), 'meshwork-test-'));
let passed = 0;
let failed = 0;
const failures = [];

function step(title, command, args, env = {}) {
  const started = performance.now();
  console.log(`\n== ${title}`);
  const result = spawnSync(command, args, { stdio: 'inherit', env: { ...environment, ...env } });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const good = result.status === 0;
  console.log(`== ${title}: ${good ? 'ok' : 'FAILED'} (${seconds} s)`);
  return good;
}

function check(title, command, args) {
  if (step(title, command, args)) passed += 1;
  else {
    failed += 1;
    failures.push(title);
  }
}

function suite(name, node, label) {
  const report = join(work, `${name}-${label}.json`);
  const args = ['node_modules/vitest/vitest.mjs', 'run', '--project', name, '--reporter=default', '--reporter=json'];
  const env = {
    MESHWORK_TEST_BUILT: '1',
    ...(soak ? { MESHWORK_SOAK: '1', MESHWORK_SEEDS: '1000' } : {}),
  };
  const good = step(`${name} on Node.js ${label}`, node, [...args, `--outputFile.json=${report}`], env);
  let counted = { numPassedTests: 0, numFailedTests: 0, numTotalTests: 0 };
  try {
    counted = JSON.parse(readFileSync(report, 'utf8'));
  } catch (error) {
    console.log(`no report of ${name}: ${error.message}`);
  }
  passed += counted.numPassedTests;
  // A suite that broke outside any test (a setup, an unhandled error) has failed too.
  failed += Math.max(counted.numFailedTests, good ? 0 : 1);
  if (!good) failures.push(`${name} on Node.js ${label}`);
  if (good && counted.numTotalTests === 0) {
    failed += 1;
    failures.push(`${name} on Node.js ${label}: no test ran`);
  }
}

/** The newest supported Node.js, as a package: the binary alone, in a temporary folder. */
function newestNode() {
  if (process.versions.node === NODE_NEWEST) return null;
  const name = `node-${process.platform}-${process.arch}`;
  const where = join(work, 'node');
  const args = ['install', '--prefix', where, '--no-save', '--no-audit', '--no-fund', `${name}@${NODE_NEWEST}`];
  const good = step(`install Node.js ${NODE_NEWEST}`, 'npm', [...args, '--loglevel=error']);
  return good ? join(where, 'node_modules', name, 'bin', 'node') : null;
}

try {
  const node = process.execPath;
  const here = process.versions.node;
  check('build', node, ['scripts/build.mjs']);
  check('types', node, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json']);
  check('types of the core', node, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.core.json']);
  check('lint', 'npx', ['oxlint', '--deny-warnings', 'src', 'test', 'scripts']);
  check('format', 'npx', ['oxfmt', '--check', 'src', 'test', 'scripts']);
  check('unused code', 'npx', ['knip']);
  check('package', 'npx', ['publint', '--strict']);
  for (const name of ['architecture', 'unit', 'simulation', 'contract', 'mesh', 'e2e', 'netns'])
    suite(name, node, here);
  if (!quick) {
    const newest = newestNode();
    if (newest !== null) for (const name of ['unit', 'e2e']) suite(name, newest, NODE_NEWEST);
    else if (process.versions.node !== NODE_NEWEST) {
      failed += 1;
      failures.push(`Node.js ${NODE_NEWEST} could not be installed`);
    }
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
if (failures.length > 0) console.log(`\nFailed: ${failures.join('; ')}`);
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
