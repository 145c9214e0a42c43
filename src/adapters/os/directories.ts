import { realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, relative } from 'node:path';
import { MeshError, systemCodeOf } from '../../base/errors.ts';
import type { Directories } from '../../ports/system.ts';
import type { CwdEvidence } from '../../wire/job-spec.ts';
import { createGitCheckouts, type GitCheckout, type GitCheckouts } from './git-checkout.ts';
import { readBootId } from './process-identity.ts';

export interface DirectoriesOptions {
  /** The home of the user that jobs run as. */
  readonly home: string;
  /** The environment of jobs: git is taken from its PATH. */
  readonly env: Readonly<Record<string, string>>;
  /** Set where jobs run as another user than this process: git looks as that one. */
  readonly user?: { readonly uid: number; readonly gid: number } | null;
  /** Only tests give another than this machine's own. */
  readonly bootId?: string | null;
  /** For each look of git, 2 s if not given; only tests are more patient. */
  readonly timeoutMs?: number;
}

/** {@link Directories} of this machine, with a cheaper way where the git state of a directory is of no use. */
export interface LocalDirectories extends Directories {
  /** `git: false` leaves out what costs milliseconds: for explicit targets, which map the path and prove nothing. */
  evidence(cwd: string, options?: { readonly git: boolean }): Promise<CwdEvidence>;
}

/** Gathers and judges what proves that a directory here is the one that a job was submitted in. */
export function createDirectories(options: DirectoriesOptions): LocalDirectories {
  return new MachineDirectories(options);
}

type Resolved = Awaited<ReturnType<Directories['resolve']>>;

class MachineDirectories implements LocalDirectories {
  readonly #home: string;
  readonly #bootId: string | null;
  readonly #checkouts: GitCheckouts;

  constructor(options: DirectoriesOptions) {
    this.#home = options.home;
    this.#bootId = options.bootId === undefined ? readBootId() : options.bootId;
    this.#checkouts = createGitCheckouts(options);
  }

  async evidence(cwd: string, options = { git: true }): Promise<CwdEvidence> {
    if (!isAbsolute(cwd))
      throw new MeshError('cwd_missing', `The directory "${cwd}" is not an absolute path; nothing was run.`);
    const found = await lookAt(cwd);
    if (typeof found === 'string') {
      throw new MeshError('cwd_missing', `The directory "${cwd}" ${found}; nothing was run. Give another with --cwd.`);
    }
    const checkout = options.git ? await this.#checkouts.look(cwd) : null;
    const clean = checkout !== null && checkout.commit !== null;
    return {
      path: cwd,
      home_relative: await this.#homeRelative(cwd),
      boot_id: this.#bootId,
      device: found.device,
      inode: found.inode,
      clean_commit: clean ? checkout.commit : null,
      git_prefix: clean ? checkout.prefix : null,
    };
  }

  async resolve(evidence: CwdEvidence, explicit: boolean): Promise<Resolved> {
    return explicit ? this.#resolveExplicit(evidence) : this.#resolveProven(evidence);
  }

  async #resolveExplicit(evidence: CwdEvidence): Promise<Resolved> {
    const cwd = evidence.home_relative === null ? evidence.path : this.#underHome(evidence.home_relative);
    if (cwd === null) return refuse('cwd_missing', `"${evidence.home_relative ?? ''}" leads out of the home here`);
    const found = await lookAt(cwd);
    if (typeof found !== 'string') return { ok: true, cwd };
    const from = cwd === evidence.path ? '' : ` (for "${evidence.path}" at the origin)`;
    return refuse('cwd_missing', `the directory "${cwd}"${from} ${found} here`);
  }

  async #resolveProven(evidence: CwdEvidence): Promise<Resolved> {
    if (!isAbsolute(evidence.path)) return refuse('files', `"${evidence.path}" is not an absolute path`);
    const here = await lookAt(evidence.path);
    if (this.#isSame(evidence, here)) return { ok: true, cwd: evidence.path };
    if (evidence.clean_commit === null) {
      const state = typeof here === 'string' ? here : 'is another directory';
      return refuse('files', `"${evidence.path}" ${state} here, and at the origin it is no clean git checkout`);
    }
    const mapped = evidence.home_relative === null ? null : this.#underHome(evidence.home_relative);
    const reasons: string[] = [];
    for (const candidate of new Set([evidence.path, ...(mapped === null ? [] : [mapped])])) {
      const found = candidate === evidence.path ? here : await lookAt(candidate);
      const reason =
        typeof found === 'string' ? `"${candidate}" ${found} here` : await this.#whyOtherFiles(candidate, evidence);
      if (reason === null) return { ok: true, cwd: candidate };
      reasons.push(reason);
    }
    return refuse('files', reasons.join('; '));
  }

  #isSame(evidence: CwdEvidence, here: Place | string): boolean {
    // Device numbers are the kernel's: they compare within one boot of one kernel, across containers too.
    const sameKernel = evidence.boot_id !== null && evidence.boot_id === this.#bootId;
    return sameKernel && typeof here !== 'string' && here.device === evidence.device && here.inode === evidence.inode;
  }

  /** Null where the directory is the same part of a clean checkout of the same commit. */
  async #whyOtherFiles(candidate: string, evidence: CwdEvidence): Promise<string | null> {
    const checkout: GitCheckout | null = await this.#checkouts.look(candidate);
    if (checkout === null) return `"${candidate}" is another directory here, in no git work tree`;
    if (checkout.commit === null) return `"${candidate}" is no clean git checkout here: ${checkout.why}`;
    if (checkout.commit !== evidence.clean_commit) {
      const [there, here] = [(evidence.clean_commit ?? '').slice(0, 12), checkout.commit.slice(0, 12)];
      return `"${candidate}" is at commit ${here} here and at ${there} at the origin`;
    }
    if (checkout.prefix !== evidence.git_prefix) return `"${candidate}" is another part of its work tree here`;
    return null;
  }

  /** Lexically, then without symbolic links on either side: a home may be one. */
  async #homeRelative(cwd: string): Promise<string | null> {
    // A service account's home may be `/`: that everything lies under it means nothing elsewhere.
    if (this.#home === '/') return null;
    return (
      below(this.#home, cwd) ?? below((await realOrNull(this.#home)) ?? this.#home, (await realOrNull(cwd)) ?? cwd)
    );
  }

  #underHome(homeRelative: string): string | null {
    if (isAbsolute(homeRelative)) return null;
    const path = homeRelative === '' ? this.#home : join(this.#home, homeRelative);
    return below(this.#home, path) === null ? null : path;
  }
}

interface Place {
  readonly device: string;
  readonly inode: string;
}

/** The directory's numbers, or what is wrong with the path, as the end of a sentence. */
async function lookAt(path: string): Promise<Place | string> {
  try {
    const stats = await stat(path, { bigint: true });
    return stats.isDirectory() ? { device: String(stats.dev), inode: String(stats.ino) } : 'is not a directory';
  } catch (error) {
    switch (systemCodeOf(error)) {
      case 'ENOENT':
        // What a decoder puts in the place of bytes that it does not understand.
        return path.includes('\uFFFD')
          ? 'has a name that is not UTF-8, or does not exist: meshwork passes paths on as text'
          : 'does not exist';
      case 'ENOTDIR':
        return 'does not exist (a part of its path is a file)';
      case 'EACCES':
        return 'may not be entered by this user';
      case 'ELOOP':
      case 'ENAMETOOLONG':
      case 'EIO':
      case 'ESTALE':
        return `cannot be read (${systemCodeOf(error)})`;
      default:
        throw error;
    }
  }
}

function below(parent: string, path: string): string | null {
  const rest = relative(parent, path);
  return rest === '..' || rest.startsWith('../') || isAbsolute(rest) ? null : rest;
}

async function realOrNull(path: string): Promise<string | null> {
  try {
    return await realpath(path);
  } catch (error) {
    if (['ENOENT', 'EACCES', 'ENOTDIR', 'ELOOP'].includes(systemCodeOf(error))) return null;
    throw error;
  }
}

function refuse(code: 'files' | 'cwd_missing', message: string): Resolved {
  return { ok: false, code, message };
}
