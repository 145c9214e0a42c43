// The demo's story; `scripts/demo` installs and builds first. Ends with 0 only if every step did what it should and
// nothing was left behind.
import { LoopbackMesh, CHECKOUT, leaveCleanly, processesOf } from './loopback-mesh.mjs';
import { buildJob } from './demo-build.mjs';
import { McpSession } from './demo-mcp.mjs';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Facts instead of measurements: three nodes on one machine would all measure the same load. */
const NODES = {
  desk: { cpu_percent: 95, load_1m: 7.5, memory_percent: 60 },
  laptop: { cpu_percent: 30, load_1m: 0.6, memory_percent: 40 },
  tower: { cpu_percent: 4, load_1m: 0.1, memory_percent: 20 },
};
const LEAST_LOADED = 'tower';
/** More would only take longer. */
const TEST_FILES_MAX = 24;
const TEST_FOLDER = join('test', 'unit', 'core');

const started = performance.now();
const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
const heading = (text) => console.log(`\n== ${text}`);
const ran = [];

function check(good, text) {
  if (!good) throw new Error(text);
}

async function startNodes(mesh) {
  heading('Starting three nodes, each with a MESHWORK_HOME of its own');
  const roots = `[mcp]\nroots = [${JSON.stringify(mesh.folder)}]\n`;
  for (const [name, facts] of Object.entries(NODES)) {
    console.log(await mesh.start(name, { facts, config: name === 'desk' ? roots : '' }));
  }
  heading('Pairing them: `meshwork invite` on desk, `meshwork join TOKEN` on the others');
  for (const name of Object.keys(NODES).slice(1)) console.log(`[${name}] ${await mesh.pair('desk', name)}`);
  await mesh.linked();
  heading('meshwork status (desk says that it is busy: 95 % CPU)');
  process.stdout.write(await mesh.cliOrFail('desk', 'status'));
}

async function runBuild(mesh, mcp) {
  const job = await buildJob(mesh.folder);
  const make = async (label) => {
    console.log(`$ ${job.command}`);
    const args = { command: job.command, cwd: job.cwd, outputs: job.outputs, timeout_s: 240, wait_s: 270 };
    const build = await mcp.call('cluster_bash', args);
    ran.push({ tool: 'cluster_bash', label, run: build });
    check(build.return_code === 0, `the build ended with ${build.return_code}: ${build.stdout}${build.stderr}`);
    const synced = `${seconds(build.sync_ms)} for its files`;
    console.log(`ran on ${build.executed_on} (${build.route}), exit 0, ${seconds(build.duration_ms)}, ${synced}`);
    check(build.executed_on === LEAST_LOADED, `the build ran on ${build.executed_on}, not on ${LEAST_LOADED}`);
    return build;
  };
  heading(`cluster_bash: ${job.title}; its files go along, the program comes back`);
  const built = await make(job.title);
  if (job.product === null) return;
  console.log(`came back: ${built.changes.returned.join(', ')}; left there: ${leftThere(built)}`);
  heading('cluster_bash: the same after an edit here, with what is there from the first time');
  await job.edit();
  const again = await make(`${job.title}, one file edited`);
  const compiled = again.stdout.split('\n').filter((line) => line.includes(' -c '));
  console.log(again.stdout.trim());
  check(compiled.length === 1, `${compiled.length} files were compiled, not 1:\n${again.stdout}`);
  heading('cluster_bash, auto_route false: the program that came back, run here');
  const product = await mcp.call('cluster_bash', { command: job.product, cwd: job.cwd, auto_route: false });
  ran.push({ tool: 'cluster_bash', label: job.product, run: product });
  check(product.return_code === 0, `${job.product} ended with ${product.return_code}: ${product.stderr}`);
  check(
    product.stdout.startsWith('after an edit'),
    `the program is not the one that was built last: ${product.stdout}`,
  );
  process.stdout.write(product.stdout);
}

const leftThere = ({ changes }) =>
  changes.left_there.map(({ path, files }) => `${path} (${files})`).join(', ') || 'nothing';

async function runTests(mcp) {
  const files = readdirSync(join(CHECKOUT, TEST_FOLDER), { recursive: true })
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => join(TEST_FOLDER, file))
    .sort()
    .slice(0, TEST_FILES_MAX);
  heading(`parallel_execute: ${files.length} of this project's test files; node_modules is made there by npm ci`);
  const commands = files.map((file) => `npx vitest run --project unit ${file}`);
  const batch = await mcp.call('parallel_execute', { commands, cwd: CHECKOUT, timeout_s: 120, wait_s: 270 });
  for (const [index, run] of batch.results.entries()) {
    ran.push({ tool: 'parallel_execute', label: files[index], run });
  }
  console.log('(a busy node takes what no freer one has a slot for)');
  console.log(`${batch.succeeded} succeeded, ${batch.failed} failed, in ${seconds(batch.wall_ms)}`);
  const failure = batch.results.find(({ success }) => success !== true);
  check(batch.results.length === files.length, `${batch.results.length} results for ${files.length} commands`);
  check(failure === undefined, `failed: ${JSON.stringify(failure, null, 2)}`);
}

function printTable() {
  heading('What ran where');
  const rows = ran.map(({ tool, label, run }) => [
    tool,
    label,
    run.executed_on ?? '-',
    String(run.return_code ?? run.reason),
    // In a large batch the less telling fields are left out.
    run.duration_ms === undefined ? '-' : seconds(run.duration_ms),
    run.queue_ms === undefined ? '-' : seconds(run.queue_ms),
  ]);
  rows.unshift(['TOOL', 'COMMAND', 'NODE', 'EXIT', 'RAN', 'QUEUED']);
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  for (const row of rows) {
    const cells = row.map((cell, column) => (column < 3 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])));
    console.log(cells.join('  ').trimEnd());
  }
  const count = (name) => ran.filter(({ run }) => run.executed_on === name).length;
  const spread = Object.keys(NODES).map((name) => `${name} ${count(name)}`);
  console.log(`commands per node: ${spread.join(', ')}`);
}

/** Ends everything and looks for what should not be there. @returns {Promise<string[]>} problems */
async function cleanUp(mesh, mcp) {
  heading('Cleaning up');
  await mcp.close();
  const problems = await mesh.remove();
  for (const { run } of ran) {
    // Every process of a job carries the job's id in its environment.
    const left = await processesOf(run.job_id);
    problems.push(...left.map(({ pid, command }) => `process ${pid} of job ${run.job_id} is left: ${command}`));
  }
  if (problems.length === 0) console.log('No process and no file of the demo is left.');
  return problems;
}

const mesh = new LoopbackMesh('mw-demo-');
const mcp = new McpSession();
let cleaning = null;
const cleanOnce = () => (cleaning ??= cleanUp(mesh, mcp));
const leaving = leaveCleanly(cleanOnce);

const failures = [];
try {
  await startNodes(mesh);
  heading('Connecting a real MCP client to `meshwork mcp` on desk');
  console.log(`tools: ${(await mcp.connect(mesh.environmentOf('desk'))).join(', ')}`);
  await runBuild(mesh, mcp);
  await runTests(mcp);
  printTable();
} catch (error) {
  failures.push(error.message);
}
failures.push(...(await cleanOnce()));
if (!leaving()) {
  for (const failure of failures) console.error(`scripts/demo: ${failure}`);
  const end = failures.length === 0 ? 'The demo ended well' : 'The demo FAILED';
  console.log(`\n${end} after ${seconds(performance.now() - started)}.`);
  process.exitCode = failures.length === 0 ? 0 : 1;
}
