import { existsSync, lstatSync, statSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { bytesOfText, textOfBytes } from '../base/byte-text.ts';
import { MeshError } from '../base/errors.ts';
import { escapeControls } from '../base/escape.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import type { Project, ProjectFiles, ScanRequest, WorkspaceFiles } from '../ports/workspace.ts';
import type { ApiParams, ApiResults } from '../wire/api.ts';
import type { JobRecord } from '../wire/job-record.ts';
import type { LocalProjects } from './local-projects.ts';
import type { ProjectHandlers } from './project-handlers.ts';
import { readProjectSettings } from './project-settings.ts';
import type { SecretDecision } from '../core/workspace/decided-secrets.ts';

export interface ProjectRequestsOptions {
  readonly files: Pick<ProjectFiles, 'findProject' | 'scan'> & Pick<WorkspaceFiles, 'list' | 'remove'>;
  readonly projects: LocalProjects;
  /** Jobs that were submitted here, by the beginning of their ids. */
  readonly find: (prefix: string) => readonly JobRecord[];
  /** '' where it is not known. */
  readonly nameOf: (node: NodeId) => string;
}

/** Answers what fronts ask of projects' files. */
export class ProjectRequests implements ProjectHandlers {
  readonly #options: ProjectRequestsOptions;

  constructor(options: ProjectRequestsOptions) {
    this.#options = options;
  }

  async apply({ job: name }: ApiParams<'apply'>, signal: AbortSignal): Promise<ApiResults['apply']> {
    const { projects } = this.#options;
    const job = this.#jobOf(name);
    const giveUp = (): void => projects.giveUp(job);
    signal.addEventListener('abort', giveUp);
    try {
      const { changes, notices } = await projects.applyHeld(job);
      return { job, changes, notices };
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  }

  async workspaces(): Promise<ApiResults['workspaces']> {
    const { workspaces, storeBytes } = await this.#options.files.list();
    return {
      notices: [],
      workspaces: workspaces.map(({ name, origin, root, slots, inUse, bytes, usedMs }) => ({
        name,
        origin: this.#options.nameOf(origin),
        origin_id: origin,
        root,
        slots,
        in_use: inUse,
        bytes,
        used_ms: usedMs,
      })),
      store_bytes: storeBytes,
    };
  }

  async remove({ names }: ApiParams<'workspaces_rm'>): Promise<ApiResults['workspaces_rm']> {
    const { removed, bytes } = await this.#options.files.remove(names.length === 0 ? null : names);
    const kept = names.filter((name) => !removed.includes(name));
    const notices = kept.length === 0 ? [] : [`not removed, since a job uses it or it is unknown: ${kept.join(', ')}`];
    return { removed: [...removed], bytes, notices };
  }

  async secrets({ cwd, decision, files }: ApiParams<'secrets'>): Promise<ApiResults['secrets']> {
    const found = await this.#options.files.findProject(cwd, null);
    if (!found.ok) throw new MeshError('no_project', found.error.message);
    const project = found.value;
    if (project === null) throw new MeshError('no_project', `${cwd} lies in no project; nothing was changed`);
    const { secrets } = this.#options.projects;
    const paths = files.map((file) => pathBelow(project, cwd, file));
    const decided = new Map(Object.entries(secrets.of(project.root)));
    for (const path of paths) {
      if (decision === 'ask') decided.delete(path);
      else decided.set(path, decision);
    }
    const { undecided, skipped, tracked, dependencies, notices } = await this.#look(
      project,
      Object.fromEntries(decided),
    );
    const prepared = paths.find((path) => dependencies.some((folder) => path.startsWith(`${folder}/`)));
    if (decision === 'send' && prepared?.endsWith('/') === true)
      throw new MeshError('bad_argument', isPrepared(prepared));
    const isTracked = (path: string): boolean => tracked.includes(escapeControls(textOfBytes(path)));
    const wanted = paths.filter((path) => decision !== 'ask' && isTracked(path)).map((path) => textOfBytes(path));
    if (decision === 'skip' && wanted.length > 0) throw new MeshError('bad_argument', alwaysSent(wanted));
    const deciding = paths.filter((path) => !wanted.includes(textOfBytes(path)));
    if (deciding.length > 0) secrets.decide(project.root, deciding, decision === 'ask' ? null : decision);
    const all = new Map<string, SecretDecision | null>(undecided.map((path) => [path, null]));
    for (const path of skipped) all.set(path, 'skip');
    for (const [path, one] of decided) if (!isTracked(path)) all.set(textOfBytes(path), one);
    const missing = paths.filter((path) => !isThere(project, path)).map((path) => textOfBytes(path));
    if (missing.length > 0) notices.push(`not there now: ${missing.join(', ')}`);
    if (tracked.length > 0) notices.push(`tracked, so sent whatever is decided: ${tracked.join(', ')}`);
    return {
      root: project.root,
      notices,
      files: [...all].map(([path, one]) => ({ path, decision: one })).toSorted((a, b) => (a.path < b.path ? -1 : 1)),
    };
  }

  /** What becomes of the project's secrets by these decisions. */
  async #look(project: Project, decided: ScanRequest['secrets']) {
    const options = { include: [], exclude: [] };
    const request = this.#options.projects.service.request(project, readProjectSettings(project.root), options);
    const scanned = await this.#options.files.scan({ ...request, secrets: decided });
    if (!scanned.ok) {
      const notices = [`the project cannot be looked through: ${scanned.error.message}`];
      return { undecided: [], skipped: [], tracked: [], dependencies: [], notices };
    }
    const { undecided, withheld, tracked, dependencies } = scanned.value;
    return {
      undecided,
      skipped: withheld.filter((path) => !undecided.includes(path)),
      tracked,
      dependencies: dependencies.map(({ folder }) => bytesOfText(folder)),
      notices: [] as string[],
    };
  }

  #jobOf(name: string): JobId {
    const [record, ...more] = this.#options.find(name.toUpperCase());
    if (record === undefined) {
      const remedy = 'changes are applied where the job was submitted; `meshwork jobs` shows where that was';
      throw new MeshError('job_unknown', `no job ${name} was submitted here: ${remedy}; nothing was changed`);
    }
    if (more.length > 0)
      throw new MeshError('job_ambiguous', `${more.length + 1} jobs begin with ${name}; give more of it`);
    if (record.state !== 'finished') {
      throw new MeshError('nothing_to_apply', `job ${record.job} has not finished; nothing was changed`);
    }
    return record.job;
  }
}

function alwaysSent(files: readonly string[]): string {
  const names = files.map((file) => escapeControls(file)).join(', ');
  const remedy = 'name it in .meshworkignore, or take it out of git (`git rm --cached FILE`, and a line in .gitignore)';
  return `${names}: in git's index, and tracked files always go along; nothing was changed. To keep one here, ${remedy}`;
}

function isPrepared(path: string): string {
  const folder = escapeControls(textOfBytes(path)).slice(0, -1);
  const remedy = `name the files in it, or \`[ship] ignored = [${JSON.stringify(folder)}]\` in .meshwork.toml sends it as it is`;
  return `${folder}: dependencies, which are prepared there and not sent; nothing was changed. To send some, ${remedy}`;
}

/**
 * Messages and lists name files from the root on: so may who decides in a folder below it.
 *
 * @returns bytes; those of a folder end in a slash
 * @throws MeshError `bad_argument`
 */
function pathBelow({ root }: Project, cwd: string, file: string): string {
  const isFromRoot = !existsSync(resolve(cwd, file)) && existsSync(resolve(root, file));
  const absolute = resolve(isFromRoot ? root : cwd, file);
  const below = relative(root, absolute);
  if (below === '') {
    throw new MeshError(
      'bad_argument',
      `${file} is the whole project: name files or folders in it; nothing was changed`,
    );
  }
  if (below === '..' || below.startsWith('../')) {
    throw new MeshError('bad_argument', `${file} does not lie in ${root}; nothing was changed`);
  }
  const isHere = existsSync(absolute);
  const isFolder = isHere ? statSync(absolute).isDirectory() : file.endsWith('/');
  if (isHere && isFolder && lstatSync(absolute).isSymbolicLink()) {
    throw new MeshError('bad_argument', `${file} is a link to a folder: name that folder; nothing was changed`);
  }
  return `${bytesOfText(below)}${isFolder ? '/' : ''}`;
}

/** @param path below the project's root, a byte string */
const isThere = ({ root }: Project, path: string): boolean =>
  existsSync(Buffer.from(`${bytesOfText(root)}/${path}`, 'latin1'));
