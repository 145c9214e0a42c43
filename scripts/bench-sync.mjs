// How a project's files get to a peer, beside `rsync -a --delete` of the same trees to the same machine over ssh.
import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { percentiles, peakDuring, residentMib } from './bench-stats.mjs';
import { runProgram } from './loopback-mesh.mjs';

const KIB = 1024;
const MIB = 1024 * KIB;
const RSYNC_TIMEOUT_MS = 600_000;
const FILES_PER_FOLDER = 40;
const CHUNK_BYTES = 8 * MIB;

/** What is measured; `--scale 0.02` shrinks it for a trial. */
export function sizesOf(scale) {
  const part = (whole) => Math.max(50, Math.round(whole * scale));
  return {
    scale,
    small: { files: part(7500), bytes: Math.round(58e6 * scale) },
    large: { files: part(50_000), bytes: Math.round(50e6 * scale) },
    bigFileBytes: Math.max(16 * MIB, Math.round(1024 * MIB * scale)),
    firstRounds: 3,
    rounds: scale < 1 ? 3 : 7,
  };
}

/** Text like a program's source, different in every tree and file: it compresses as such. */
function sourceText(random, chars) {
  const words = ['static ', 'const ', 'return ', 'if (', ') {\n', '  value = ', 'node->next', ';\n', 'length', ' + '];
  let text = '';
  while (text.length < chars) text += `${words[random(words.length)]}${random(1e9).toString(36)}`;
  return text.slice(0, chars);
}

function randomFrom(seed) {
  let state = seed >>> 0 || 1;
  return (below) => {
    // xorshift32 (Marsaglia 2003)
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % below;
  };
}

/** A project without git: rsync has no rules of its own either. */
function makeTree(root, { files, bytes }, seed) {
  const random = randomFrom(seed);
  mkdirSync(root, { recursive: true });
  writeFileSync(join(root, '.meshwork.toml'), '');
  const usual = Math.floor(bytes / files);
  for (let index = 0; index < files; index++) {
    const folder = join(
      root,
      `part-${Math.floor(index / FILES_PER_FOLDER / 20)}`,
      `unit-${Math.floor(index / FILES_PER_FOLDER)}`,
    );
    if (index % FILES_PER_FOLDER === 0) mkdirSync(folder, { recursive: true });
    // From half to one and a half of the usual size.
    writeFileSync(join(folder, `file-${index}.c`), sourceText(random, Math.floor(usual / 2) + random(usual)));
  }
  return root;
}

function makeBigFile(root, bytes) {
  mkdirSync(root, { recursive: true });
  writeFileSync(join(root, '.meshwork.toml'), '');
  const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, bytes));
  const file = openSync(join(root, 'image.bin'), 'w');
  for (let written = 0; written < bytes; written += chunk.byteLength) writeSync(file, randomFillSync(chunk));
  closeSync(file);
}

/** Everything behind the middle moves by one. */
function insertByte(path) {
  const from = openSync(path, 'r');
  const to = openSync(`${path}.new`, 'w');
  const middle = Math.floor(statSync(path).size / 2);
  const chunk = Buffer.alloc(CHUNK_BYTES);
  const copy = (position, end) => {
    for (let at = position; at < end;) {
      const read = readSync(from, chunk, 0, Math.min(chunk.byteLength, end - at), at);
      writeSync(to, chunk, 0, read);
      at += read;
    }
  };
  copy(0, middle);
  writeSync(to, Buffer.from('x'));
  copy(middle, statSync(path).size);
  closeSync(from);
  closeSync(to);
  renameSync(`${path}.new`, path);
}

/** Bytes that went over the loopback interface so far, headers and both directions of everything. */
function loopbackBytes() {
  const line = readFileSync('/proc/net/dev', 'utf8')
    .split('\n')
    .find((one) => one.trim().startsWith('lo:'));
  return Number(line?.split(':')[1].trim().split(/\s+/)[8] ?? Number.NaN);
}

async function measured(action) {
  const bytesBefore = loopbackBytes();
  const started = performance.now();
  await action();
  return { ms: performance.now() - started, bytes: loopbackBytes() - bytesBefore };
}

/** Until it runs there, which is what rsync does, and until its end, when what it changed is back. */
async function measuredJob(contest, root) {
  const bytesBefore = loopbackBytes();
  const started = performance.now();
  const ranAt = await contest.ours(root);
  const wholeMs = performance.now() - started;
  return { ms: ranAt - started, wholeMs, bytes: loopbackBytes() - bytesBefore };
}

/** @returns {Promise<string | null>} why there is no rsync */
async function installRsync() {
  const there = async () => (await runProgram('rsync', ['--version']).catch(() => null)) !== null;
  if (await there()) return null;
  if (process.getuid() !== 0) return 'no rsync here, and only root can install it';
  const options = { timeout: RSYNC_TIMEOUT_MS, env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } };
  for (const args of [['update'], ['install', '-y', '--no-install-recommends', 'rsync']]) {
    const result = await runProgram('apt-get', ['-qq', ...args], options).catch((error) => ({
      code: 1,
      stderr: error.message,
    }));
    if (result.code !== 0) return `apt-get ${args[0]}: ${result.stderr.trim()}`;
  }
  return (await there()) ? null : 'apt-get installed no usable rsync';
}

/** Both ways of getting a tree to where it is wanted. */
class Contest {
  #ssh;
  #folder;
  #submit;

  /** @param submit runs `true` on the peer in that directory */
  constructor(folder, submit, ssh) {
    this.#folder = folder;
    this.#submit = submit;
    this.#ssh = ssh;
  }

  /** @returns when it began to run there, by performance.now() */
  ours(root) {
    return this.#submit(root);
  }

  /** @param how `fresh`: a new ssh connection, as for everybody; `mastered`: one that is there already */
  async rsync(root, name, how) {
    if (this.#ssh === null) return;
    const words =
      how === 'fresh' ? [...this.#ssh.common, '-o', 'ControlPath=none'] : [...this.#ssh.common, '-S', this.#ssh.socket];
    const target = `${this.#ssh.target}:${join(this.#folder, 'rsync', name)}/`;
    const args = ['-a', '--delete', '-e', ['ssh', ...words].join(' '), `${root}/`, target];
    const result = await runProgram('rsync', args, { timeout: RSYNC_TIMEOUT_MS });
    if (result.code !== 0) throw new Error(`rsync ended with ${result.code}: ${result.stderr}`);
  }
}

/** One kind of sync, both ways. `prepare(round)` changes the tree before each. */
async function compare(contest, { rounds, rootOf, prepare = () => undefined, rsync = true }) {
  const ours = [];
  const mastered = [];
  const fresh = [];
  for (let round = 0; round < rounds; round++) {
    prepare(round);
    const root = rootOf(round);
    const name = root.split('/').at(-1);
    ours.push(await measuredJob(contest, root));
    if (!rsync) continue;
    mastered.push(await measured(() => contest.rsync(root, `${name}-m`, 'mastered')));
    fresh.push(await measured(() => contest.rsync(root, `${name}-f`, 'fresh')));
  }
  const middle = (seen) =>
    seen.length === 0
      ? null
      : // What else talks on this machine only adds bytes.
        { ms: percentiles(seen.map(({ ms }) => ms)).p50, bytes: Math.min(...seen.map(({ bytes }) => bytes)) };
  const whole = { ms: percentiles(ours.map(({ wholeMs }) => wholeMs)).p50 };
  return { ours: middle(ours), whole, mastered: middle(mastered), fresh: middle(fresh) };
}

/**
 * @param options.submit `(cwd) => Promise<number>`, a job on the peer: performance.now() when it began to run
 * @param options.groups processes of the origin and of the executor, for their memory
 * @param options.ssh a started LocalSsh, or null
 */
export async function measureSync({ folder, submit, groups, ssh, sizes, step }) {
  const rsyncReason = ssh === null ? 'there is no ssh to compare with' : await installRsync();
  const contest = new Contest(folder, submit, rsyncReason === null ? ssh : null);
  const rsync = rsyncReason === null;
  mkdirSync(join(folder, 'rsync'));
  const at = (name) => join(folder, 'trees', name);

  step(`${sizes.large.files} files`);
  const before = groups.map(residentMib);
  const peaks = [...before];
  const watch = () => {
    groups.forEach((pids, index) => {
      peaks[index] = Math.max(peaks[index], residentMib(pids));
    });
    return 0;
  };
  const large = makeTree(at('large'), sizes.large, 4711);
  const largeFirst = (await peakDuring(watch, () => compare(contest, { rounds: 1, rootOf: () => large, rsync })))
    .result;
  const largeSame = (
    await peakDuring(watch, () => compare(contest, { rounds: sizes.rounds, rootOf: () => large, rsync }))
  ).result;
  const grownMib = peaks.map((peak, index) => peak - before[index]);

  step(`${sizes.small.files} files`);
  const smalls = Array.from({ length: sizes.firstRounds }, (_, round) =>
    makeTree(at(`small-${round}`), sizes.small, round + 1),
  );
  const [small] = smalls;
  const first = await compare(contest, { rounds: sizes.firstRounds, rootOf: (round) => smalls[round], rsync });
  const same = await compare(contest, { rounds: sizes.rounds, rootOf: () => small, rsync });
  const edited = join(small, 'part-0', 'unit-0', 'file-0.c');
  const edit = (round) => writeFileSync(edited, `${readFileSync(edited, 'utf8')}\n// edit ${round}\n`);
  const one = await compare(contest, { rounds: sizes.rounds, rootOf: () => small, prepare: edit, rsync });

  step(`a file of ${Math.round(sizes.bigFileBytes / MIB)} MiB`);
  const big = at('big');
  makeBigFile(big, sizes.bigFileBytes);
  const bigFirst = await compare(contest, { rounds: 1, rootOf: () => big, rsync });
  const path = join(big, 'image.bin');
  const insert = () => insertByte(path);
  const bigInsert = await compare(contest, { rounds: 1, rootOf: () => big, prepare: insert, rsync });
  return {
    sizes,
    rsyncReason,
    largeFirst,
    largeSame,
    grownMib,
    first,
    same,
    one,
    editedBytes: statSync(edited).size,
    bigFirst,
    bigInsert,
  };
}

const ms = (value) => `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ms`;
const size = (bytes) => (bytes < MIB ? `${(bytes / KIB).toFixed(1)} KiB` : `${(bytes / MIB).toFixed(1)} MiB`);
const verdict = (good) => (good ? 'met' : '**missed**');

/** Lines for docs/measurements.md. */
export function syncReport(result) {
  const { sizes, first, same, one, largeFirst, largeSame, bigFirst, bigInsert, grownMib } = result;
  const cell = (value) => (value === null ? '-' : ms(value.ms));
  const sent = (value) => (value === null ? '-' : size(value.bytes));
  const row = (title, { ours, mastered, fresh }, target = '') => [
    title,
    cell(ours),
    cell(mastered),
    cell(fresh),
    target,
  ];
  const sentRow = (title, { ours, mastered, fresh }, target = '') => [
    title,
    sent(ours),
    sent(mastered),
    sent(fresh),
    target,
  ];
  const noSlower = ({ ours, mastered }, factor) =>
    mastered === null ? 'not compared' : verdict(ours.ms <= factor * mastered.ms);
  const small = `${sizes.small.files} files, ${Math.round(sizes.small.bytes / 1e6)} MB`;
  const large = `${sizes.large.files} files`;
  const big = `a file of ${Math.round(sizes.bigFileBytes / MIB)} MiB`;
  const grown = Math.max(...grownMib);
  const rows = [
    row(`${small}: first sync`, first, `≤ rsync: ${noSlower(first, 1)}`),
    row('… nothing changed', same, `≤ 150 ms: ${verdict(same.ours.ms <= 150)}; ≤ 0.6 × rsync: ${noSlower(same, 0.6)}`),
    ['… and until its end, with a look for what it changed', ms(same.whole.ms), '', '', ''],
    row('… one file changed', one, `≤ 1.2 × nothing changed: ${verdict(one.ours.ms <= 1.2 * same.ours.ms)}`),
    sentRow(
      '… bytes over the network for it',
      one,
      `< its size (${size(result.editedBytes)}) + 64 KiB: ${verdict(one.ours.bytes < result.editedBytes + 64 * KIB)}`,
    ),
    row(`${large}: first sync`, largeFirst),
    row('… nothing changed', largeSame, `≤ 1 s: ${verdict(largeSame.ours.ms <= 1000)}`),
    [
      '… memory grown meanwhile, origin · executor',
      grownMib.map((mib) => `${mib.toFixed(0)} MiB`).join(' · '),
      '',
      '',
      `< 100 MB: ${verdict(grown < 95.4)}`,
    ],
    row(`${big}: first sync`, bigFirst),
    row('… one byte inserted in the middle', bigInsert),
    sentRow('… bytes over the network for it', bigInsert, `< 4 MiB: ${verdict(bigInsert.ours.bytes < 4 * MIB)}`),
  ];
  return [
    '## Files of a project',
    '',
    'From the request for a `true` on a peer until it runs there, on the files of its directory, beside `rsync -a --delete` of the same tree over ssh to',
    `the same machine, in turns (medians of ${sizes.firstRounds} first syncs, ${sizes.rounds} of the others, 1 of those of the large trees' first syncs). Bytes are those of the`,
    'loopback interface in both directions, with headers and heartbeats (the fewest of a row). Verdicts are against the rsync that finds its ssh connection open.',
    '',
    '| what | meshwork | rsync, ControlMaster | rsync, fresh ssh | target |',
    '|---|---|---|---|---|',
    ...rows.map((cells) => `| ${cells.join(' | ')} |`),
    ...(result.rsyncReason === null ? [] : ['', `Not compared with rsync: ${result.rsyncReason}.`]),
    ...(sizes.scale === 1 ? [] : ['', `**A trial**: sizes are ${sizes.scale} of the real ones.`]),
    '',
  ];
}
