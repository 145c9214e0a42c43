import { existsSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { bytesOfText, textOfBytes } from '../base/byte-text.ts';
import { MeshError } from '../base/errors.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import type { Project, ProjectFiles, WorkspaceFiles } from '../ports/workspace.ts';
import type { ApiParams, ApiResults } from '../wire/api.ts';
import type { JobRecord } from '../wire/job-record.ts';
import type { LocalProjects } from './local-projects.ts';
import type { ProjectHandlers } from './project-handlers.ts';
import { readProjectSettings } from './project-settings.ts';
import type { SecretDecision } from './secret-decisions.ts';

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
    if (files.length > 0) {
      secrets.decide(project.root, paths, decision === 'ask' ? null : decision);
    }
    const decided = secrets.of(project.root);
    const { undecided, notices } = await this.#undecided(project);
    const all = new Map<string, SecretDecision | null>(undecided.map((path) => [path, null]));
    for (const [path, one] of Object.entries(decided)) all.set(textOfBytes(path), one);
    const missing = paths.filter((path) => !isThere(project, path)).map((path) => textOfBytes(path));
    return {
      root: project.root,
      notices: missing.length === 0 ? notices : [...notices, `not there now: ${missing.join(', ')}`],
      files: [...all].map(([path, one]) => ({ path, decision: one })).toSorted((a, b) => (a.path < b.path ? -1 : 1)),
    };
  }

  async #undecided(project: Project): Promise<{ readonly undecided: readonly string[]; readonly notices: string[] }> {
    const options = { include: [], exclude: [] };
    const request = this.#options.projects.service.request(project, readProjectSettings(project.root), options);
    const scanned = await this.#options.files.scan(request);
    if (scanned.ok) return { undecided: [...scanned.value.undecided, ...scanned.value.withheld], notices: [] };
    return { undecided: [], notices: [`the project cannot be looked through: ${scanned.error.message}`] };
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

/**
 * Messages and lists name files from the root on: so may who decides in a folder below it.
 *
 * @throws MeshError `bad_argument`
 */
function pathBelow({ root }: Project, cwd: string, file: string): string {
  const isFromRoot = !existsSync(resolve(cwd, file)) && existsSync(resolve(root, file));
  const below = relative(root, resolve(isFromRoot ? root : cwd, file));
  if (below === '' || below === '..' || below.startsWith('../')) {
    throw new MeshError('bad_argument', `${file} does not lie in ${root}; nothing was changed`);
  }
  return bytesOfText(below);
}

/** @param path below the project's root, a byte string */
const isThere = ({ root }: Project, path: string): boolean =>
  existsSync(Buffer.from(`${bytesOfText(root)}/${path}`, 'latin1'));
