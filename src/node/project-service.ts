import { existsSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { join, posix, relative, resolve } from 'node:path';
import { bytesOfText, textOfBytes } from '../base/byte-text.ts';
import { MeshError, messageOf } from '../base/errors.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import { literalGlob } from '../base/literal-glob.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { Classification } from '../core/policy/classify.ts';
import { wordsOf } from '../core/policy/command-walk.ts';
import { quoteWord } from '../core/policy/package-runner.ts';
import { lookupNode } from '../core/scheduling/node-lookup.ts';
import type { JobClass, StaysHere, WorkspaceTerms } from '../core/scheduling/placement-request.ts';
import { isInProduct } from '../core/workspace/newest-products.ts';
import type { Project, ProjectFiles, Scan, ScanRefusal, ScanRequest } from '../ports/workspace.ts';
import { GLOB_CHARS_MAX, OUTPUT_GLOBS_MAX } from '../wire/changes.ts';
import type { JobSpec, SyncSpec } from '../wire/job-spec.ts';
import type { PrepareStep } from '../wire/workspace.ts';
import { namesOf } from './api-changes.ts';
import type { Config } from './config-schema.ts';
import { nowMs } from './core-loop.ts';
import { planPreparation } from './preparation-plan.ts';
import type { ProjectBook } from './project-book.ts';
import { leadsUp, readProjectSettings, type ProjectSettings } from './project-settings.ts';
import { ScanQueue } from './scan-queue.ts';
import type { SecretDecisions } from './secret-decisions.ts';

/** A scan that began longer ago is made again before its files are sent. */
const SCAN_AGE_MS_MAX = 1000;
const NAMES_SHOWN_MAX = 5;

export interface ProjectServiceOptions {
  readonly files: ProjectFiles;
  readonly book: ProjectBook;
  readonly secrets: SecretDecisions;
  readonly config: Pick<Config, 'workspaces'>;
  readonly self: () => { readonly id: NodeId; readonly name: string };
  /** No other node could take anything. */
  readonly isAlone: () => boolean;
}

/** A job's project, as it was when it was last looked at. */
export interface JobProject {
  readonly project: Project;
  /** The job's directory below the root, one character per byte. */
  readonly folder: string;
  readonly sync: SyncSpec;
  readonly settings: ProjectSettings;
  readonly scan: Scan;
  readonly scannedAtMs: number;
  readonly prepare: readonly PrepareStep[];
  /** Globs relative to the root, those of the settings first. */
  readonly outputs: readonly string[];
}

/** What the origin knows of the projects of its jobs. */
export class ProjectService {
  readonly #options: ProjectServiceOptions;
  readonly #scans: ScanQueue;
  /** Of jobs that may be sent: forgotten when they finish. */
  readonly #jobs = new Map<JobId, JobProject>();
  /** Of them, and of those that stay here: what may make products, in projects whose newest ones are elsewhere. */
  readonly #makers = new Map<JobId, Pick<Project, 'key' | 'root'>>();

  constructor(options: ProjectServiceOptions) {
    this.#options = options;
    this.#scans = new ScanQueue(options.files);
  }

  /**
   * Looks at the project of a job, where its files may have to be sent.
   *
   * @returns null where the same-files rule holds: no project, `--no-sync`, or nobody else takes it
   * @throws MeshError `no_project` where a named root is none, `bad_config`
   */
  async terms(job: JobId, spec: JobSpec, jobClass: JobClass): Promise<WorkspaceTerms | null> {
    const { sync } = spec;
    if (jobClass === 'heavy' || jobClass === 'other') this.#noteMaker(job, spec.cwd);
    if (sync === null || !this.#mayLeave(spec, jobClass)) return null;
    const found = await this.#options.files.findProject(spec.cwd, sync.root);
    if (!found.ok) throw new MeshError('no_project', found.error.message);
    const project = found.value;
    if (project === null) return null;
    const folder = await folderBelow(project, spec.cwd);
    const settings = readProjectSettings(project.root);
    const looked = await this.#look({ project, folder, sync, settings }, spec);
    if (!looked.ok) return cannotBeSent(looked.error);
    this.#jobs.set(job, looked.value);
    return this.#termsOf(looked.value);
  }

  /**
   * The project of a job as it is now, before its files are sent.
   *
   * @returns null where nothing is known of it: this daemon started again after it was prepared
   */
  async fresh(job: JobId, spec: JobSpec): Promise<Result<JobProject, ScanRefusal> | null> {
    const known = this.#jobs.get(job);
    if (known === undefined) return null;
    if (nowMs() - known.scannedAtMs <= SCAN_AGE_MS_MAX) return ok(known);
    const looked = await this.#look({ ...known, settings: readProjectSettings(known.project.root) }, spec);
    if (looked.ok) this.#jobs.set(job, looked.value);
    if (looked.ok) return ok(looked.value);
    const { error } = looked;
    return err(
      error.code === 'needs_prepare' ? { code: 'unstable', message: error.message } : { ...error, code: error.code },
    );
  }

  /** Something of it is not what it was when it was looked at: next time it is looked at again, however soon that is. */
  outdated(job: JobId): void {
    const known = this.#jobs.get(job);
    if (known !== undefined) this.#jobs.set(job, { ...known, scannedAtMs: Number.NEGATIVE_INFINITY });
  }

  /** @param ranHere it may have made the newest products of its project */
  forget(job: JobId, ranHere = false): void {
    this.#jobs.delete(job);
    const project = this.#makers.get(job);
    this.#makers.delete(job);
    if (project !== undefined && ranHere && this.#areHere(project)) this.#options.book.productsAre(project, null);
  }

  /**
   * What may mislead a command that stays here whatever its project's files are: what it names was made elsewhere, later.
   *
   * @returns for people; null where nothing of that is so
   */
  missedHere({ cwd, command, ...spec }: JobSpec, { class: jobClass, tools }: Classification): string | null {
    const project = this.#options.book.awayFrom(cwd);
    const products = project === null ? null : this.#options.book.productsAt(project);
    if (project === null || products === null || this.#mayLeave({ cwd, command, ...spec }, jobClass)) return null;
    // Publishing takes what is there, and names nothing of it.
    const isPublished = jobClass === 'bound' && tools.some((tool) => tool !== 'git');
    const named = namedPaths(wordsOf(command), cwd).map((path) => relative(project.root, path));
    if (!isPublished && !named.some((path) => isInProduct(path, products.paths))) return null;
    return `stays here, where the project's newest products (${products.what}) are not: what is here is older, or missing`;
  }

  /** Were they made here? A command that does not find them here ended here, too. */
  #areHere(project: Pick<Project, 'key' | 'root'>): boolean {
    const paths = this.#options.book.productsAt(project)?.paths ?? [];
    return paths.length === 0 || paths.some((path) => existsSync(join(project.root, path)));
  }

  /** What a scan of that project is asked for, with the options of a job. */
  request(project: Project, settings: ProjectSettings, options: Pick<SyncSpec, 'include' | 'exclude'>): ScanRequest {
    const { ship } = settings;
    const { files_max: filesMax, project_bytes_max: bytesMax } = this.#options.config.workspaces;
    return {
      project,
      ship: {
        include: [...ship.include, ...options.include],
        exclude: [...ship.exclude, ...options.exclude],
        ignored: ship.ignored,
        git: ship.git,
      },
      secrets: this.#options.secrets.of(project.root),
      filesMax,
      bytesMax,
    };
  }

  #noteMaker(job: JobId, cwd: string): void {
    const project = this.#options.book.awayFrom(cwd);
    if (project !== null) this.#makers.set(job, project);
  }

  async #look(
    of: Pick<JobProject, 'project' | 'folder' | 'sync' | 'settings'>,
    spec: JobSpec,
  ): Promise<Result<JobProject, Refusal>> {
    const { project, folder, sync, settings } = of;
    const astray = [...sync.include, ...sync.exclude].find(leadsUp);
    if (astray !== undefined) {
      const remedy = `globs of --include and --exclude are relative to the project's root, ${project.root}, without ".."`;
      throw new MeshError('bad_argument', `${astray}: ${remedy}; nothing was run`);
    }
    const request = this.request(project, settings, sync);
    const first = await this.#scans.scan(request);
    // Files that went while they were read, as of `git gc`: a second look mostly finds them at rest.
    const isUnstable = !first.result.ok && first.result.error.code === 'unstable';
    const { result, atMs } = isUnstable ? await this.#scans.scan(request) : first;
    if (!result.ok) return result;
    const plan = planPreparation(project.root, result.value, settings, spec.command, folder);
    if (!plan.ok) return plan;
    const outputs = [
      ...settings.outputs,
      ...sync.outputs.map((glob) => globBelow({ ...project, cwd: spec.cwd, folder: textOfBytes(folder) }, glob)),
    ];
    if (outputs.length > OUTPUT_GLOBS_MAX) {
      throw new MeshError('limit', `more than ${OUTPUT_GLOBS_MAX} globs of outputs; nothing was run`);
    }
    return ok({ project, folder, sync, settings, scan: result.value, scannedAtMs: atMs, prepare: plan.value, outputs });
  }

  async #termsOf({ project, scan }: JobProject): Promise<WorkspaceTerms> {
    const { files, book } = this.#options;
    const bytes = new Map<NodeId, number>();
    for (const { node, manifest } of book.warm(project)) {
      bytes.set(node, manifest === scan.manifest ? 0 : (await files.cost(scan.manifest, manifest)).bytes);
    }
    return {
      staysHere: whyHere(scan),
      refused: null,
      bytesTo: (node) => bytes.get(node) ?? scan.bytes,
      productsAt: book.productsAt(project),
    };
  }

  /** Is there a way that its files would be sent? */
  #mayLeave({ target, requires }: JobSpec, jobClass: JobClass): boolean {
    if (this.#options.isAlone()) return false;
    const { id, name } = this.#options.self();
    switch (target.kind) {
      case 'local':
        return false;
      case 'node':
        // As placement reads names: one letter is no beginning of an id, even where this node's id begins so.
        return !lookupNode(target.node, [{ id, name, state: 'alive' }]).ok;
      case 'any':
        return jobClass !== 'bound';
      case 'bash': {
        const { os, arch, capabilities, cpus, memory_bytes: memory } = requires;
        const isBinding = os !== null || arch !== null || capabilities.length > 0 || cpus !== null || memory !== null;
        return jobClass !== 'bound' && (jobClass !== 'light' || isBinding);
      }
    }
  }
}

interface Refusal {
  readonly code: ScanRefusal['code'] | 'needs_prepare';
  readonly message: string;
}

/** Automatic routing keeps it here, a named node is refused. */
function cannotBeSent({ code, message }: Refusal): WorkspaceTerms {
  const known = code === 'too_large' || code === 'needs_prepare' ? code : 'sync';
  const reason = { code: known, text: message } as const;
  return { staysHere: reason, refused: reason, bytesTo: () => 0, productsAt: null };
}

/** @throws MeshError `no_project` where the job's directory does not lie in the project that `--sync` names */
async function folderBelow(project: Project, cwd: string): Promise<string> {
  let real: string;
  try {
    real = await realpath(cwd);
  } catch (error) {
    // What a decoder puts in the place of bytes that it does not understand.
    const why = cwd.includes('\uFFFD') ? 'its name is not UTF-8: meshwork passes paths on as text' : messageOf(error);
    throw new MeshError('cwd_missing', `${cwd} cannot be found (${why}); nothing was run`, error);
  }
  const below = relative(project.root, real);
  if (below === '..' || below.startsWith('../')) {
    throw new MeshError('no_project', `${cwd} does not lie in ${project.root}, which --sync names; nothing was run`);
  }
  return bytesOfText(below);
}

/** The directory of a command, and what its words may name: a path, or an option with one behind `=`. @returns absolute */
export const namedPaths = (words: readonly string[], cwd: string): string[] =>
  ['', ...words].flatMap((word) => [word, word.slice(word.indexOf('=') + 1)]).map((word) => resolve(cwd, word));

/**
 * @param at `cwd` as it was given, which may lead through links, and its folder below the root
 * @throws MeshError `bad_argument` for what lies outside of the project, or is too long there
 */
function globBelow(at: { readonly root: string; readonly cwd: string; readonly folder: string }, glob: string): string {
  const isNot = glob.startsWith('!');
  const given = isNot ? glob.slice(1) : glob;
  const below = (top: string): string | null =>
    given === top || given.startsWith(`${top}/`) ? `.${given.slice(top.length)}` : null;
  // First: its name may have characters that mean something in globs.
  const ofCwd = below(at.cwd);
  const ofRoot = ofCwd === null ? below(at.root) : null;
  const joined = ofRoot === null ? posix.join(literalGlob(at.folder), ofCwd ?? given) : posix.normalize(ofRoot);
  // The root itself is no name that a pattern could fit.
  const path = /^\.\/?$/.test(joined) ? '**' : joined;
  if (path === '..' || path.startsWith('../') || /^\/+$/.test(path)) {
    throw new MeshError('bad_argument', `the output ${glob} lies outside of the project; nothing was run`);
  }
  const whole = `${isNot ? '!' : ''}${path}`;
  if (whole.length > GLOB_CHARS_MAX) {
    const size = `has ${whole.length} characters from the project's root on, more than ${GLOB_CHARS_MAX}`;
    throw new MeshError('bad_argument', `the output ${glob} ${size}; nothing was run`);
  }
  return whole;
}

/** What a command might miss there keeps it here, where no node was named. */
function whyHere({ undecided: secrets, outward }: Scan): StaysHere | null {
  if (secrets.length > 0) return { code: 'secrets', text: undecided(secrets) };
  return outward.length > 0 ? { code: 'sync', text: leadsOut(outward) } : null;
}

function leadsOut(links: readonly string[]): string {
  const shown = namesOf(links, links.length, NAMES_SHOWN_MAX);
  const [verb, pronoun] = links.length === 1 ? ['leads', 'it'] : ['lead', 'them'];
  return `${shown} ${verb} out of the project, and what is behind ${pronoun} would be missing there: leave ${pronoun} out (.meshworkignore, --exclude) where commands do without`;
}

function undecided(files: readonly string[]): string {
  const shown = files.slice(0, NAMES_SHOWN_MAX);
  const more = files.length > shown.length ? ` and ${files.length - shown.length} more` : '';
  const names = shown.join(', ');
  const verb = files.length === 1 ? 'is' : 'are';
  // To be copied into a shell: a name may begin with a dash, too.
  const words = shown.map((name) => quoteWord(name.startsWith('-') ? `./${name}` : name));
  return `${names}${more} ${verb} not tracked, and nobody has decided whether such secrets go along: \`meshwork secrets send ${words.join(' ')}\` sends them with this project, \`meshwork secrets skip …\` leaves them out`;
}
