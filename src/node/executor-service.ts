import type { JobId, NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { Executor } from '../core/jobs/executor.ts';
import { unreachable } from '../base/assert.ts';
import { endedEntry, startedEntry, type AttemptFacts } from '../core/jobs/attempt-book.ts';
import type {
  AttemptKey,
  AttemptResult,
  ExecutorEffect,
  ExecutorInput,
  LeaseInput,
} from '../core/jobs/executor-state.ts';
import type { Runner, RunRequest, RunResult } from '../ports/runner.ts';
import type { LoginEnvironment } from '../ports/system.ts';
import type { AttemptSpec } from '../wire/job-spec.ts';
import type { JobMessage, JobMessageOf, Reason } from '../wire/jobs.ts';
import type { AttemptEntry } from '../wire/attempt-entry.ts';
import { SHOWN_COMMAND_CHARS_MAX, type JobRecord } from '../wire/job-record.ts';
import { AttemptLinks, type OriginLink } from './attempt-links.ts';
import type { AttemptJournal } from './attempt-journal.ts';
import { recordOfAttempts, type RecordContext } from './attempt-records.ts';
import type { AuditLog } from './audit-log.ts';
import { nowMs, type CoreLoop } from './core-loop.ts';
import { streamsAreFree } from './executor-streams.ts';
import { jobEnvironment, type EnvironmentRules } from './job-environment.ts';
import type { ExecutorJobs } from './job-sources.ts';
import { RefusalTrail } from './refusal-trail.ts';
import { endsInWorkspaces, type AttemptWorkspaces } from './attempt-workspaces.ts';

const OUTCOME_CHARS_MAX = 200;
/** What is kept is looked at so often, and whenever an attempt ends. */
const RETENTION_MS = 600_000;
/** An origin that comes back while the runner is started again waits for it so long before it does without the output. */
const RUNNER_WAIT_MS = 250;
const RUNNER_WAITS_MAX = 40;

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
  readonly attempts: AttemptJournal;
  /** This node, as it is told of in the records of jobs. */
  readonly self: () => RecordContext;
  readonly login: LoginEnvironment;
  readonly user: RunRequest['user'];
  readonly environment: EnvironmentRules;
  /** Projects of origins that were sent along; none are taken where it is left out. */
  readonly workspaces?: AttemptWorkspaces;
  readonly limits: { readonly timeoutMsMax: number | null; readonly outputBytesMax: number | null };
}

/** Carries out the executor's effects: judges reservations, gives attempts to the runner, tells origins, keeps the journal. */
export class ExecutorService implements ExecutorJobs {
  readonly #options: ExecutorServiceOptions;
  /** By attempt: nothing but the honesty of an origin keeps two attempts of one job from running here at once. */
  readonly #running = new Map<string, JobId>();
  readonly #links: AttemptLinks;
  readonly #refusals: RefusalTrail;
  #idle: (() => void)[] = [];
  readonly #post: (input: ExecutorInput) => void;
  readonly #retention: NodeJS.Timeout;

  constructor(options: ExecutorServiceOptions) {
    this.#options = options;
    this.#links = new AttemptLinks(options.log);
    this.#refusals = new RefusalTrail(options.audit, nowMs);
    const { post } = options.loop.add<ExecutorInput, ExecutorEffect>(options.executor, { kind: 'timer' }, (effect) =>
      this.#carryOut(effect),
    );
    this.#post = post;
    this.#retention = setInterval(() => this.#dropDue(), RETENTION_MS);
    this.#retention.unref();
  }

  isRunning(job: string): boolean {
    return this.runningJobs.some((running) => running === job);
  }

  get runningJobs(): readonly JobId[] {
    return [...this.#running.values()];
  }

  /** For `status`: what is wrong with its journal. */
  get notice(): string | null {
    return this.#options.attempts.notice;
  }

  /** How many jobs a job that runs here is inside of; null where it does not run here. */
  nestingOf(job: JobId): number | null {
    return this.#options.executor.nestingOf(job);
  }

  records(prefix: string): readonly JobRecord[] {
    const byJob = new Map<JobId, AttemptFacts[]>();
    for (const facts of this.#options.attempts.book.find(prefix)) {
      byJob.set(facts.job, [...(byJob.get(facts.job) ?? []), facts]);
    }
    return [...byJob.values()].flatMap((attempts) => recordOfAttempts(attempts, this.#options.self()) ?? []);
  }

  droppedAt(prefix: string): number | null {
    return this.#options.attempts.book.droppedAt(prefix);
  }

  cancel(job: JobId): boolean {
    if (!this.isRunning(job)) return false;
    this.#post({ kind: 'cancel', job });
    return true;
  }

  /** Ends what runs here for nodes that are no members any more, durable or not: nobody may have anything of it. */
  endForeign(isMember: (node: NodeId) => boolean): void {
    for (const { job, from } of this.#options.attempts.book.running) {
      if (isMember(from)) continue;
      this.#options.log.warn('a job of a node that is no member any more is ended', { job, origin: from });
      this.#post({ kind: 'cancel', job });
    }
  }

  receive(from: NodeId, message: JobMessage): void {
    this.#post({ kind: 'message', from, message });
  }

  /** What is said of the files of a lease. */
  postLease(input: LeaseInput): void {
    this.#post(input);
  }

  linkDown(peer: NodeId): void {
    this.#links.sweep();
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

  /** Comes after each attempt was told its end: those in workspaces tell it when what they changed is collected. */
  runnerLost(message: string): void {
    if (this.#running.size === 0) this.#post({ kind: 'runner_lost', message });
  }

  /** Once, with the first runner, before anybody is served: takes up what an earlier daemon left. */
  async restore(): Promise<void> {
    const { attempts, workspaces } = this.#options;
    const runner = this.#options.runner();
    const kept = runner?.kept ?? [];
    const has = workspaces === undefined ? kept : await endsInWorkspaces(attempts.book.running, kept, workspaces);
    const restored = attempts.book.restore(has, Date.now());
    for (const entry of restored.entries) this.#record(entry);
    for (const each of has) if (each.kind === 'ended') workspaces?.release(keyOf(each));
    this.#post({
      kind: 'restored',
      attempts: restored.attempts,
      given: restored.given,
      isWhole: attempts.knowsAllOf(runner?.instance ?? null) && restored.isWhole,
    });
    if (runner !== null) this.#takeUp(runner);
    this.#dropDue();
  }

  /** What a runner of an earlier daemon has. */
  #takeUp(runner: Runner): void {
    for (const attempt of runner.kept) {
      const key = keyOf(attempt);
      const known = this.#options.attempts.book.get(attempt);
      if (attempt.kind === 'ended') {
        runner.acknowledge(key);
        if (known === undefined) runner.drop(key);
        continue;
      }
      const by = known?.end === null ? { ...key, by: known.from } : null;
      if (by !== null) this.#running.set(nameOf(key), key.job);
      runner.adopt(key, {
        onStarted: () => undefined,
        onEnded: (result) => (by === null ? forgetAt(runner, key) : this.#ended(by, result)),
      });
      if (by !== null) continue;
      this.#options.log.warn('the runner has an attempt that is not in the journal: it is ended', { ...key });
      runner.cancel(key.job, key.attempt);
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#retention);
    await this.#options.attempts.close();
  }

  #carryOut(effect: ExecutorEffect): void {
    switch (effect.kind) {
      case 'check':
        void this.#check(effect.from, effect.reserve);
        return;
      case 'send':
        return this.#send(effect.to, effect.message);
      case 'run':
        return this.#run(effect);
      case 'attach':
        return this.#attach(effect, RUNNER_WAITS_MAX);
      case 'detach':
        this.#record({ e: 'detached', ...keyOf(effect) });
        this.#options.runner()?.detach(keyOf(effect));
        return this.#links.close(effect);
      case 'resize':
        this.#options.runner()?.resize(keyOf(effect), effect.size);
        return;
      case 'lease_ended':
        return this.#options.workspaces?.leaseEnded(effect);
      case 'acked':
        this.#record({ e: 'acked', ...keyOf(effect) });
        return;
      case 'kill':
        this.#options.runner()?.cancel(effect.job, effect.attempt);
        return;
      default:
        unreachable(effect);
    }
  }

  #send(to: NodeId, message: JobMessage): void {
    const link = this.#options.origin(to);
    if (message.t === 'job.ended') this.#links.sendEnded(link, message);
    else link?.send(message);
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

  #run({ from, start, cwd, grant, isShipped }: Extract<ExecutorEffect, { kind: 'run' }>): void {
    const { job, attempt, spec, streams } = start;
    const { workspaces } = this.#options;
    const refuse = (text: string): void => {
      if (isShipped) workspaces?.release({ job, attempt });
      this.#post({ kind: 'not_run', job, attempt, reason: { code: 'other', text } });
    };
    if (isShipped && workspaces?.begin(from, { job, attempt }) !== true) return refuse('its workspace is gone');
    const link = this.#options.origin(from);
    const runner = this.#options.runner();
    if (link === null) return refuse('the link to the origin is down');
    if (runner === null) return refuse('the runner is starting again');
    if (streams !== null && !streamsAreFree(link.mux, streams)) {
      return refuse('the streams of the request are in use or too many');
    }
    const { durable, nesting, merge, terminal } = spec;
    const { login, limits } = this.#options;
    const command = textOf(spec.command);
    const shown = { command: command.slice(0, SHOWN_COMMAND_CHARS_MAX), cwd, instance: runner.instance };
    const entry = { job, attempt, from, durable, nesting, grant, ...shown, startedAtMs: Date.now() };
    // Without it a restart of this daemon would end the command: a foreground job takes that, a durable one is refused.
    if (!this.#record(startedEntry(entry)) && durable) {
      this.#options.attempts.book.withdraw({ job, attempt });
      return refuse('cannot write its journal of jobs, so it takes none that must outlive its daemon');
    }
    const by = { job, attempt, by: from };
    this.#options.audit.append({ event: 'start', ...by, command, cwd, user: login.user });
    this.#running.set(nameOf(by), job);
    const request = {
      job,
      attempt,
      command: spec.command,
      cwd,
      env: { ...jobEnvironment(login, spec, job, this.#options.environment), PWD: cwd },
      umask: spec.umask,
      timeoutMs: shorter(spec.timeout_ms, limits.timeoutMsMax),
      outputBytesMax: limits.outputBytesMax,
      user: this.#options.user,
      merge,
      terminal,
      durable,
    };
    this.#links.run(from, link, runner, request, start, {
      onStarted: () => this.#post({ kind: 'started', job, attempt }),
      onEnded: (result) => this.#ended(by, result),
    });
  }

  #attach(effect: Extract<ExecutorEffect, { kind: 'attach' }>, triesLeft: number): void {
    const { job, attempt } = effect.attach;
    const link = this.#options.origin(effect.from);
    if (link === null) return;
    const runner = this.#options.runner();
    if (runner === null && effect.attach.streams !== null && triesLeft > 0) {
      setTimeout(() => {
        if (!link.mux.isDead) this.#attach(effect, triesLeft - 1);
      }, RUNNER_WAIT_MS);
      return;
    }
    const ready = (stdinOffset: number): void => this.#post({ kind: 'attach_ready', job, attempt, stdinOffset });
    if (this.#links.attach(effect, link, runner, ready)) return;
    this.#options.log.warn('an origin named streams that are in use', { job, attempt, origin: effect.from });
    link.send({
      t: 'job.gone',
      job,
      attempt,
      instance: runner?.instance ?? '',
      kind: 'unknown',
      message: 'the streams of the request are in use or too many',
    });
  }

  #ended(by: EndedBy, result: RunResult): void {
    const { workspaces } = this.#options;
    if (workspaces?.isInUse(by) === true) void this.#collected(by, result, workspaces);
    else this.#over(by, result);
  }

  /** The attempt keeps its slot until what it changed is collected. */
  async #collected(by: EndedBy, result: RunResult, workspaces: AttemptWorkspaces): Promise<void> {
    this.#over(by, { ...result, changes: await workspaces.collect(by) });
  }

  #over(by: EndedBy, result: AttemptResult): void {
    this.#running.delete(nameOf(by));
    const outcome = JSON.stringify(result.outcome).slice(0, OUTCOME_CHARS_MAX);
    this.#options.audit.append({ event: 'end', ...by, outcome, duration_ms: Math.round(result.durationMs) });
    const isKept = this.#record(endedEntry(by, result, Date.now()));
    this.#options.workspaces?.release(keyOf(by));
    if (isKept) this.#options.runner()?.acknowledge(keyOf(by));
    this.#post({ kind: 'ended', job: by.job, attempt: by.attempt, result });
    this.#dropDue();
    if (this.#running.size > 0) return;
    for (const settle of this.#idle.splice(0)) settle();
  }

  /** Removes what is more, older or larger than this node keeps. */
  #dropDue(): void {
    const runner = this.#options.runner();
    if (runner === null) return;
    for (const due of this.#options.attempts.book.due(Date.now())) {
      const key = keyOf(due);
      runner.drop(key);
      this.#record({ e: 'dropped', ...key, at_ms: Date.now() });
      this.#post({ kind: 'dropped', ...key });
    }
  }

  #record(entry: AttemptEntry): boolean {
    return this.#options.attempts.record(entry);
  }
}

type EndedBy = AttemptKey & { readonly by: NodeId };

/** The result is on this node's disk, or of no use to it: so is the output. */
function forgetAt(runner: Runner, key: AttemptKey): void {
  runner.acknowledge(keyOf(key));
  runner.drop(keyOf(key));
}

const nameOf = ({ job, attempt }: AttemptKey): string => `${job}/${attempt}`;
const keyOf = ({ job, attempt }: AttemptKey): AttemptKey => ({ job, attempt });

const shorter = (a: number | null, b: number | null): number | null =>
  a === null ? b : b === null ? a : Math.min(a, b);

const textOf = (command: AttemptSpec['command']): string =>
  command.kind === 'line' ? command.line : JSON.stringify(command.argv);
