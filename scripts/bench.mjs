// Measures the product on this machine, beside ssh, and writes docs/measurements.md. Run by `npm run bench`, which builds
// first. Linux only: memory and CPU time are read from /proc. Figures, not tests: it fails only where it cannot measure.
import { build } from 'esbuild';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { setTimeout as delay } from 'node:timers/promises';
import { LocalSsh } from './bench-ssh.mjs';
import { cpuPercent, peakDuring, percentiles, residentMib, timed, treeOf, wallOf } from './bench-stats.mjs';
import { measureSync, sizesOf, syncReport } from './bench-sync.mjs';
import { CHECKOUT, CLI_PATH, leaveCleanly, LoopbackMesh } from './loopback-mesh.mjs';

const DISPATCHES = 200;
const STATUSES = 200;
const PROGRAM_STARTS = 20;
const BATCH = 60;
const BATCH_ROUNDS = 5;
/** As many as three nodes of two slots run at once. */
const SSH_WIDTH = 6;
const STREAM_MIB = 512;
const MIB = 1024 * 1024;
const SETTLE_MS = 5000;
const IDLE_MS = 30_000;
const PEER = 'tower';

/** Files travel as they do by default. */
const SYNC = { root: null, include: [], exclude: [], outputs: [], returns: true, clean: false };

const { values: flags } = parseArgs({
  options: {
    /** Measures the files of projects alone, and prints the figures only. */
    'sync-only': { type: 'boolean', default: false },
    /** Shrinks their trees, for a trial. */
    scale: { type: 'string', default: '1' },
  },
});
const sizes = sizesOf(Number(flags.scale));

/** What else the machine does: figures of a busy one are worse. */
const [loadAtStart = 0] = loadavg();

/** Spawns a program with no input, throws its output away. */
function spawned(file, args, env = process.env) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'ignore'], env });
    let bytes = 0;
    child.stdout.on('data', (chunk) => {
      bytes += chunk.byteLength;
    });
    child.once('error', reject);
    child.once('close', (code) => (code === 0 ? resolve(bytes) : reject(new Error(`${file} ended with ${code}`))));
  });
}

/** The client that CLI and MCP server are built on, as a module of its own. */
async function loadApiClient(folder) {
  const outfile = join(folder, 'api-client.mjs');
  await build({
    entryPoints: [join(CHECKOUT, 'src/node/api-client.ts')],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    logLevel: 'warning',
  });
  return import(pathToFileURL(outfile).href);
}

/** A job as the CLI would submit it. */
const specOf = (line, target, cwd, sync = null) => ({
  command: { kind: 'line', line },
  cwd,
  env: {},
  umask: 0o022,
  requires: { os: null, arch: null, capabilities: [], cpus: null, memory_bytes: null },
  target,
  timeout_ms: null,
  stdin: false,
  merge: false,
  terminal: null,
  durable: false,
  retries: 0,
  idempotent: false,
  priority: 0,
  submitter: 'bench',
  avoid: [],
  sync,
});

const onPeer = { kind: 'node', node: PEER };

async function runJob(api, line, target, cwd, sync = null) {
  let ranAt = performance.now();
  const onEvent = (event) => {
    if (event.kind === 'state' && event.state === 'running') ranAt = performance.now();
  };
  let bytes = 0;
  const count = (chunk) => {
    bytes += chunk.byteLength;
  };
  const io = { stdin: null, onStdout: count, onStderr: count, onEvent };
  const run = await api.submit(specOf(line, target, cwd, sync), io).result;
  if (run.return_code !== 0) throw new Error(`${line}: ${JSON.stringify(run)}`);
  return { bytes, run, ranAt };
}

async function measureDispatch(mesh, api) {
  const local = await timed(DISPATCHES, 20, () => spawned('bash', ['-c', 'true']));
  const peer = await timed(DISPATCHES, 20, () => runJob(api, 'true', onPeer, mesh.folder));
  const status = await timed(STATUSES, 20, () => api.call('status', {}));
  const cli = (...args) => timed(PROGRAM_STARTS, 2, () => spawned(process.execPath, args, mesh.environmentOf('desk')));
  const node = await cli('-e', '0');
  const cliRun = await cli(CLI_PATH, 'run', '--on', PEER, '--', 'true');
  const cliStatus = await cli(CLI_PATH, 'status');
  const batches = [];
  for (let round = 0; round < BATCH_ROUNDS; round++) {
    batches.push(await wallOf(BATCH, BATCH, () => runJob(api, 'true', { kind: 'any' }, mesh.folder)));
  }
  return { local, peer, status, node, cliRun, cliStatus, batch: percentiles(batches) };
}

async function measureStream(mesh, api, groups) {
  const command = `head -c ${STREAM_MIB * MIB} /dev/zero`;
  const before = groups.map(residentMib);
  const peaks = groups.map(() => 0);
  const watch = () => {
    groups.forEach((pids, index) => {
      peaks[index] = Math.max(peaks[index], residentMib(pids));
    });
    return 0;
  };
  const started = performance.now();
  const { result } = await peakDuring(watch, () => runJob(api, command, onPeer, mesh.folder));
  const mibPerSecond = STREAM_MIB / ((performance.now() - started) / 1000);
  if (result.bytes !== STREAM_MIB * MIB) throw new Error(`${result.bytes} bytes of ${STREAM_MIB} MiB arrived`);
  return { mibPerSecond, grownMib: peaks.map((peak, index) => peak - before[index]) };
}

async function measureSsh(ssh) {
  const stream = async (args) => {
    const started = performance.now();
    await spawned('ssh', args);
    return STREAM_MIB / ((performance.now() - started) / 1000);
  };
  const command = `head -c ${STREAM_MIB * MIB} /dev/zero`;
  return {
    fresh: await timed(PROGRAM_STARTS, 2, () => spawned('ssh', ssh.fresh('true'))),
    mastered: await timed(DISPATCHES / 2, 5, () => spawned('ssh', ssh.mastered('true'))),
    freshBatch: await wallOf(BATCH, SSH_WIDTH, () => spawned('ssh', ssh.fresh('true'))),
    masteredBatch: await wallOf(BATCH, SSH_WIDTH, () => spawned('ssh', ssh.mastered('true'))),
    stream: await stream(ssh.mastered(command)),
  };
}

const ms = (value) => `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ms`;
const both = ({ p50, p95 }) => [ms(p50), ms(p95)];
const verdict = (good) => (good ? 'met' : '**missed**');

function reportOf({ dispatch, stream, idle, ssh, sshReason, sync }) {
  const { local, peer, status } = dispatch;
  const over = peer.p50 - local.p50;
  const idleCpu = Math.max(...idle.cpu);
  const idleMib = Math.max(...idle.mib);
  const processor = cpus()[0]?.model ?? 'unknown processor';
  const machine = `${cpus().length} cores (${processor}), ${Math.round(totalmem() / MIB / 1024)} GiB, Linux ${release()}, Node.js ${process.versions.node}, load ${loadAtStart.toFixed(1)} before`;
  const sshRow = (title, value) => (ssh === null ? [] : [[title, ...value(ssh), '']]);
  const rows = [
    ['local spawn of `bash -c true`', ...both(local), ''],
    ['`true` on a peer, one client connection', ...both(peer), ''],
    ['… over the local spawn', ms(over), '', `≤ 15 ms: ${verdict(over <= 15)}`],
    ['`meshwork run --on PEER -- true`, the whole program', ...both(dispatch.cliRun), ''],
    ['… of which `node -e 0`', ...both(dispatch.node), ''],
    ...sshRow('`ssh HOST true`', ({ fresh }) => both(fresh)),
    ...sshRow('`ssh HOST true`, ControlMaster', ({ mastered }) => both(mastered)),
    ['status of 3 nodes through the socket', ...both(status), `≤ 50 ms: ${verdict(status.p50 <= 50)}`],
    ['`meshwork status`, the whole program', ...both(dispatch.cliStatus), ''],
    [`${BATCH} × \`true\` over the mesh, all at once`, ...both(dispatch.batch), ''],
    ...sshRow(`${BATCH} × \`ssh HOST true\`, ${SSH_WIDTH} at once`, ({ freshBatch }) => [ms(freshBatch), '']),
    ...sshRow(`${BATCH} × the same over ControlMaster`, ({ masteredBatch }) => [ms(masteredBatch), '']),
    [`stdout of ${STREAM_MIB} MiB from a peer`, `${stream.mibPerSecond.toFixed(0)} MiB/s`, '', ''],
    [
      '… memory grown meanwhile, origin · executor',
      stream.grownMib.map((mib) => `${mib.toFixed(0)} MiB`).join(' · '),
      '',
      '',
    ],
    ...sshRow('… over ssh, ControlMaster', (values) => [`${values.stream.toFixed(0)} MiB/s`, '']),
    [
      'idle daemon and runner, busiest of 3 nodes',
      `${idleCpu.toFixed(2)} % of a core`,
      '',
      `< 1 %: ${verdict(idleCpu < 1)}`,
    ],
    [
      'idle daemon and runner, resident, largest of 3',
      `${idleMib.toFixed(0)} MiB`,
      '',
      `< 150 MB: ${verdict(idleMib < 143)}`,
    ],
  ];
  const lines = [
    '# Measurements',
    '',
    `${new Date().toISOString().slice(0, 10)}, ${machine}. Written by`,
    '',
    '```',
    'npm run bench',
    '```',
    '',
    'Three nodes and all clients on one machine, over loopback, so that they share its cores. Times are from the request to',
    `the complete result, one after the other unless said otherwise (${DISPATCHES} dispatches, ${PROGRAM_STARTS} program starts, ${BATCH_ROUNDS} batches,`,
    `${IDLE_MS / 1000} s of idling with mDNS on). Resident memory counts shared pages in every process. A spawn costs more in a large`,
    'process, so the local one is measured in the small process of the bench itself. The shell that sshd starts reads no',
    'start files here, which flatters ssh where they are slow.',
    '',
    '| what | p50 | p95 | target |',
    '|---|---|---|---|',
    ...rows.map((cells) => `| ${cells.join(' | ')} |`),
    ...(sshReason === null ? [] : ['', `Not compared with ssh: ${sshReason}.`]),
    '',
    ...syncReport(sync),
  ];
  return lines.join('\n');
}

const step = (text) => console.error(`… ${text}`);

async function startNodes(mesh) {
  step('starting three nodes');
  for (const name of ['desk', 'laptop', PEER]) await mesh.start(name, { mdns: !flags['sync-only'] });
  for (const name of ['laptop', PEER]) await mesh.pair('desk', name);
  await mesh.linked();
  const groups = [];
  for (const name of mesh.homes.keys()) groups.push(treeOf((await mesh.status(name)).daemon_pid));
  return groups;
}

async function idleOf(groups) {
  step(`idling for ${IDLE_MS / 1000} s`);
  await delay(SETTLE_MS);
  return { cpu: await cpuPercent(groups, IDLE_MS), mib: groups.map(residentMib) };
}

async function measure(mesh, ssh) {
  const groups = await startNodes(mesh);
  const idle = flags['sync-only'] ? null : await idleOf(groups);
  const { connectDaemon } = await loadApiClient(mesh.folder);
  const api = await connectDaemon(join(mesh.homes.get('desk'), 'control.sock'));
  const daemons = [groups[0], groups[2]];
  const measureFiles = (sshOrNull) => {
    const submit = async (cwd) => (await runJob(api, 'true', onPeer, cwd, SYNC)).ranAt;
    return measureSync({ folder: mesh.folder, submit, groups: daemons, ssh: sshOrNull, sizes, step });
  };
  try {
    step('ssh');
    const sshReason = await ssh.start(mesh.folder);
    // Before streams fill the daemons' heaps: how much they grow is measured.
    const sync = await measureFiles(sshReason === null ? ssh : null);
    if (flags['sync-only']) return { sync };
    step('dispatch and status');
    const dispatch = await measureDispatch(mesh, api);
    step('stream');
    const stream = await measureStream(mesh, api, daemons);
    step('the same over ssh');
    return { idle, dispatch, stream, ssh: sshReason === null ? await measureSsh(ssh) : null, sshReason, sync };
  } finally {
    api.close();
  }
}

if (process.platform !== 'linux') {
  console.error('scripts/bench.mjs: reads /proc and so needs Linux');
  process.exit(1);
}
const mesh = new LoopbackMesh('mw-bench-');
const ssh = new LocalSsh();
let cleaning = null;
const cleanOnce = () => (cleaning ??= ssh.stop().then(() => mesh.remove()));
const leaving = leaveCleanly(cleanOnce);
try {
  const result = await measure(mesh, ssh);
  const report = flags['sync-only'] ? syncReport(result.sync).join('\n') : reportOf(result);
  if (!flags['sync-only'] && sizes.scale === 1) writeFileSync(join(CHECKOUT, 'docs/measurements.md'), report);
  console.log(report);
} catch (error) {
  if (!leaving()) console.error(error);
  process.exitCode = 1;
}
for (const problem of await cleanOnce()) {
  console.error(`scripts/bench.mjs: ${problem}`);
  process.exitCode = 1;
}
