import { makeJobId, type JobId, type LeaseId, type NodeId } from '../../../../src/base/ids.ts';
import { seededRandom } from '../../../../src/base/random.ts';
import type { Candidate } from '../../../../src/core/scheduling/candidate.ts';
import { Origin } from '../../../../src/core/scheduling/origin.ts';
import type { OriginOptions } from '../../../../src/core/scheduling/origin-ledger.ts';
import {
  PLAIN_TERMS,
  type JobResult,
  type JobTerms,
  type OriginEffect,
  type OriginInput,
  type Submission,
} from '../../../../src/core/scheduling/origin-job.ts';
import type { JobMessage, Outcome, Reason } from '../../../../src/wire/jobs.ts';
import type { Load } from '../../../../src/wire/facts.ts';
import { candidate, idOf, LOAD, request, RULES, self, type Overrides } from './nodes.ts';

export const FULL: Partial<Load> = { slots_free: 0, jobs_running: 4 };
export const LEASE = 'a'.repeat(26) as LeaseId;
export const jobId = (number: number): JobId => makeJobId(number, new Uint8Array(16));

export const slotless = self({ facts: { slots: 0 }, load: { slots_free: 0 } });
export const one = (name: string, overrides: Overrides = {}): Candidate =>
  candidate(name, {
    ...overrides,
    facts: { slots: 1, ...overrides.facts },
    load: { slots_free: 1, ...overrides.load },
  });

export function submissionOf(
  number: number,
  asked: Parameters<typeof request>[0] = { target: { kind: 'any' } },
  terms: Partial<JobTerms> = {},
): Submission {
  const evidence = { home_relative: null, boot_id: null, device: '1', inode: '2', clean_commit: null };
  return {
    job: jobId(number),
    command: { kind: 'line', line: 'make' },
    cwd: { path: '/work', git_prefix: null, ...evidence },
    placement: request(asked),
    terms: { ...PLAIN_TERMS, ...terms },
  };
}

/** An origin whose nodes the test changes; remembers all effects. */
export class OriginWorld {
  nowMs = 1000;
  nodes: Candidate[];
  readonly effects: OriginEffect[] = [];
  readonly origin: Origin;

  constructor(nodes: readonly Candidate[], options: Partial<OriginOptions> = {}) {
    this.nodes = [...nodes];
    this.origin = new Origin({ nodes: () => this.nodes, rules: RULES, random: seededRandom(1), ...options });
  }

  step(input: OriginInput): OriginEffect[] {
    const effects = this.origin.step(input, this.nowMs);
    this.effects.push(...effects);
    return effects;
  }

  submit(number: number, terms: Partial<JobTerms> = {}, asked?: Parameters<typeof request>[0]): JobId {
    this.step({ kind: 'submit', submission: submissionOf(number, asked, terms) });
    return jobId(number);
  }

  grant(from: string, job: JobId, attempt = 1, load: Partial<Load> = FULL): void {
    const terms = { instance: 'i', ttl_ms: 10_000, cwd: '/there', load: { ...LOAD, ...load } };
    this.receive(from, { t: 'job.reserved', job, attempt, lease: LEASE, ...terms });
  }

  /** Granted, started and running there. */
  run(from: string, job: JobId, attempt = 1): void {
    this.grant(from, job, attempt);
    this.receive(from, { t: 'job.started', job, attempt });
  }

  refuse(from: string, job: JobId, code: Reason['code'], load: Partial<Load> = FULL): void {
    const reasons = [{ code, text: `is ${code}` }];
    const full = code === 'full';
    this.receive(from, { t: 'job.refused', job, attempt: 1, reasons, full, load: { ...LOAD, ...load } });
  }

  receive(from: string, message: JobMessage): OriginEffect[] {
    return this.step({ kind: 'message', from: idOf(from), message });
  }

  end(from: string, job: JobId, attempt = 1, outcome: Outcome = { kind: 'exited', code: 3 }): OriginEffect[] {
    const counts = {
      stdout_bytes: 0,
      stderr_bytes: 0,
      truncated: false,
      left_running: 0,
      changes: null,
      duration_ms: 1,
    };
    return this.receive(from, { t: 'job.ended', job, attempt, outcome, ...counts });
  }

  link(node: string, kind: 'link_up' | 'link_down'): OriginEffect[] {
    return this.step({ kind, node: idOf(node) });
  }

  /** What is known of a node from now on. */
  set(name: string, node: Partial<Candidate>): void {
    this.nodes = this.nodes.map((known) => (known.name === name ? { ...known, ...node } : known));
    this.step({ kind: 'nodes_changed' });
  }

  waitFor(deadlineMs: number): void {
    for (;;) {
      const nextMs = this.origin.nextDeadlineMs();
      if (nextMs === null || nextMs > deadlineMs) break;
      this.nowMs = Math.max(nextMs, this.nowMs);
      this.step({ kind: 'timer' });
    }
    this.nowMs = deadlineMs;
  }

  result(job: JobId): JobResult | undefined {
    return this.effects.flatMap((effect) => (effect.kind === 'finish' && effect.job === job ? [effect.result] : []))[0];
  }

  /** `job@node` for each reservation asked, in order. */
  asked(): string[] {
    return this.effects.flatMap((effect) =>
      effect.kind === 'send' && effect.message.t === 'job.reserve'
        ? [`${this.numberOf(effect.message.job)}@${this.nameOf(effect.to)}`]
        : [],
    );
  }

  /** `message node #attempt` of what was sent since, but for reservations. */
  sent(effects: readonly OriginEffect[]): string[] {
    return effects.flatMap((effect) => {
      if (effect.kind === 'send') return `${effect.message.t} ${this.nameOf(effect.to)}`;
      return effect.kind === 'attach' ? `attach ${effect.place.name} #${effect.attempt}` : [];
    });
  }

  numberOf(job: JobId): number {
    for (let number = 0; number < 100; number++) if (jobId(number) === job) return number;
    return -1;
  }

  nameOf(id: NodeId): string {
    return this.nodes.find((node) => node.id === id)?.name ?? '?';
  }
}
