import { MeshError } from '../../base/errors.ts';
import type { ProjectFiles, WorkspaceFiles } from '../../ports/workspace.ts';

/** What the thread is told when it starts. */
export interface ThreadSettings {
  /** MESHWORK_HOME/workspaces. */
  readonly folder: string;
  /** The home of the user that jobs run as; no project's root. */
  readonly home: string;
  /** The environment of jobs: git is taken from its PATH. */
  readonly env: Readonly<Record<string, string>>;
  /** Set where jobs run as another user than this process. */
  readonly user: { readonly uid: number; readonly gid: number } | null;
}

export type Operations = ProjectFiles & WorkspaceFiles;
export type OperationName = keyof Operations;

/** Those that are carried out by the executor's side; all others by the origin's. */
const EXECUTOR_OPERATIONS: Readonly<Record<keyof WorkspaceFiles, true>> = {
  open: true,
  takeManifest: true,
  takePack: true,
  place: true,
  digest: true,
  readNote: true,
  writeNote: true,
  collect: true,
  close: true,
  reopen: true,
  releaseAllBut: true,
  list: true,
  remove: true,
  sweep: true,
};

/** Both sides' operations, each made at its first use: a node that only submits never opens a store. */
export class OperationTable {
  readonly #makeOrigin: () => ProjectFiles;
  readonly #makeExecutor: () => WorkspaceFiles;
  #origin: ProjectFiles | null = null;
  #executor: WorkspaceFiles | null = null;

  constructor(makeOrigin: () => ProjectFiles, makeExecutor: () => WorkspaceFiles) {
    this.#makeOrigin = makeOrigin;
    this.#makeExecutor = makeExecutor;
  }

  /** @throws MeshError `internal` for a name that is no operation; else whatever the operation rejects with */
  async run(name: string, args: readonly unknown[]): Promise<unknown> {
    const target = Object.hasOwn(EXECUTOR_OPERATIONS, name)
      ? (this.#executor ??= this.#makeExecutor())
      : (this.#origin ??= this.#makeOrigin());
    const operation: unknown = Reflect.get(target, name);
    if (typeof operation !== 'function') throw new MeshError('internal', `the workspace thread has no "${name}"`);
    const value: unknown = await Reflect.apply(operation, target, args);
    return value;
  }
}
