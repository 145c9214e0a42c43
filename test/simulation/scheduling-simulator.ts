import { assert } from '../../src/base/assert.ts';
import { base32, makeJobId, type JobId, type LeaseId, type NodeId } from '../../src/base/ids.ts';
import { seededRandom, type Random } from '../../src/base/random.ts';
import { Executor } from '../../src/core/jobs/executor.ts';
import type { AttemptResult, ExecutorInput } from '../../src/core/jobs/executor-state.ts';
import type { NodeView } from '../../src/core/scheduling/candidate.ts';
import { Origin } from '../../src/core/scheduling/origin.ts';
import type { JobResult, OriginInput, Submission } from '../../src/core/scheduling/origin-job.ts';
import type { PlacementRequest } from '../../src/core/scheduling/placement-request.ts';
import type { Facts, Load } from '../../src/wire/facts.ts';
import type { JobMessage } from '../../src/wire/jobs.ts';
import { EventQueue } from './event-queue.ts';
import { PLAIN_ATTEMPT } from '../fixtures/plain-spec.ts';

/**
 * A deterministic world for real Origin and Executor cores: one virtual clock, ordered links with delays that can be
 * cut, heartbeats with stale load, processes that take time, nodes that crash. Everything follows from the seed.
 */
export interface NodeSetup {
  readonly slots: number;
  readonly cpuPercent?: number;
  readonly overloaded?: boolean;
  readonly cores?: number;
  /** 0.2: processes take five times as long here, and nobody was told. */
  readonly speed?: number;
}

export interface SimulatorSetup {
  readonly seed: number;
  readonly nodes: readonly NodeSetup[];
  readonly delayMsMax?: number;
  /** How many of the judgements and starts take seconds. */
  readonly slowShare?: number;
}

export interface Outcome {
  readonly result: JobResult;
  readonly atMs: number;
}

interface Process {
  readonly job: JobId;
  readonly attempt: number;
  ended: boolean;
}

interface SimulatedNode {
  readonly index: number;
  readonly id: NodeId;
  readonly setup: NodeSetup;
  origin: Origin;
  executor: Executor;
  up: boolean;
  /** Rises with every crash: what was meant for an earlier life is dropped. */
  life: number;
  /** What others told of themselves, and when. */
  readonly heard: Map<NodeId, { load: Load; atMs: number }>;
  processes: Map<JobId, Process>;
  processesMost: number;
  originWakeMs: number;
  executorWakeMs: number;
}

const HEARTBEAT_MS = 2000;
/** Longer than leases and reservations last. */
const SLOW_MS = 14_000;
const EVENTS_MAX = 3_000_000;

const isForExecutor = (message: JobMessage): boolean =>
  message.t === 'job.reserve' || message.t === 'job.release' || message.t === 'job.start' || message.t === 'job.cancel';

export class SchedulingSimulator {
  readonly random: Random;
  readonly nodes: SimulatedNode[];
  /** How often a process of the job was started, anywhere. */
  readonly runs = new Map<JobId, number>();
  readonly ranOn = new Map<JobId, NodeId>();
  readonly outcomes = new Map<JobId, Outcome>();
  readonly submittedBy = new Map<JobId, number>();
  readonly durations = new Map<JobId, number>();
  readonly violations: string[] = [];
  messagesSent = 0;
  nowMs = 0;
  readonly #events = new EventQueue();
  #steps = 0;
  readonly #unfinished = new Set<JobId>();
  readonly #delayMsMax: number;
  readonly #slowShare: number;
  readonly #cut = new Map<string, number>();
  readonly #down = new Set<string>();
  readonly #lastDelivery = new Map<string, number>();

  constructor(setup: SimulatorSetup) {
    this.random = seededRandom(setup.seed);
    this.#delayMsMax = setup.delayMsMax ?? 5;
    this.#slowShare = setup.slowShare ?? 0;
    this.nodes = setup.nodes.map((node, index) => this.#makeNode(node, index));
    for (const node of this.nodes) this.#heartbeat(node, 0);
    for (const node of this.nodes) for (const other of this.nodes) this.#hear(other, node);
  }

  node(index: number): SimulatedNode {
    const node = this.nodes[index];
    assert(node !== undefined, 'there is no such node');
    return node;
  }

  at(atMs: number, run: () => void): void {
    this.#events.push(Math.max(atMs, this.nowMs), run);
  }

  submit(index: number, durationMs: number, placement: PlacementRequest): JobId {
    const job = this.#jobId();
    this.submittedBy.set(job, index);
    this.#unfinished.add(job);
    this.durations.set(job, durationMs);
    const cwd = { path: '/work', home_relative: null, boot_id: null, device: '1', inode: '1' };
    const submission: Submission = {
      job,
      command: { kind: 'line', line: 'make' },
      cwd: { ...cwd, clean_commit: null, git_prefix: null },
      placement,
    };
    this.stepOrigin(this.node(index), { kind: 'submit', submission });
    return job;
  }

  cancel(job: JobId): void {
    this.stepOrigin(this.node(this.submittedBy.get(job) ?? 0), { kind: 'cancel', job });
  }

  cutLink(a: number, b: number): void {
    const [one, two] = [this.node(a), this.node(b)];
    const key = linkKey(one, two);
    if (a === b || this.#down.has(key)) return;
    this.#down.add(key);
    this.#cut.set(key, (this.#cut.get(key) ?? 0) + 1);
    for (const [node, peer] of [
      [one, two],
      [two, one],
    ] as const) {
      if (!node.up) continue;
      this.stepOrigin(node, { kind: 'link_down', node: peer.id });
      this.stepExecutor(node, { kind: 'link_down', peer: peer.id });
    }
  }

  healLink(a: number, b: number): void {
    const [one, two] = [this.node(a), this.node(b)];
    if (!one.up || !two.up || !this.#down.delete(linkKey(one, two))) return;
    this.#hear(one, two);
    this.#hear(two, one);
    this.stepOrigin(one, { kind: 'nodes_changed' });
    this.stepOrigin(two, { kind: 'nodes_changed' });
  }

  /** Its processes die with it; its jobs have no outcome that anybody could see. */
  crash(index: number): void {
    const node = this.node(index);
    for (const other of this.nodes) this.cutLink(index, other.index);
    node.up = false;
    node.life++;
    node.processes = new Map();
    for (const job of this.#unfinished) {
      if (this.submittedBy.get(job) !== index) continue;
      this.#unfinished.delete(job);
      this.submittedBy.delete(job);
    }
  }

  restart(index: number): void {
    const node = this.node(index);
    const fresh = this.#makeNode(node.setup, index);
    node.origin = fresh.origin;
    node.executor = fresh.executor;
    node.originWakeMs = node.executorWakeMs = Number.POSITIVE_INFINITY;
    node.up = true;
    for (const other of this.nodes) this.healLink(index, other.index);
  }

  /** Runs until nothing happens before `untilMs`, or the condition holds. */
  run(untilMs: number, isDone: () => boolean = () => false): void {
    while (!isDone()) {
      const event = this.#events.popUntil(untilMs);
      if (event === null) {
        this.nowMs = untilMs;
        return;
      }
      this.nowMs = event.atMs;
      event.run();
      assert(++this.#steps < EVENTS_MAX, 'the simulation does not come to an end');
    }
  }

  /** Jobs whose origin lives and that have no outcome yet. */
  get unfinished(): number {
    return this.#unfinished.size;
  }

  /** For messages of failed tests. */
  ranPerNode(): number[] {
    return this.nodes.map((node) => [...this.ranOn.values()].filter((id) => id === node.id).length);
  }

  stepOrigin(node: SimulatedNode, input: OriginInput): void {
    if (!node.up) return;
    for (const effect of node.origin.step(input, this.nowMs)) {
      switch (effect.kind) {
        case 'send':
          this.#send(node, effect.to, effect.message);
          break;
        case 'start': {
          const { job, attempt, place } = effect;
          const send = (): void => this.#send(node, place.node, startMessage(job, attempt, place.lease, place.cwd));
          if (this.#isSlow()) this.#sendLate(node, place.node, send);
          else send();
          break;
        }
        case 'finish':
          if (this.outcomes.has(effect.job)) this.violations.push(`${effect.job} finished twice`);
          this.#unfinished.delete(effect.job);
          this.outcomes.set(effect.job, { result: effect.result, atMs: this.nowMs });
          break;
        case 'state':
          break;
      }
    }
    this.#arm(node);
  }

  stepExecutor(node: SimulatedNode, input: ExecutorInput): void {
    if (!node.up) return;
    for (const effect of node.executor.step(input, this.nowMs)) {
      switch (effect.kind) {
        case 'check': {
          const { job, attempt } = effect.reserve;
          const verdict = { ok: true, cwd: '/work', toolsFound: [] } as const;
          const checked = { kind: 'checked', job, attempt, from: effect.from, verdict } as const;
          const judgeMs = this.#isSlow() ? this.random.next() * SLOW_MS : this.random.next() * 4;
          this.#later(node, judgeMs, () => this.stepExecutor(node, checked));
          break;
        }
        case 'send':
          this.#send(node, effect.to, effect.message);
          break;
        case 'run':
          this.#startProcess(node, effect.start.job, effect.start.attempt);
          break;
        case 'kill': {
          const process = node.processes.get(effect.job);
          if (process !== undefined) this.#later(node, 20, () => this.#endProcess(node, process, true));
          break;
        }
        case 'attach':
        case 'detach':
        case 'resize':
        case 'acked':
          break;
      }
    }
    this.#arm(node);
  }

  #isSlow(): boolean {
    return this.#slowShare > 0 && this.random.next() < this.#slowShare;
  }

  /** As if the origin had been suspended just then; not at all where the link went down meanwhile. */
  #sendLate(node: SimulatedNode, to: NodeId, send: () => void): void {
    const target = this.nodes.find(({ id }) => id === to) ?? node;
    const key = linkKey(node, target);
    const cuts = this.#cut.get(key) ?? 0;
    this.#later(node, this.random.next() * SLOW_MS, () => {
      if ((this.#cut.get(key) ?? 0) === cuts) send();
    });
  }

  #startProcess(node: SimulatedNode, job: JobId, attempt: number): void {
    this.runs.set(job, (this.runs.get(job) ?? 0) + 1);
    this.ranOn.set(job, node.id);
    const process = { job, attempt, ended: false };
    node.processes.set(job, process);
    node.processesMost = Math.max(node.processesMost, node.processes.size);
    if (node.processes.size > node.setup.slots) this.violations.push(`node ${node.index} runs more than its slots`);
    this.#later(node, 1, () => this.stepExecutor(node, { kind: 'started', job, attempt }));
    const durationMs = (this.durations.get(job) ?? 0) / (node.setup.speed ?? 1);
    this.#later(node, 1 + durationMs, () => this.#endProcess(node, process, false));
  }

  #endProcess(node: SimulatedNode, process: Process, killed: boolean): void {
    if (process.ended) return;
    process.ended = true;
    node.processes.delete(process.job);
    const outcome: AttemptResult['outcome'] = killed
      ? { kind: 'cancelled', code: null, signal: 'SIGTERM' }
      : { kind: 'exited', code: 0 };
    const result = { outcome, stdoutBytes: 0, stderrBytes: 0, truncated: false, leftRunning: 0, durationMs: 1 };
    this.stepExecutor(node, { kind: 'ended', job: process.job, attempt: process.attempt, result });
  }

  #send(from: SimulatedNode, to: NodeId, message: JobMessage): void {
    const target = this.nodes.find((node) => node.id === to);
    assert(target !== undefined, 'a message for nobody');
    const deliver = (): void => {
      if (isForExecutor(message)) this.stepExecutor(target, { kind: 'message', from: from.id, message });
      else this.stepOrigin(target, { kind: 'message', from: from.id, message });
    };
    this.messagesSent++;
    if (target === from) return this.#later(from, 0, deliver);
    const key = linkKey(from, target);
    if (this.#down.has(key)) return;
    const cuts = this.#cut.get(key) ?? 0;
    const lane = `${from.index}>${target.index}`;
    const atMs = Math.max(this.#lastDelivery.get(lane) ?? 0, this.nowMs + 0.1 + this.random.next() * this.#delayMsMax);
    this.#lastDelivery.set(lane, atMs);
    this.at(atMs, () => {
      if (!this.#down.has(key) && (this.#cut.get(key) ?? 0) === cuts) deliver();
    });
  }

  #later(node: SimulatedNode, delayMs: number, run: () => void): void {
    const { life } = node;
    this.at(this.nowMs + delayMs, () => {
      if (node.life === life) run();
    });
  }

  #arm(node: SimulatedNode): void {
    const originMs = node.origin.nextDeadlineMs() ?? Number.POSITIVE_INFINITY;
    if (originMs < node.originWakeMs) {
      node.originWakeMs = originMs;
      this.#later(node, Math.max(0, originMs - this.nowMs), () => {
        node.originWakeMs = Number.POSITIVE_INFINITY;
        this.stepOrigin(node, { kind: 'timer' });
      });
    }
    const executorMs = node.executor.nextDeadlineMs() ?? Number.POSITIVE_INFINITY;
    if (executorMs < node.executorWakeMs) {
      node.executorWakeMs = executorMs;
      this.#later(node, Math.max(0, executorMs - this.nowMs), () => {
        node.executorWakeMs = Number.POSITIVE_INFINITY;
        this.stepExecutor(node, { kind: 'timer' });
      });
    }
  }

  #heartbeat(node: SimulatedNode, delayMs: number): void {
    this.at(this.nowMs + delayMs, () => {
      if (node.up) for (const other of this.nodes) if (other !== node) this.#hear(other, node);
      this.#heartbeat(node, HEARTBEAT_MS * (0.9 + 0.2 * this.random.next()));
    });
  }

  #hear(listener: SimulatedNode, speaker: SimulatedNode): void {
    if (!listener.up || this.#down.has(linkKey(listener, speaker))) return;
    const { executor } = speaker;
    const load = loadOf(speaker.setup, executor.jobsRunning, executor.slotsFree);
    this.at(this.nowMs + this.random.next() * this.#delayMsMax, () => {
      listener.heard.set(speaker.id, { load, atMs: this.nowMs });
      if (listener.up) this.stepOrigin(listener, { kind: 'nodes_changed' });
    });
  }

  #views(node: () => SimulatedNode): NodeView[] {
    const self = node();
    return this.nodes.map((other) => {
      const isSelf = other === self;
      const heard = self.heard.get(other.id);
      const { executor } = self;
      return {
        id: other.id,
        name: `n${other.index}`,
        isSelf,
        facts: factsOf(other),
        load: isSelf ? loadOf(self.setup, executor.jobsRunning, executor.slotsFree) : (heard?.load ?? null),
        loadAtMs: isSelf ? this.nowMs : (heard?.atMs ?? 0),
        state: isSelf || !this.#down.has(linkKey(self, other)) ? 'alive' : 'suspect',
        reachable: isSelf || !this.#down.has(linkKey(self, other)),
        acceptsOurs: true,
        rttMs: isSelf ? 0 : 2,
      };
    });
  }

  #makeNode(setup: NodeSetup, index: number): SimulatedNode {
    const id = base32(new Uint8Array(33).fill(index + 1)).slice(0, 52) as NodeId;
    const rules = { compatible: () => true, pinSatisfied: () => true, isCatalogued: () => true };
    const node = (): SimulatedNode => this.node(index);
    return {
      index,
      id,
      setup,
      origin: new Origin({ nodes: () => this.#views(node), rules, random: this.random }),
      executor: new Executor({
        slots: setup.slots,
        self: () => id,
        share: { onBattery: false, yieldToOwner: true },
        originGraceMs: 0,
        facts: () => factsOf(node()),
        load: () => loadOf(setup, 0, 0),
        instance: () => `runner-${index}`,
        newLeaseId: () => base32(this.#bytes(16)) as LeaseId,
      }),
      up: true,
      life: 0,
      heard: new Map(),
      processes: new Map(),
      processesMost: 0,
      originWakeMs: Number.POSITIVE_INFINITY,
      executorWakeMs: Number.POSITIVE_INFINITY,
    };
  }

  #jobId(): JobId {
    return makeJobId(this.nowMs, this.#bytes(16));
  }

  #bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => Math.floor(this.random.next() * 256));
  }
}

function startMessage(job: JobId, attempt: number, lease: LeaseId, cwd: string): JobMessage {
  return {
    t: 'job.start',
    job,
    attempt,
    lease,
    spec: {
      command: { kind: 'line', line: 'make' },
      env: {},
      umask: 18,
      timeout_ms: null,
      stdin: false,
      ...PLAIN_ATTEMPT,
    },
    cwd,
    streams: { stdin: null, stdout: 1, stderr: 2 },
    window_bytes: 1,
  };
}

const linkKey = (a: SimulatedNode, b: SimulatedNode): string =>
  a.index < b.index ? `${a.index}-${b.index}` : `${b.index}-${a.index}`;

function factsOf(node: SimulatedNode): Facts {
  const { slots, cores } = node.setup;
  const platform = { os: 'linux', arch: 'x64', version: '0.1.0' } as const;
  const more = { tools: { make: '4.3' }, labels: {}, gpus: [], on_battery: false, overridden: false };
  return { name: `n${node.index}`, ...platform, cores: cores ?? 4, slots, memory_bytes: 2 ** 34, ...more };
}

function loadOf(setup: NodeSetup, jobsRunning: number, slotsFree: number): Load {
  return {
    cpu_percent: setup.cpuPercent ?? 5,
    memory_percent: 20,
    memory_available_bytes: 2 ** 33,
    load_1m: 0.1,
    psi_cpu_some_avg10: null,
    jobs_running: jobsRunning,
    jobs_queued: 0,
    slots_free: slotsFree,
    overloaded: setup.overloaded ?? (setup.cpuPercent ?? 5) > 40,
  };
}
