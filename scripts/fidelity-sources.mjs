// Where the fidelity check's projects come from: Debian source packages and npm tarballs, by their ordinary clients. The
// machine's own package lists stay as they are.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { plainEnvironment, runProgram } from './loopback-mesh.mjs';

const FETCH_TIMEOUT_MS = 300_000;
const SOURCES_FOLDER = '/etc/apt/sources.list.d';

export async function runOrFail(file, args, options = {}) {
  const result = await runProgram(file, args, { timeout: FETCH_TIMEOUT_MS, env: plainEnvironment(), ...options });
  if (result.code !== 0) throw new Error(`${file} ${args.join(' ')} ended with ${result.code}: ${result.stderr}`);
  return result.stdout;
}

/** This machine's own archives, with sources. @returns text for apt's sources folder, null where this is no Debian */
function sourceArchives() {
  const texts = [];
  if (existsSync(SOURCES_FOLDER)) {
    for (const name of readdirSync(SOURCES_FOLDER)) {
      if (!name.endsWith('.sources')) continue;
      texts.push(readFileSync(join(SOURCES_FOLDER, name), 'utf8').replace(/^Types:.*$/gm, 'Types: deb-src'));
    }
  }
  return texts.length === 0 ? null : texts.join('\n\n');
}

export class Sources {
  #folder;
  #apt = null;

  /** @param folder an empty one, for what is fetched */
  constructor(folder) {
    this.#folder = folder;
  }

  /** Unpacks a Debian source package's upstream tarball into `into`, which is made. */
  async debian(name, into) {
    this.#apt ??= this.#prepareApt();
    const options = await this.#apt;
    const cwd = join(this.#folder, `deb-${name}`);
    mkdirSync(cwd, { recursive: true });
    await runOrFail('apt-get', [...options, 'source', '--tar-only', '--download-only', '-qq', name], { cwd });
    const tarball = readdirSync(cwd).find((file) => /\.orig\.tar\.\w+$/.test(file));
    if (tarball === undefined) throw new Error(`the source package ${name} has no upstream tarball`);
    mkdirSync(into, { recursive: true });
    await runOrFail('tar', ['-xf', join(cwd, tarball), '--strip-components=1', '-C', into]);
  }

  /** Unpacks an npm package's tarball into `into`, which is made. @param spec name@version */
  async npm(spec, into) {
    const cwd = join(this.#folder, `npm-${spec.replace(/[^\w.-]/g, '_')}`);
    mkdirSync(cwd, { recursive: true });
    const stdout = await runOrFail('npm', ['pack', spec, '--json', '--loglevel=error'], { cwd });
    const [{ filename }] = JSON.parse(stdout);
    mkdirSync(into, { recursive: true });
    await runOrFail('tar', ['-xf', join(cwd, filename), '--strip-components=1', '-C', into]);
  }

  async #prepareApt() {
    const text = sourceArchives();
    if (text === null) throw new Error('source packages come from Debian: this machine has no /etc/apt/sources.list.d');
    const [parts, lists] = ['parts', 'lists'].map((name) => join(this.#folder, name));
    mkdirSync(parts);
    mkdirSync(join(lists, 'partial'), { recursive: true });
    writeFileSync(join(parts, 'source.sources'), text);
    const options = [
      ['Dir::Etc::SourceList', '/dev/null'],
      ['Dir::Etc::SourceParts', parts],
      ['Dir::State::Lists', lists],
      ['APT::Sandbox::User', 'root'],
    ].flatMap(([key, value]) => ['-o', `${key}=${value}`]);
    await runOrFail('apt-get', [...options, 'update', '-qq']);
    return options;
  }
}
