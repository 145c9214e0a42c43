import type { JobId, LeaseId } from '../../../src/base/ids.ts';
import { seededRandom } from '../../../src/base/random.ts';
import type { Candidate } from '../../../src/core/scheduling/candidate.ts';
import { Origin } from '../../../src/core/scheduling/origin.ts';
import { CoreLoop } from '../../../src/node/core-loop.ts';
import { JobBook } from '../../../src/node/job-book.ts';
import { OriginService } from '../../../src/node/origin-service.ts';
import type { ProjectCarrier } from '../../../src/node/project-carrier.ts';
import type { ClientStreams } from '../../../src/node/origin-streams.ts';
import type { RunObject } from '../../../src/wire/api.ts';
import type { JobMessage, JobMessageOf, Outcome } from '../../../src/wire/jobs.ts';
import type { JobSpec } from '../../../src/wire/job-spec.ts';
import { STREAM_WINDOW_BYTES, type OutgoingStream } from '../../../src/wire/stream-mux.ts';
import type { MemoryJournalFile } from '../../fixtures/memory-journal.ts';
import { lineSpec } from '../../fixtures/plain-spec.ts';
import { candidate, FACTS, idOf, LOAD, RULES, self } from '../core/scheduling/nodes.ts';
import { submissionOf } from '../core/scheduling/origin-world.ts';
import { JoinedMuxes } from '../wire/joined-muxes.ts';

export const BETA = idOf('beta');
export const HERE = idOf('here');

export const silent = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

export const specOf = (more: Partial<JobSpec> = {}): JobSpec =>
  lineSpec('make', { cwd: '/work', target: { kind: 'node', node: 'beta' }, ...more });

/** The front's side of a job. */
export class Front {
  readonly control = new JoinedMuxes();
  readonly stdout: number[] = [];
  readonly ends: string[] = [];
  readonly stdin: OutgoingStream | null;
  readonly streams: ClientStreams;

  constructor(withStdin = false) {
    const ids = { stdout: 3, stderr: 5 };
    for (const [name, id] of Object.entries(ids)) {
      const stream = this.control.first.openIncoming(id, STREAM_WINDOW_BYTES, {
        onData: (bytes) => {
          if (name === 'stdout') this.stdout.push(...bytes);
          stream.consumed(bytes.byteLength);
        },
        onEnd: () => this.ends.push(name),
        onAbort: () => this.ends.push(`${name} lost`),
      });
    }
    this.stdin = withStdin ? this.control.first.openOutgoing(1, 0, {}) : null;
    this.streams = { mux: this.control.second, stdin: withStdin ? 1 : null, ...ids, windowBytes: STREAM_WINDOW_BYTES };
  }
}

/** One daemon's origin, with the executor `beta` played by the test at the other end of a link that it may cut. */
export class OriginRig {
  readonly service: OriginService;
  readonly origin: Origin;
  readonly book: JobBook;
  readonly sent: JobMessage[] = [];
  link: JoinedMuxes | null = new JoinedMuxes();
  readonly fronts: Front[] = [];
  readonly finished: string[] = [];
  readonly warnings: string[] = [];
  readonly faults: unknown[] = [];
  #beta: Candidate = candidate('beta');

  constructor(
    file: MemoryJournalFile,
    options: {
      readonly linked?: boolean;
      readonly clientGraceMs?: number;
      readonly projects?: ProjectCarrier;
      /** Before a job is placed. */
      readonly preparing?: () => Promise<void>;
    } = {},
  ) {
    const loop = new CoreLoop((error) => this.faults.push(error));
    const log = { ...silent, warn: (text: string) => this.warnings.push(text) };
    if (options.linked === false) this.link = null;
    this.#beta = { ...this.#beta, reachable: this.link !== null };
    this.book = new JobBook(file.open(), { log, keepMax: 100, keepDays: 7, wallMs: () => Date.now() });
    this.origin = new Origin({
      nodes: () => [self({ facts: { slots: 0 }, load: { slots_free: 0 } }), this.#beta],
      rules: RULES,
      random: seededRandom(1),
      rerunObstacle: (job) => this.service.rerunObstacle(job),
    });
    this.service = new OriginService({
      loop,
      log,
      origin: this.origin,
      book: this.book,
      self: () => ({ id: HERE, name: 'here' }),
      executor: () => {
        const { link } = this;
        if (link === null) return null;
        return { mux: link.first, send: (message) => this.sent.push(message) > 0 };
      },
      factsOf: () => FACTS,
      prepare: async (job, spec) => {
        await options.preparing?.();
        return { ...submissionOf(1, { target: spec.target }), job, command: spec.command };
      },
      onFinished: (record) => this.finished.push(record.job),
      clientGraceMs: options.clientGraceMs ?? 10_000,
      ...(options.projects === undefined ? {} : { projects: options.projects }),
    });
  }

  front(withStdin = false): Front {
    const front = new Front(withStdin);
    this.fronts.push(front);
    return front;
  }

  /** Everything that is under way arrives. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 3;) {
      await new Promise((resolve) => setImmediate(resolve));
      const wires = [...(this.link === null ? [] : [this.link]), ...this.fronts.map(({ control }) => control)];
      if (wires.every(({ underWay }) => underWay === 0)) quiet += 1;
      else quiet = 0;
      for (const wire of wires) wire.deliverAll();
    }
  }

  receive(message: JobMessage): void {
    this.service.receive(BETA, message);
  }

  last<T extends JobMessage['t']>(t: T): JobMessageOf<T> {
    const found = this.sent.findLast((message): message is JobMessageOf<T> => message.t === t);
    if (found === undefined) throw new Error(`no ${t} was sent; sent: ${this.sent.map((message) => message.t).join()}`);
    return found;
  }

  count(t: JobMessage['t']): number {
    return this.sent.filter((message) => message.t === t).length;
  }

  /** The executor grants a slot and starts what is then sent. @returns its ends of the output streams */
  async run(job: JobId): Promise<{ readonly stdout: OutgoingStream | null; readonly stderr: OutgoingStream | null }> {
    await this.settle();
    const { attempt } = this.last('job.reserve');
    const terms = { instance: 'i', ttl_ms: 10_000, cwd: '/there', load: LOAD };
    this.receive({ t: 'job.reserved', job, attempt, lease: 'a'.repeat(26) as LeaseId, ...terms });
    await this.settle();
    const outputs = this.outputs(this.last('job.start'));
    this.receive({ t: 'job.started', job, attempt });
    await this.settle();
    return outputs;
  }

  /** The executor's ends of the streams that a start or an attach names. */
  outputs({ streams, window_bytes }: JobMessageOf<'job.start'> | JobMessageOf<'job.attach'>) {
    const open = (id: number | undefined): OutgoingStream | null =>
      id === undefined || this.link === null ? null : this.link.second.openOutgoing(id, window_bytes, {});
    return { stdout: open(streams?.stdout), stderr: open(streams?.stderr) };
  }

  /** The executor's end of stdin. */
  stdinAt(id: number | null | undefined, grantedBytes = STREAM_WINDOW_BYTES) {
    const read = { bytes: [] as number[], ended: false };
    const stream = this.link?.second.openIncoming(id ?? 0, 0, {
      onData: (bytes) => read.bytes.push(...bytes),
      onEnd: () => {
        read.ended = true;
      },
      onAbort: () => undefined,
    });
    stream?.grant(grantedBytes);
    return read;
  }

  end(job: JobId, more: Partial<JobMessageOf<'job.ended'>> = {}, outcome: Outcome = { kind: 'exited', code: 3 }): void {
    const counts = {
      stdout_bytes: 0,
      stderr_bytes: 0,
      truncated: false,
      left_running: 0,
      changes: null,
      duration_ms: 1,
    };
    this.receive({ t: 'job.ended', job, attempt: 1, outcome, ...counts, ...more });
  }

  /** The link goes down; what is under way on it is lost. */
  cut(): void {
    const { link } = this;
    this.link = null;
    this.#beta = { ...this.#beta, reachable: false, state: 'suspect' };
    link?.first.close();
    link?.second.close();
    this.service.linkDown(BETA);
  }

  heal(): void {
    this.link = new JoinedMuxes();
    this.#beta = { ...this.#beta, reachable: true, state: 'alive' };
    this.service.linkUp(BETA);
  }

  attached(job: JobId, stdinOffset = 0, running = true): void {
    this.receive({ t: 'job.attached', job, attempt: 1, running, stdin_offset: stdinOffset });
  }
}

/** Settled or not. */
export async function peek(result: Promise<RunObject>): Promise<RunObject | null> {
  return Promise.race([result, new Promise<null>((resolve) => setImmediate(() => resolve(null)))]);
}
