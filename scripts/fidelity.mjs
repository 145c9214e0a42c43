// Runs the same commands of real projects here and on a peer, and compares: exit code, stdout, and the tree afterwards.
// `node scripts/fidelity.mjs [NAME…]`, after a build. Ends with 0 only if every comparison holds.
import { createHash } from 'node:crypto';
import { cpSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { PROJECTS } from './fidelity-projects.mjs';
import { runOrFail, Sources } from './fidelity-sources.mjs';
import { CLI_PATH, leaveCleanly, LoopbackMesh, plainEnvironment, runProgram } from './loopback-mesh.mjs';

const COMMAND_TIMEOUT_MS = 600_000;
/** The same commits in both copies. */
const WHO = { GIT_AUTHOR_NAME: 'a', GIT_AUTHOR_EMAIL: 'a@b', GIT_COMMITTER_NAME: 'a', GIT_COMMITTER_EMAIL: 'a@b' };
const DATED = { ...WHO, GIT_AUTHOR_DATE: '2026-01-01T00:00:00Z', GIT_COMMITTER_DATE: '2026-01-01T00:00:00Z' };

/** A toolchain that rustup keeps in this user's home is not found from another home. */
const RUST = existsSync(join(homedir(), '.rustup'))
  ? { RUSTUP_HOME: join(homedir(), '.rustup'), CARGO_HOME: join(homedir(), '.cargo') }
  : {};

/** Times and places differ, and nothing else may. */
function masked(text, roots) {
  let plain = text;
  for (const root of roots) plain = plain.replaceAll(root, 'ROOT');
  return plain
    .replace(/\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?/g, 'DATE')
    .replace(/"(startTime|endTime|duration)":\s*[\d.]+/g, '"$1":TIME')
    .replace(/[ \t]*\(?\b\d+(\.\d+)?\s?(ms|s|sec|secs|seconds|m)\b\)?/g, ' TIME')
    .replace(/-[0-9a-f]{16}\b/g, '-HASH');
}

/** Path → kind, bits and content of everything that is not ignored, `.git` left out. */
async function treeOf(root, isGit) {
  const listed = isGit
    ? (await runOrFail('git', ['ls-files', '-co', '--exclude-standard', '-z'], { cwd: root })).split('\0')
    : readdirSync(root, { recursive: true }).filter((path) => !lstatSync(join(root, path)).isDirectory());
  const tree = {};
  for (const path of listed.filter((name) => name !== '').sort()) {
    const stats = lstatSync(join(root, path), { throwIfNoEntry: false });
    if (stats === undefined) continue;
    const content = stats.isSymbolicLink() ? readlinkSync(join(root, path)) : readFileSync(join(root, path));
    const mode = stats.isSymbolicLink() ? 'link' : (stats.mode & 0o777).toString(8);
    tree[path] = `${mode} ${createHash('sha256').update(content).digest('hex').slice(0, 16)}`;
  }
  return tree;
}

const differences = (here, there) =>
  [...new Set([...Object.keys(here), ...Object.keys(there)])].filter((path) => here[path] !== there[path]);

/** A result's bytes in a few words, for the table. */
function shortDifference(here, there) {
  const [a, b] = [here.split('\n'), there.split('\n')];
  const at = a.findIndex((line, index) => line !== b[index]);
  return `line ${at + 1}: here ${JSON.stringify(a[at]?.slice(0, 120))}, there ${JSON.stringify(b[at]?.slice(0, 120))}`;
}

async function isThere(program) {
  const { code } = await runProgram('bash', ['-c', `command -v ${program}`], { env: plainEnvironment() });
  return code === 0;
}

async function prepare(project, sources, folder) {
  const original = join(folder, 'original', project.name);
  await project.fetch(sources, original);
  const root = (side) => join(folder, side, project.name);
  for (const side of ['here', 'there']) {
    mkdirSync(join(folder, side), { recursive: true });
    cpSync(original, root(side), { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
    if (project.git === false) continue;
    const git = (...args) =>
      runOrFail('git', ['-c', 'init.defaultBranch=main', ...args], {
        cwd: root(side),
        env: { ...plainEnvironment(), ...DATED },
      });
    await git('init', '-q');
    await git('add', '-A');
    await git('commit', '-qm', 'as released');
    if (project.tag !== undefined) await git('tag', '-a', project.tag, '-m', project.tag);
  }
  return root;
}

/** @returns {Promise<string[]>} what differs: empty when the promise holds */
async function compare(project, mesh, sources) {
  const root = await prepare(project, sources, mesh.folder);
  const problems = [];
  const cwdOf = (side) => join(root(side), project.folder ?? '');
  for (const [index, command] of project.commands.entries()) {
    const env = { ...mesh.environmentOf('here'), LC_ALL: 'C.UTF-8', NO_COLOR: '1', CI: '1', ...RUST };
    const options = { timeout: COMMAND_TIMEOUT_MS, env };
    delete env.MESHWORK_HOME;
    const here = await runProgram('bash', ['-c', command], { ...options, cwd: cwdOf('here') });
    const passed = ['NO_COLOR', ...Object.keys(RUST)].flatMap((name) => ['--env', name]);
    const words = [CLI_PATH, '--home', mesh.homes.get('here'), 'run', '--json', '--on', 'there', ...passed];
    const answer = await runProgram(process.execPath, [...words, '--', command], { ...options, cwd: cwdOf('there') });
    const run = JSON.parse(answer.stdout);
    const where = `command ${index + 1}`;
    if (run.error !== undefined) {
      problems.push(`${where}: ${run.error.message}`);
      break;
    }
    if (run.return_code !== here.code) problems.push(`${where}: exit ${here.code} here, ${run.return_code} there`);
    const inside = run.cwd.slice(0, run.cwd.length - (project.folder === undefined ? 0 : project.folder.length + 1));
    const [out, outThere] = [masked(here.stdout, [root('here')]), masked(run.stdout, [inside, root('there')])];
    if (out !== outThere) problems.push(`${where}: stdout differs at ${shortDifference(out, outThere)}`);
    const { conflicts, held_back: heldBack } = run.changes;
    if (conflicts.length + heldBack.length > 0) problems.push(`${where}: not returned: ${[...conflicts, ...heldBack]}`);
    const isGit = project.git !== false;
    const differing = differences(await treeOf(root('here'), isGit), await treeOf(root('there'), isGit));
    if (differing.length > 0) problems.push(`${where}: ${differing.length} files differ: ${differing.slice(0, 5)}`);
    if (problems.length > 0) problems.push(`  stderr there: ${run.stderr.trim().split('\n').slice(-3).join(' | ')}`);
  }
  return problems;
}

const mesh = new LoopbackMesh('mw-fidelity-');
let removing = null;
const removeOnce = () => (removing ??= mesh.remove());
const leaving = leaveCleanly(removeOnce);
const wanted = process.argv.slice(2);
const counts = { same: 0, different: 0, absent: 0 };
try {
  await mesh.start('here');
  // A home that has nothing of this one.
  const home = join(mesh.folder, 'home-there');
  mkdirSync(home);
  await mesh.start('there', { environment: { HOME: home } });
  await mesh.pair('here', 'there');
  await mesh.linked();
  mkdirSync(join(mesh.folder, 'sources'));
  const sources = new Sources(join(mesh.folder, 'sources'));
  for (const project of PROJECTS.filter(({ name }) => wanted.length === 0 || wanted.includes(name))) {
    const absent = [];
    for (const program of project.needs) if (!(await isThere(program))) absent.push(program);
    const started = performance.now();
    const problems = absent.length > 0 ? [] : await compare(project, mesh, sources);
    const kind = absent.length > 0 ? 'absent' : problems.length > 0 ? 'different' : 'same';
    counts[kind] += 1;
    const label = kind === 'absent' ? `left out: no ${absent.join(', ')} here` : kind;
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    console.log(`${project.name.padEnd(10)} ${project.what.padEnd(58)} ${label}  (${seconds} s)`);
    for (const problem of problems) console.log(`  ${problem}`);
  }
} catch (error) {
  console.error(`scripts/fidelity: ${error.message}`);
  counts.different += 1;
}
for (const problem of await removeOnce()) console.error(`scripts/fidelity: ${problem}`);
if (!leaving()) {
  console.log(`${counts.same} the same, ${counts.different} different, ${counts.absent} left out`);
  process.exitCode = counts.different === 0 && counts.same > 0 ? 0 : 1;
}
