import { assert } from '../../src/base/assert.ts';
import { base32, makeJobId, type JobId, type LeaseId, type NodeId } from '../../src/base/ids.ts';
import { seededRandom, type Random } from '../../src/base/random.ts';
import type { NodeView } from '../../src/core/scheduling/candidate.ts';
import type { Submission } from '../../src/core/scheduling/origin-job.ts';
import type { AttemptName } from '../../src/ports/runner.ts';
import type { Facts, Load } from '../../src/wire/facts.ts';
import type { JobSpec } from '../../src/wire/job-spec.ts';
import type { JobMessage } from '../../src/wire/jobs.ts';
import { MemoryJournalFile } from '../fixtures/memory-journal.ts';
import { PLAIN_JOB, SHIPPED } from '../fixtures/plain-spec.ts';
import { JobLedger } from './job-ledger.ts';
import { SimulatedExecutor } from './simulated-executor.ts';
import { SimulatedLinks } from './simulated-links.ts';
import { SimulatedOrigin } from './simulated-origin.ts';
import { SimulatedRunner, type Program } from './simulated-runner.ts';
import { isSync, isSyncForExecutor, type WorldMessage } from './simulated-sync.ts';
import { VirtualClock } from './virtual-clock.ts';

export interface MachineSetup {
  readonly slots: number;
  readonly cores: number;
}

export interface WorldSetup {
  readonly seed: number;
  readonly nodes: readonly MachineSetup[];
  readonly delayMsMax?: number;
  /** How many of the judgements and starts take seconds. */
  readonly slowShare?: number;
  /** Ended attempts that an executor keeps. */
  readonly keptMax?: number;
}

export interface JobSetup {
  readonly durationMs: number;
  readonly durable: boolean;
  readonly retries: number;
  readonly cpus: number | null;
  readonly submitter?: string;
  readonly parent?: JobId | null;
  /** It is in a project, whose files go along where it goes to another machine. */
  readonly files?: boolean;
  /** Its process submits this as a foreground job, and ends with it: instead of `durationMs`. */
  readonly child?: JobSetup;
}

type Message = WorldMessage | { readonly t: 'load'; readonly load: Load };

interface Client {
  readonly job: JobId;
  goneMs: number | null;
}

interface Peer {
  load: { readonly load: Load; readonly atMs: number } | null;
  /** Since when there is no link; null while there is one. */
  downSinceMs: number | null;
  /** Rises with each link. */
  links: number;
}

interface Daemon {
  readonly executor: SimulatedExecutor;
  readonly origin: SimulatedOrigin;
  readonly peers: Map<number, Peer>;
}

interface Machine {
  readonly index: number;
  readonly id: NodeId;
  readonly setup: MachineSetup;
  readonly originFile: MemoryJournalFile;
  readonly executorFile: MemoryJournalFile;
  /** Foreground jobs whose clients are on this machine. */
  readonly clients: Map<JobId, Client>;
  runner: SimulatedRunner;
  daemon: Daemon | null;
  /** The power is off. */
  off: boolean;
  downSinceMs: number;
}

const LOAD_EVERY_MS = 1000;
const SUSPECT_SILENCE_MS = 5000;
const DEAD_AFTER_SUSPECT_MS = 4000;
/** So long a client waits for a daemon that went. */
const CLIENT_PATIENCE_MS = 15_000;
const CLIENT_BACK_MS_MAX = 3000;
const RUNNER_LOST_MS_MAX = 500;

const isForExecutor = (message: JobMessage): boolean =>
  [
    'job.reserve',
    'job.release',
    'job.start',
    'job.cancel',
    'job.attach',
    'job.detach',
    'job.ack',
    'job.resize',
  ].includes(message.t);

/**
 * A deterministic world of machines with real origins and executors and real journals: links that are cut and come back,
 * daemons, runners and machines that die and start again, clients that go. All follows from the seed; what is
 * not as it has to be is in `ledger.violations`.
 */
export class JobWorld {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly ledger: JobLedger;
  readonly machines: readonly Machine[];
  /** Attempts that were started where their files had been sent. */
  syncedRuns = 0;
  readonly #links: SimulatedLinks<Message>;
  readonly #slowShare: number;
  readonly #keptMax: number;
  readonly #programs = new Map<JobId, Program>();
  readonly #children = new Map<JobId, JobSetup>();
  readonly #accepted = new Set<JobId>();
  /** A power cut may have taken what their origins knew of them. */
  readonly #mayBeForgotten = new Set<JobId>();
  #runners = 0;

  constructor(setup: WorldSetup) {
    this.random = seededRandom(setup.seed);
    this.#slowShare = setup.slowShare ?? 0;
    this.#keptMax = setup.keptMax ?? 1000;
    this.ledger = new JobLedger(
      () => this.clock.nowMs,
      (node) => ({ slots: this.machine(node).setup.slots, cpus: this.machine(node).setup.cores }),
    );
    const times = { delayMsMax: setup.delayMsMax ?? 5, silenceMsMax: 6000, redialMsMax: 2000 };
    this.#links = new SimulatedLinks(setup.nodes.length, this.clock, this.random, times, (index) => ({
      onUp: (peer) => this.#onUp(index, peer),
      onDown: (peer) => this.#onDown(index, peer),
      onMessage: (from, message) => this.#onMessage(index, from, message),
    }));
    this.machines = setup.nodes.map((machine, index) => ({
      index,
      id: base32(Uint8Array.from({ length: 32 }, () => this.random.next() * 256)) as NodeId,
      setup: machine,
      originFile: new MemoryJournalFile(),
      executorFile: new MemoryJournalFile(),
      clients: new Map(),
      runner: this.#newRunner(index),
      daemon: null,
      off: false,
      downSinceMs: 0,
    }));
    for (const { index } of this.machines) {
      this.start(index);
      this.clock.after(this.random.next() * LOAD_EVERY_MS, () => this.#tellLoad(index));
    }
  }

  machine(index: number): Machine {
    const machine = this.machines[index];
    assert(machine !== undefined, 'there is no such machine');
    return machine;
  }

  /** @returns null where no daemon runs there */
  submit(index: number, setup: JobSetup): JobId | null {
    const { daemon, clients } = this.machine(index);
    if (daemon === null) return null;
    const job = makeJobId(Math.floor(this.clock.nowMs) + 1, this.#bytes(10));
    const { retries, durable, cpus, child, parent = null } = setup;
    const durationMs = child === undefined ? setup.durationMs : null;
    this.#programs.set(job, { durationMs, exitCode: Math.floor(this.random.next() * 256) });
    if (child !== undefined) this.#children.set(job, child);
    this.ledger.onSubmitted(job, { origin: index, retries, durable, cpus: cpus ?? 0, parent });
    if (!durable) clients.set(job, { job, goneMs: null });
    const spec = specOf(setup);
    daemon.origin.submit(job, spec, parent, () => this.#accepted.add(job));
    return job;
  }

  cancel(job: JobId): void {
    this.#originOf(job)?.cancel(job);
  }

  /** The front lets its job go on by itself. */
  detach(job: JobId): void {
    const { clients } = this.machine(this.ledger.jobs.get(job)?.origin ?? 0);
    const client = clients.get(job);
    if (client === undefined || client.goneMs !== null) return;
    if (this.#originOf(job)?.detach(job) === true) clients.delete(job);
  }

  clientGoes(job: JobId): void {
    const client = this.machine(this.ledger.jobs.get(job)?.origin ?? 0).clients.get(job);
    if (client === undefined || client.goneMs !== null) return;
    client.goneMs = this.clock.nowMs;
    this.#originOf(job)?.clientGone(job);
  }

  cut(a: number, b: number): void {
    this.#links.cut(a, b);
  }

  heal(a: number, b: number): void {
    this.#links.heal(a, b);
  }

  /** SIGKILL of the daemon: its files are as it wrote them, its runner goes on. */
  killDaemon(index: number): void {
    this.#endDaemon(index, false);
  }

  /** SIGKILL of the runner. A daemon that lives hunts its trees and starts another one. */
  killRunner(index: number): void {
    const machine = this.machine(index);
    if (machine.off || machine.runner.isDead) return;
    machine.runner.kill();
    const { daemon } = machine;
    if (daemon === null) return;
    this.clock.after(this.random.next() * RUNNER_LOST_MS_MAX, () => {
      if (machine.daemon !== daemon) return;
      this.#replaceRunner(machine);
      daemon.executor.onRunnerLost(machine.runner);
    });
  }

  /** The power goes: processes are gone at once, and what was not on the disk yet may be. */
  powerOff(index: number): void {
    const machine = this.machine(index);
    if (machine.off) return;
    this.#endDaemon(index, true);
    machine.off = true;
    if (!machine.runner.isDead) machine.runner.kill();
    const kept = machine.runner.endTrees().filter(() => this.random.next() < 0.5);
    machine.runner = this.#newRunner(index);
    machine.runner.keep(kept.filter(({ result }) => result.outcome.kind !== 'unknown'));
    for (const file of [machine.originFile, machine.executorFile]) {
      file.crash(Math.floor(this.random.next() * (file.unsyncedBytes + 1)));
    }
    for (const client of machine.clients.values()) client.goneMs ??= this.clock.nowMs;
    this.ledger.onPowerCut(index);
    for (const [job, { origin, durable }] of this.ledger.jobs) {
      if (origin !== index) continue;
      if (!durable || !this.#accepted.has(job)) this.#mayBeForgotten.add(job);
    }
  }

  /** Bits of a journal flip while no daemon runs there: what it knew may be gone, and nothing else. */
  damage(index: number, which: 'originFile' | 'executorFile', flips: number): void {
    const machine = this.machine(index);
    assert(machine.daemon === null, 'the journal of a daemon that runs');
    machine[which].damage((content) => {
      for (let i = 0; i < flips && content.length > 0; i++) {
        const at = Math.floor(this.random.next() * content.length);
        content[at] = (content[at] ?? 0) ^ (1 << Math.floor(this.random.next() * 8));
      }
      return content;
    });
    this.ledger.onPowerCut(index);
    for (const [job, { origin }] of this.ledger.jobs) if (origin === index) this.#mayBeForgotten.add(job);
  }

  /** Starts the daemon, where none runs. */
  start(index: number): void {
    const machine = this.machine(index);
    if (machine.daemon !== null) return;
    machine.off = false;
    if (machine.runner.isDead) this.#replaceRunner(machine);
    const peers = new Map<number, Peer>();
    for (const other of this.machines ?? []) {
      if (other !== machine) peers.set(other.index, { load: null, downSinceMs: this.clock.nowMs, links: 0 });
    }
    machine.daemon = this.#makeDaemon(machine, peers);
    this.#links.nodeUp(index);
    this.#clientsComeBack(machine, machine.daemon);
  }

  /** Jobs whose files are on their way, and between which nodes. */
  get syncing(): { readonly job: JobId; readonly origin: number; readonly node: number }[] {
    return this.machines.flatMap(({ index: origin, daemon }) =>
      (daemon?.origin.openJobs ?? []).flatMap((job) => {
        const view = daemon?.origin.machine.view(job, this.clock.nowMs) ?? null;
        if (view?.place == null || view.isSent) return [];
        return [{ job, origin, node: this.#indexOf(view.place.node) }];
      }),
    );
  }

  /** Jobs that have to get an outcome and have none yet. */
  get unfinished(): JobId[] {
    return [...this.ledger.jobs.keys()].filter(
      (job) => !this.ledger.outcomes.has(job) && !this.#mayBeForgotten.has(job),
    );
  }

  /** What is not as it has to be once nothing is broken and nothing is left to do. */
  leaks(): string[] {
    const found: string[] = this.unfinished.map((job) => `${job} has no outcome`);
    found.push(...this.ledger.unknownWithoutNeed());
    for (const { job, attempt, node } of this.ledger.alive) found.push(`${job}/${attempt} still runs on node ${node}`);
    for (const { index, daemon, setup } of this.machines) {
      if (daemon === null) continue;
      const { executor, origin } = daemon;
      if (executor.machine.slotsFree !== setup.slots)
        found.push(`node ${index} has ${executor.machine.slotsFree} slots`);
      const syncs = executor.sync.openCount + origin.sync.openCount;
      if (syncs > 0) found.push(`node ${index} has ${syncs} syncs under way`);
      if (origin.machine.jobsKept + origin.openJobs.length > 0) {
        found.push(`node ${index} keeps ${origin.machine.jobsKept} jobs: ${origin.openJobs.join(', ')}`);
      }
    }
    return found;
  }

  #makeDaemon(machine: Machine, peers: Map<number, Peer>): Daemon {
    const { index, setup, runner } = machine;
    const peerOf = (id: NodeId): Peer | null => peers.get(this.#indexOf(id)) ?? null;
    const linkTo = (id: NodeId): number | null => {
      if (id === machine.id) return 0;
      const peer = peerOf(id);
      return peer === null || peer.downSinceMs !== null ? null : peer.links;
    };
    const common = {
      clock: this.clock,
      random: this.random,
      slowShare: this.#slowShare,
      linkTo,
      send: (to: NodeId, message: WorldMessage): void => this.#send(index, this.#indexOf(to), message),
    };
    const load = (): Load => loadOf(machine);
    const executor = new SimulatedExecutor(
      {
        ...common,
        onSyncedRun: () => {
          this.syncedRuns += 1;
        },
        onViolation: (text) => this.ledger.onViolation(`node ${index}: ${text}`),
        self: machine.id,
        keptMax: this.#keptMax,
        slots: setup.slots,
        facts: () => factsOf(machine),
        load,
        newLeaseId: () => base32(this.#bytes(16)) as LeaseId,
      },
      machine.executorFile,
      runner,
    );
    const nodes = (): NodeView[] => this.#viewsOf(machine, executor, peers);
    const onOutcome = (job: JobId, told: Parameters<JobLedger['onOutcome']>[1]): void => {
      this.#clientHears(machine, job);
      this.ledger.onOutcome(job, told);
    };
    const origin = new SimulatedOrigin(
      { ...common, self: machine.id, nodes, prepare: submissionOf, onOutcome },
      machine.originFile,
    );
    return { executor, origin, peers };
  }

  #endDaemon(index: number, silently: boolean): void {
    const machine = this.machine(index);
    const { daemon } = machine;
    if (daemon === null) return;
    daemon.origin.crash();
    daemon.executor.crash();
    machine.daemon = null;
    machine.downSinceMs = this.clock.nowMs;
    for (const file of [machine.originFile, machine.executorFile]) file.crash();
    if (silently) this.#links.nodeLost(index);
    else this.#links.nodeDown(index);
  }

  /** Those that lived so long without a daemon go on, where they are still there. */
  #clientsComeBack(machine: Machine, daemon: Daemon): void {
    const isLate = this.clock.nowMs - machine.downSinceMs > CLIENT_PATIENCE_MS;
    const waiting = new Set(daemon.origin.waitingForClients);
    for (const [job, client] of machine.clients) {
      // It asks for a job that nobody knows any more.
      if (client.goneMs !== null || (waiting.has(job) && !isLate)) continue;
      this.#clientHears(machine, job);
      client.goneMs = this.clock.nowMs;
    }
    for (const job of waiting) {
      const client = machine.clients.get(job);
      this.clock.after(this.random.next() * CLIENT_BACK_MS_MAX, () => {
        if (machine.daemon === daemon && client?.goneMs === null) daemon.origin.clientIsBack(job);
      });
    }
  }

  #newRunner(index: number): SimulatedRunner {
    this.#runners += 1;
    const watch = {
      onProcessStart: (name: AttemptName): void => {
        this.ledger.onProcessStart(index, name);
        const child = this.#children.get(name.job);
        if (child !== undefined) this.clock.after(20, () => this.#submitChild(index, name, child));
      },
      onProcessEnd: (name: AttemptName, result: Parameters<JobLedger['onProcessEnd']>[2]): void => {
        this.ledger.onProcessEnd(index, name, result);
        // Whoever it was the client of has lost it.
        for (const [job, { parent, origin }] of this.ledger.jobs) {
          if (parent === name.job && origin === index) this.clientGoes(job);
        }
      },
    };
    const programOf = ({ job }: AttemptName): Program => {
      const program = this.#programs.get(job);
      assert(program !== undefined, 'a job without a program');
      return program;
    };
    return new SimulatedRunner(`runner-${this.#runners}`, this.clock, this.random, watch, programOf);
  }

  /** The process calls meshwork on its machine; where no daemon answers it gives up, and so does its client later. */
  #submitChild(index: number, parent: AttemptName, child: JobSetup): void {
    const { runner } = this.machine(index);
    if (!runner.running.some(({ job, attempt }) => job === parent.job && attempt === parent.attempt)) return;
    const job = this.submit(index, { ...child, durable: false, parent: parent.job });
    if (job === null) runner.finish(parent.job);
  }

  /** Its client has the outcome, or has given up. */
  #clientHears(machine: Machine, job: JobId): void {
    const client = machine.clients.get(job);
    machine.clients.delete(job);
    const parent = this.ledger.jobs.get(job)?.parent ?? null;
    if (client?.goneMs === null && parent !== null) machine.runner.finish(parent);
  }

  #replaceRunner(machine: Machine): void {
    const ends = machine.runner.endTrees();
    machine.runner = this.#newRunner(machine.index);
    machine.runner.keep(ends);
  }

  #send(from: number, to: number, message: WorldMessage): void {
    if (from !== to) return this.#links.send(from, to, message);
    const { daemon } = this.machine(from);
    this.clock.after(0, () => {
      const now = this.machine(from).daemon;
      if (now !== null && (daemon === null || daemon === now)) this.#deliver(now, from, message);
    });
  }

  #onMessage(at: number, from: number, message: Message): void {
    const { daemon } = this.machine(at);
    if (daemon === null) return;
    if (message.t !== 'load') return this.#deliver(daemon, from, message);
    const peer = daemon.peers.get(from);
    if (peer !== undefined) peer.load = { load: message.load, atMs: this.clock.nowMs };
    daemon.origin.step({ kind: 'nodes_changed' });
  }

  #deliver(daemon: Daemon, from: number, message: WorldMessage): void {
    const { id } = this.machine(from);
    if (isSync(message)) {
      if (isSyncForExecutor(message)) daemon.executor.sync.receive(id, message);
      else daemon.origin.sync.receive(message);
    } else if (isForExecutor(message)) daemon.executor.step({ kind: 'message', from: id, message });
    else daemon.origin.receive(id, message);
  }

  #onUp(at: number, other: number): void {
    const { daemon } = this.machine(at);
    const peer = daemon?.peers.get(other);
    if (daemon === null || peer === undefined) return;
    peer.downSinceMs = null;
    peer.links += 1;
    this.#links.send(at, other, { t: 'load', load: this.#loadWithSlots(this.machine(at)) });
    daemon.origin.step({ kind: 'link_up', node: this.machine(other).id });
  }

  #onDown(at: number, other: number): void {
    const { daemon } = this.machine(at);
    const peer = daemon?.peers.get(other);
    if (daemon === null || peer === undefined) return;
    peer.downSinceMs = this.clock.nowMs;
    const { id } = this.machine(other);
    daemon.executor.step({ kind: 'link_down', peer: id });
    daemon.origin.step({ kind: 'link_down', node: id });
    for (const afterMs of [DEAD_AFTER_SUSPECT_MS, SUSPECT_SILENCE_MS + DEAD_AFTER_SUSPECT_MS]) {
      this.clock.after(afterMs + 1, () => daemon.origin.step({ kind: 'nodes_changed' }));
    }
  }

  #tellLoad(index: number): void {
    const machine = this.machine(index);
    if (machine.daemon !== null) {
      const load = this.#loadWithSlots(machine);
      for (const other of machine.daemon.peers.keys()) this.#links.send(index, other, { t: 'load', load });
    }
    this.clock.after(LOAD_EVERY_MS * (0.9 + 0.2 * this.random.next()), () => this.#tellLoad(index));
  }

  #loadWithSlots(machine: Machine): Load {
    const executor = machine.daemon?.executor.machine;
    if (executor === undefined) return loadOf(machine);
    return { ...loadOf(machine), jobs_running: executor.jobsRunning, slots_free: executor.slotsFree };
  }

  /** What membership would tell of each node. */
  #viewsOf(machine: Machine, executor: SimulatedExecutor, peers: ReadonlyMap<number, Peer>): NodeView[] {
    const { nowMs } = this.clock;
    return this.machines.map((other): NodeView => {
      const common = { id: other.id, name: `n${other.index}`, facts: factsOf(other), acceptsOurs: true };
      const peer = peers.get(other.index);
      if (peer === undefined) {
        const { jobsRunning, slotsFree } = executor.machine;
        const load = { ...loadOf(machine), jobs_running: jobsRunning, slots_free: slotsFree };
        return { ...common, isSelf: true, load, loadAtMs: nowMs, state: 'alive', reachable: true, rttMs: 0 };
      }
      const { downSinceMs } = peer;
      const told = { load: peer.load?.load ?? null, loadAtMs: peer.load?.atMs ?? 0, rttMs: 1 };
      if (downSinceMs === null) return { ...common, isSelf: false, ...told, state: 'alive', reachable: true };
      // Nobody listens there: suspect at once. Else only silence tells.
      const isRefused = other.daemon === null && !other.off;
      const suspectMs = downSinceMs + (isRefused ? 0 : SUSPECT_SILENCE_MS);
      const dead = nowMs >= suspectMs + DEAD_AFTER_SUSPECT_MS;
      const state = dead ? 'dead' : nowMs >= suspectMs ? 'suspect' : 'alive';
      const away = { ...common, isSelf: false, ...told, state, reachable: false } as const;
      return isRefused ? { ...away, refusedSinceMs: downSinceMs } : away;
    });
  }

  #originOf(job: JobId): SimulatedOrigin | null {
    const facts = this.ledger.jobs.get(job);
    return facts === undefined ? null : (this.machine(facts.origin).daemon?.origin ?? null);
  }

  #indexOf(id: NodeId): number {
    return this.machines.findIndex((machine) => machine.id === id);
  }

  #bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.random.next() * 256);
  }
}

function specOf({ durable, retries, cpus, submitter = 'shell', files = false }: JobSetup): JobSpec {
  return {
    command: { kind: 'line', line: 'make' },
    cwd: '/work',
    env: {},
    umask: 0o022,
    requires: { os: null, arch: null, capabilities: [], cpus, memory_bytes: null },
    target: { kind: 'any' },
    timeout_ms: null,
    stdin: false,
    ...PLAIN_JOB,
    durable,
    retries,
    submitter,
    sync: files ? SHIPPED : null,
  };
}

function submissionOf(job: JobId, { command, target, requires, sync }: JobSpec): Submission {
  const where = { path: '/work', home_relative: null, boot_id: null, device: '1', inode: '1' };
  const cwd = { ...where, clean_commit: null, git_prefix: null };
  const known = { jobClass: 'heavy', classReason: 'make', tools: ['make'], toolsHere: ['make'], pins: {} } as const;
  const workspace = { staysHere: null, refused: null, bytesTo: () => 0, productsAt: null };
  const placement = { ...known, target, requires, ...(sync === null ? {} : { workspace }) };
  return { job, command, cwd, placement };
}

function factsOf({ index, setup }: Machine): Facts {
  const platform = { os: 'linux', arch: 'x64', version: '0.1.0' } as const;
  const more = { tools: { make: '4.3' }, labels: {}, gpus: [], on_battery: false, overridden: false };
  return { name: `n${index}`, ...platform, ...setup, memory_bytes: 2 ** 34, ...more };
}

function loadOf({ setup }: Machine): Load {
  return {
    cpu_percent: 5,
    memory_percent: 20,
    memory_available_bytes: 2 ** 33,
    load_1m: 0.1,
    psi_cpu_some_avg10: null,
    jobs_running: 0,
    jobs_queued: 0,
    slots_free: setup.slots,
    overloaded: false,
  };
}
