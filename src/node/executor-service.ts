import type { JobId, NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { Executor } from '../core/jobs/executor.ts';
import type { ExecutorEffect, ExecutorInput } from '../core/jobs/executor-state.ts';
import type { Runner, RunRequest, RunResult } from '../ports/runner.ts';
import type { LoginEnvironment } from '../ports/system.ts';
import type { AttemptSpec } from '../wire/job-spec.ts';
import type { JobMessage, JobMessageOf, Reason } from '../wire/jobs.ts';
import type { StreamMux } from '../wire/stream-mux.ts';
import type { AuditLog } from './audit-log.ts';
import { nowMs, type CoreLoop } from './core-loop.ts';
import { runAttempt, streamsAreFree } from './executor-streams.ts';
import { jobEnvironment, type EnvironmentRules } from './job-environment.ts';
import { RefusalTrail } from './refusal-trail.ts';

const OUTCOME_CHARS_MAX = 200;

/** How the executor reaches an origin. */
export interface OriginLink {
  readonly mux: StreamMux;
  send(message: JobMessage): boolean;
}

export type Verdict =
  | { readonly ok: true; readonly cwd: string; readonly toolsFound: readonly string[] }
  | { readonly ok: false; readonly reasons: readonly Reason[] };

export interface ExecutorServiceOptions {
  readonly loop: CoreLoop;
  readonly executor: Executor;
  readonly log: Logger;
  readonly audit: AuditLog;
  /** Null where no link is up. */
  readonly origin: (node: NodeId) => OriginLink | null;
  /** Null while the runner is being started again. */
  readonly runner: () => Runner | null;
  /** Policy, directory, tools: everything that needs this machine to judge. */
  readonly check: (from: NodeId, reserve: JobMessageOf<'job.reserve'>) => Promise<Verdict>;
  readonly login: LoginEnvironment;
  readonly user: RunRequest['user'];
  readonly environment: EnvironmentRules;
  readonly limits: { readonly timeoutMsMax: number | null; readonly outputBytesMax: number | null };
}

/** Carries out the executor's effects: judges reservations, gives attempts to the runner, tells origins. */
export class ExecutorService {
  readonly #options: ExecutorServiceOptions;
  /** By attempt: nothing but the honesty of an origin keeps two attempts of one job from running here at once. */
  readonly #running = new Map<string, JobId>();
  readonly #refusals: RefusalTrail;
  #idle: (() => void)[] = [];
  readonly #post: (input: ExecutorInput) => void;

  constructor(options: ExecutorServiceOptions) {
    this.#options = options;
    this.#refusals = new RefusalTrail(options.audit, nowMs);
    const { post } = options.loop.add<ExecutorInput, ExecutorEffect>(options.executor, { kind: 'timer' }, (effect) =>
      this.#carryOut(effect),
    );
    this.#post = post;
  }

  isRunning(job: string): boolean {
    return this.runningJobs.some((running) => running === job);
  }

  get runningJobs(): readonly JobId[] {
    return [...this.#running.values()];
  }

  receive(from: NodeId, message: JobMessage): void {
    this.#post({ kind: 'message', from, message });
  }

  linkDown(peer: NodeId): void {
    this.#post({ kind: 'link_down', peer });
  }

  slotsChanged(slots: number): void {
    this.#post({ kind: 'slots_changed', slots });
  }

  /** Settles when nothing runs here. */
  whenIdle(): Promise<void> {
    if (this.#running.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  runnerLost(message: string): void {
    this.#post({ kind: 'runner_lost', message });
  }

  #carryOut(effect: ExecutorEffect): void {
    switch (effect.kind) {
      case 'check':
        void this.#check(effect.from, effect.reserve);
        return;
      case 'send':
        this.#options.origin(effect.to)?.send(effect.message);
        return;
      case 'run':
        return this.#run(effect.from, effect.start, effect.cwd);
      case 'kill':
        this.#options.runner()?.cancel(effect.job, effect.attempt);
    }
  }

  async #check(from: NodeId, reserve: JobMessageOf<'job.reserve'>): Promise<void> {
    const verdict = await this.#judge(from, reserve);
    if (!verdict.ok && !reserve.dry_run) {
      this.#refusals.append(from, {
        event: 'refused',
        job: reserve.job,
        attempt: reserve.attempt,
        by: from,
        command: textOf(reserve.command),
        outcome: verdict.reasons
          .map(({ text }) => text)
          .join('; ')
          .slice(0, OUTCOME_CHARS_MAX),
      });
    }
    this.#post({ kind: 'checked', job: reserve.job, attempt: reserve.attempt, from, verdict });
  }

  async #judge(from: NodeId, reserve: JobMessageOf<'job.reserve'>): Promise<Verdict> {
    try {
      return await this.#options.check(from, reserve);
    } catch (error) {
      this.#options.log.error('a reservation could not be judged', { job: reserve.job, error: String(error) });
      return { ok: false, reasons: [{ code: 'other', text: 'could not judge the request (see its daemon.log)' }] };
    }
  }

  #run(from: NodeId, start: JobMessageOf<'job.start'>, cwd: string): void {
    const { job, attempt, spec } = start;
    const refuse = (text: string): void =>
      this.#post({ kind: 'not_run', job, attempt, reason: { code: 'other', text } });
    const origin = this.#options.origin(from);
    const runner = this.#options.runner();
    if (origin === null) return refuse('the link to the origin is down');
    if (runner === null) return refuse('the runner is starting again');
    const { streams, window_bytes } = start;
    if (streams === null) return refuse('jobs without streams come in a later release');
    if (!streamsAreFree(origin.mux, streams)) return refuse('the streams of the request are in use or too many');
    const { login } = this.#options;
    const by = { job, attempt, by: from };
    this.#options.audit.append({ event: 'start', ...by, command: textOf(spec.command), cwd, user: login.user });
    this.#running.set(`${job}/${attempt}`, job);
    const request = {
      job,
      attempt,
      command: spec.command,
      cwd,
      env: { ...jobEnvironment(login, spec, job, this.#options.environment), PWD: cwd },
      umask: spec.umask,
      timeoutMs: shorter(spec.timeout_ms, this.#options.limits.timeoutMsMax),
      outputBytesMax: this.#options.limits.outputBytesMax,
      user: this.#options.user,
      merge: spec.merge,
      terminal: spec.terminal,
      durable: spec.durable,
    };
    runAttempt(
      { id: from, mux: origin.mux },
      runner,
      request,
      { streams, window_bytes },
      {
        onStarted: () => this.#post({ kind: 'started', job, attempt }),
        onEnded: (result) => this.#ended(by, result),
      },
    );
  }

  #ended(by: { readonly job: JobId; readonly attempt: number; readonly by: NodeId }, result: RunResult): void {
    this.#running.delete(`${by.job}/${by.attempt}`);
    const outcome = JSON.stringify(result.outcome).slice(0, OUTCOME_CHARS_MAX);
    this.#options.audit.append({ event: 'end', ...by, outcome, duration_ms: Math.round(result.durationMs) });
    this.#post({ kind: 'ended', job: by.job, attempt: by.attempt, result });
    if (this.#running.size > 0) return;
    for (const settle of this.#idle.splice(0)) settle();
  }
}

const shorter = (a: number | null, b: number | null): number | null =>
  a === null ? b : b === null ? a : Math.min(a, b);

const textOf = (command: AttemptSpec['command']): string =>
  command.kind === 'line' ? command.line : JSON.stringify(command.argv);
