import { randomBytes } from 'node:crypto';
import { MeshError, messageOf } from '../base/errors.ts';
import { makeJobId, type JobId, type NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { Origin } from '../core/scheduling/origin.ts';
import type { AttemptPlace, JobResult, OriginEffect, OriginInput, Submission } from '../core/scheduling/origin-job.ts';
import type { Facts } from '../wire/facts.ts';
import type { JobEvent, RunObject } from '../wire/api.ts';
import type { JobMessage } from '../wire/jobs.ts';
import type { JobSpec } from '../wire/job-spec.ts';
import { STREAM_WINDOW_BYTES, type StreamMux } from '../wire/stream-mux.ts';
import type { SubmittedJob } from './control-server.ts';
import type { CoreLoop } from './core-loop.ts';
import { OriginStreams, type ClientStreams } from './origin-streams.ts';
import { runObjectOf } from './run-object.ts';

/** How the origin reaches an executor: over its link, or in memory where it is this node itself. */
export interface ExecutorEnd {
  readonly mux: StreamMux;
  send(message: JobMessage): boolean;
}

export interface OriginServiceOptions {
  readonly loop: CoreLoop;
  readonly origin: Origin;
  readonly log: Logger;
  /** Null where no link is up. */
  readonly executor: (node: NodeId) => ExecutorEnd | null;
  readonly factsOf: (node: NodeId) => Facts | null;
  /** Reads the project, the directory's evidence and the class. Throws MeshError where the job can't be placed. */
  readonly prepare: (job: JobId, spec: JobSpec) => Promise<Submission>;
}

interface Kept {
  readonly spec: JobSpec;
  readonly streams: OriginStreams;
  readonly onEvent: (event: JobEvent) => void;
  readonly resolve: (result: RunObject) => void;
  submitted: boolean;
  cancelled: boolean;
  /** Whose streams are open: the attempt that was sent last. */
  sent: { readonly node: NodeId; readonly attempt: number } | null;
}

/** Carries out the origin's effects: messages, streams, events for the front, the run object at the end. */
export class OriginService {
  readonly #options: OriginServiceOptions;
  readonly #jobs = new Map<JobId, Kept>();
  readonly #post: (input: OriginInput) => void;
  #idle: (() => void)[] = [];

  constructor(options: OriginServiceOptions) {
    this.#options = options;
    const { post } = options.loop.add<OriginInput, OriginEffect>(options.origin, { kind: 'timer' }, (effect) =>
      this.#carryOut(effect),
    );
    this.#post = post;
  }

  get openJobs(): readonly JobId[] {
    return [...this.#jobs.keys()];
  }

  /** Settles when no job of this origin is under way. */
  whenIdle(): Promise<void> {
    if (this.#jobs.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Opens the front's streams at once; placement follows when the project has been read. */
  submit(spec: JobSpec, client: ClientStreams, onEvent: (event: JobEvent) => void): SubmittedJob {
    const job = newJobId();
    const streams = new OriginStreams(client);
    const result = new Promise<RunObject>((resolve) => {
      this.#jobs.set(job, { spec, streams, onEvent, resolve, submitted: false, cancelled: false, sent: null });
    });
    onEvent({ kind: 'accepted', job });
    void this.#prepare(job, spec);
    return { job, result };
  }

  /** @returns false where no such job is under way */
  cancel(job: JobId): boolean {
    const kept = this.#jobs.get(job);
    if (kept === undefined) return false;
    kept.cancelled = true;
    if (kept.submitted) this.#post({ kind: 'cancel', job });
    return true;
  }

  /** Ends every job of this origin, as `down` does. */
  cancelAll(): void {
    for (const job of this.#jobs.keys()) this.cancel(job);
  }

  /** Messages from executors. The result of an attempt waits until its last output byte is here. */
  receive(from: NodeId, message: JobMessage): void {
    const kept = 'job' in message ? this.#ownerOf(from, message) : undefined;
    if (message.t === 'job.ended' && kept !== undefined) {
      kept.streams.whenOutputsClosed(() => this.#post({ kind: 'message', from, message }));
      return;
    }
    if (message.t === 'job.started') kept?.streams.started();
    if (message.t === 'job.not_started') kept?.streams.dropAttempt();
    this.#post({ kind: 'message', from, message });
  }

  /** The job whose open streams such news is about: not that of another node, nor of an attempt that is past. */
  #ownerOf(from: NodeId, { job, attempt }: { readonly job: JobId; readonly attempt: number }): Kept | undefined {
    const kept = this.#jobs.get(job);
    return kept?.sent?.node === from && kept.sent.attempt === attempt ? kept : undefined;
  }

  linkUp(node: NodeId): void {
    this.#post({ kind: 'link_up', node });
  }

  linkDown(node: NodeId): void {
    this.#post({ kind: 'link_down', node });
  }

  nodesChanged(): void {
    this.#post({ kind: 'nodes_changed' });
  }

  async #prepare(job: JobId, spec: JobSpec): Promise<void> {
    try {
      const submission = await this.#options.prepare(job, spec);
      const kept = this.#jobs.get(job);
      if (kept === undefined) return;
      if (kept.cancelled) return this.#finish(job, { kind: 'cancelled', ...NOT_PLACED });
      kept.submitted = true;
      this.#post({ kind: 'submit', submission });
    } catch (error) {
      const code = error instanceof MeshError ? error.code : 'internal';
      if (!(error instanceof MeshError))
        this.#options.log.error('a job could not be prepared', { job, error: messageOf(error) });
      this.#finish(job, { kind: 'refused', code, message: messageOf(error), rejected: [], ...NOT_PLACED });
    }
  }

  #carryOut(effect: OriginEffect): void {
    switch (effect.kind) {
      case 'send': {
        const sent = this.#options.executor(effect.to)?.send(effect.message) ?? false;
        // Nothing is lost silently: the link's end comes as its own input, and reservations have a deadline.
        if (!sent) this.#options.log.debug('not sent: no link', { to: effect.to, message: effect.message.t });
        return;
      }
      case 'start':
        return this.#start(effect.job, effect.attempt, effect.place);
      case 'state': {
        const state = effect.state === 'running' || effect.state === 'cancelling' ? 'running' : 'queued';
        this.#jobs.get(effect.job)?.onEvent({ kind: 'state', state, node: null, detail: effect.detail });
        return;
      }
      case 'finish':
        return this.#finish(effect.job, effect.result);
    }
  }

  #start(job: JobId, attempt: number, place: AttemptPlace): void {
    const kept = this.#jobs.get(job);
    const executor = this.#options.executor(place.node);
    const notWritten = (reason: string): void => this.#post({ kind: 'start_not_written', job, attempt, reason });
    if (kept === undefined) return notWritten('the job is gone');
    if (executor === null) return notWritten('the link is down');
    const streams = kept.streams.open(executor.mux);
    kept.sent = { node: place.node, attempt };
    const { command, env, umask, timeout_ms, merge, terminal, durable } = kept.spec;
    const way = { merge, terminal, durable, nesting: 0 };
    const sent = executor.send({
      t: 'job.start',
      job,
      attempt,
      lease: place.lease,
      spec: { command, env, umask, timeout_ms, stdin: streams.stdin !== null, ...way },
      cwd: place.cwd,
      streams,
      window_bytes: STREAM_WINDOW_BYTES,
    });
    if (sent) return;
    kept.streams.dropAttempt();
    notWritten('the link is down');
  }

  #finish(job: JobId, result: JobResult): void {
    const kept = this.#jobs.get(job);
    if (kept === undefined) return;
    this.#jobs.delete(job);
    const { stdoutBytes, stderrBytes } = kept.streams;
    const { factsOf } = this.#options;
    const context = { job, factsOf, stdoutBytes, stderrBytes, cancelAsked: kept.cancelled, notices: [] };
    kept.streams.finish();
    kept.resolve(runObjectOf(result, context));
    if (this.#jobs.size === 0) for (const settle of this.#idle.splice(0)) settle();
  }
}

/** What a job has to show that never came to be placed. */
const NOT_PLACED = { attempts: 0, queueMs: 0, dispatchMs: 0, route: '', automatic: false } as const;

export const newJobId = (): JobId => makeJobId(Date.now(), randomBytes(16));
