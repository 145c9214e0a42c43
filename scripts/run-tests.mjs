// Runs the checks and the test suites one after the other, on this Node.js and (unit and end-to-end) on the newest
// supported one, and closes with "N passed, N failed". Called by scripts/test.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const NODE_NEWEST = '24.21.0';
/** Test files at once, where a suite allows more than one: vitest's default on two cores is one. */
const WORKERS = '--maxWorkers=2';
/** What could differ on another Node.js: processes, signals, streams, files, the MCP library. All suites with --soak. */
const E2E_ON_NEWEST = ['cli-fidelity', 'mcp-tools', 'mcp-jobs', 'cli-workspaces'].map(
  (name) => `test/e2e/${name}.test.ts`,
);
/** What the others use of Node.js those of e2e use, too. */
const UNIT_ON_NEWEST = ['adapters', 'runner'].map((folder) => `test/unit/${folder}/`);
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

/** Runs a command with its output held back, so that what runs side by side stays readable. */
function run(command, args, env) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...environment, ...env } });
    const output = [];
    child.stdout.on('data', (chunk) => output.push(chunk));
    child.stderr.on('data', (chunk) => output.push(chunk));
    child.on('error', (error) => output.push(Buffer.from(`${error.message}\n`)));
    child.on('close', (code) => resolve({ good: code === 0, output: Buffer.concat(output).toString('utf8') }));
  });
}

async function step(title, command, args, env = {}) {
  const started = performance.now();
  const { good, output } = await run(command, args, env);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`\n== ${title}\n${output.trimEnd()}\n== ${title}: ${good ? 'ok' : 'FAILED'} (${seconds} s)`);
  return good;
}

async function check(title, command, args) {
  if (await step(title, command, args)) passed += 1;
  else {
    failed += 1;
    failures.push(title);
  }
}

async function suite(name, node, label, files = []) {
  const report = join(work, `${name}-${label}.json`);
  const args = [
    'node_modules/vitest/vitest.mjs',
    'run',
    '--project',
    name,
    '--reporter=dot',
    '--reporter=json',
    WORKERS,
    ...files,
  ];
  const env = {
    MESHWORK_TEST_BUILT: '1',
    NO_COLOR: '1',
    ...(soak ? { MESHWORK_SOAK: '1', MESHWORK_SEEDS: '1000' } : {}),
  };
  const good = await step(`${name} on Node.js ${label}`, node, [...args, `--outputFile.json=${report}`], env);
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

/** Suites one after the other; several such lanes run side by side, since most of a mesh test is waiting. */
async function lane(suites) {
  for (const suiteOfLane of suites) await suite(...suiteOfLane);
}

/** The newest supported Node.js, as a package: the binary alone, in a temporary folder. */
async function newestNode() {
  if (process.versions.node === NODE_NEWEST) return null;
  const name = `node-${process.platform}-${process.arch}`;
  const where = join(work, 'node');
  const args = ['install', '--prefix', where, '--no-save', '--no-audit', '--no-fund', `${name}@${NODE_NEWEST}`];
  const good = await step(`install Node.js ${NODE_NEWEST}`, 'npm', [...args, '--loglevel=error']);
  return good ? join(where, 'node_modules', name, 'bin', 'node') : null;
}

try {
  const node = process.execPath;
  const here = process.versions.node;
  await check('build', node, ['scripts/build.mjs']);
  const newest = quick ? null : await newestNode();
  if (newest === null && !quick && here !== NODE_NEWEST) {
    failed += 1;
    failures.push(`Node.js ${NODE_NEWEST} could not be installed`);
  }
  await check('types', node, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json']);
  await check('types of the core', node, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.core.json']);
  await check('lint', 'npx', ['oxlint', '--deny-warnings', 'src', 'test', 'scripts']);
  await check('format', 'npx', ['oxfmt', '--check', 'src', 'test', 'scripts']);
  await check('unused code', 'npx', ['knip']);
  await check('package', 'npx', ['publint', '--strict']);
  const onThis = (name) => [name, node, here];
  const again = (name, files = []) => (newest === null ? [] : [[name, newest, NODE_NEWEST, soak ? [] : files]]);
  await Promise.all([
    lane([...['architecture', 'unit', 'contract', 'mesh'].map(onThis), ...again('unit', UNIT_ON_NEWEST)]),
    lane([...['e2e', 'netns'].map(onThis), ...again('e2e', E2E_ON_NEWEST), onThis('simulation')]),
  ]);
} finally {
  rmSync(work, { recursive: true, force: true });
}
if (failures.length > 0) console.log(`\nFailed: ${failures.join('; ')}`);
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
