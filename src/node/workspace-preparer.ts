import type { NodeProbe } from '../adapters/os/system-probe.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { err, ok, type Result } from '../base/result.ts';
import { judge } from '../core/policy/exec-policy.ts';
import type { Runner, RunRequest } from '../ports/runner.ts';
import type { LoginEnvironment } from '../ports/system.ts';
import type { OpenedWorkspace, WorkspaceFiles } from '../ports/workspace.ts';
import type { WsOpen } from '../wire/workspace.ts';
import type { AuditLog } from './audit-log.ts';
import type { Config } from './config-schema.ts';
import { type EnvironmentRules, jobEnvironment } from './job-environment.ts';
import { prepare, type PrepareFailure, type Prepared } from './preparer.ts';

export interface WorkspacePreparerOptions {
  /** Null while the runner is being started again. */
  readonly runner: () => Runner | null;
  readonly files: Pick<WorkspaceFiles, 'digest' | 'readNote' | 'writeNote'>;
  readonly probe: Pick<NodeProbe, 'facts' | 'whenLooked' | 'hasTool'>;
  readonly exec: Config['exec'];
  readonly environment: EnvironmentRules;
  readonly login: LoginEnvironment;
  readonly user: RunRequest['user'];
  readonly audit: AuditLog;
  readonly log: Logger;
}

/** Prepares what a session of a workspace asks for, as jobs are run on this node: its policy, its account, its environment. */
export class WorkspacePreparer {
  readonly #options: WorkspacePreparerOptions;
  readonly #running = new Set<JobId>();

  constructor(options: WorkspacePreparerOptions) {
    this.#options = options;
  }

  /** Is that the id of what prepares something here now? Nobody submitted it as a job. */
  isPreparing(job: string): boolean {
    return [...this.#running].some((running) => running === job);
  }

  /** @param onLine the last line of output, a few times a second at most. @throws MeshError as `prepare` does */
  async prepare(
    from: NodeId,
    workspace: Pick<OpenedWorkspace, 'id' | 'tree'>,
    open: Pick<WsOpen, 'job' | 'prepare' | 'env' | 'umask'>,
    onLine: (line: string) => void,
    signal: AbortSignal,
  ): Promise<Result<Prepared, PrepareFailure>> {
    if (open.prepare.length === 0) return ok({ notices: [], ms: 0, prepared: [] });
    const { runner, login, exec, environment, user } = this.#options;
    const current = runner();
    if (current === null) return err({ code: 'needs_prepare', message: 'the runner of that node is starting again' });
    return prepare(
      {
        workspaceId: workspace.id,
        tree: workspace.tree,
        steps: open.prepare,
        env: jobEnvironment(login, open, open.job, environment),
        umask: open.umask,
        user,
        by: from,
        signal,
        onProgress: onLine,
      },
      {
        ...this.#options,
        runner: current,
        running: this.#running,
        judge: (command) => judge(command, exec),
        userName: login.user,
      },
    );
  }
}
