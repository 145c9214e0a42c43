import type { LeaseId, NodeId } from '../../src/base/ids.ts';
import { silentLogger } from '../../src/base/log.ts';
import type { Random } from '../../src/base/random.ts';
import { endedEntry, startedEntry } from '../../src/core/jobs/attempt-book.ts';
import { Executor } from '../../src/core/jobs/executor.ts';
import type { ExecutorOptions } from '../../src/core/jobs/executor-options.ts';
import type { AttemptKey, ExecutorEffect, ExecutorInput } from '../../src/core/jobs/executor-state.ts';
import { AttemptJournal } from '../../src/node/attempt-journal.ts';
import type { RunHandlers } from '../../src/ports/runner.ts';
import type { Facts, Load } from '../../src/wire/facts.ts';
import type { JobMessage } from '../../src/wire/jobs.ts';
import type { MemoryJournalFile } from '../fixtures/memory-journal.ts';
import type { SimulatedRunner } from './simulated-runner.ts';
import { NOT_PLACED, SimulatedExecutorSync, type WorldMessage } from './simulated-sync.ts';
import type { VirtualClock } from './virtual-clock.ts';

export interface ExecutorSurroundings {
  readonly clock: VirtualClock;
  readonly random: Random;
  readonly self: NodeId;
  readonly slots: number;
  readonly facts: () => Facts;
  readonly load: () => Load;
  readonly newLeaseId: () => LeaseId;
  /** A number that changes with each link to that node. */
  readonly linkTo: (peer: NodeId) => number | null;
  readonly send: (to: NodeId, message: WorldMessage) => void;
  readonly onViolation: (text: string) => void;
  /** An attempt starts whose files were sent. */
  readonly onSyncedRun: () => void;
  /** Ended attempts that are kept. */
  readonly keptMax: number;
  /** How many of the judgements take seconds. */
  readonly slowShare: number;
}

/** Longer than leases and reservations last. */
const SLOW_MS = 14_000;
const STREAMS_END_MS_MAX = 20;

/** One life of a daemon's executor: the real machine, with what the daemon does for it on a virtual clock. */
export class SimulatedExecutor {
  readonly machine: Executor;
  readonly sync: SimulatedExecutorSync;
  readonly #around: ExecutorSurroundings;
  readonly #journal: AttemptJournal;
  #runner: SimulatedRunner;
  #isOver = false;
  #wakeMs = Number.POSITIVE_INFINITY;

  constructor(around: ExecutorSurroundings, file: MemoryJournalFile, runner: SimulatedRunner) {
    this.#around = around;
    this.#runner = runner;
    const options: ExecutorOptions = {
      self: () => around.self,
      share: { onBattery: true, yieldToOwner: false },
      slots: around.slots,
      facts: around.facts,
      load: around.load,
      instance: () => this.#runner.instance,
      newLeaseId: around.newLeaseId,
    };
    this.machine = new Executor(options);
    this.sync = new SimulatedExecutorSync({
      ...around,
      machine: () => this.machine,
      nowMs: () => around.clock.nowMs,
      step: (input) => this.step(input),
      later: (delayMs, run) => this.#later(delayMs, run),
    });
    const bounds = { ageMsMax: 3_600_000, bytesMax: 2 ** 30, attemptsMax: around.keptMax, logBytesMax: 2 ** 20 };
    this.#journal = new AttemptJournal(file.open(), bounds, silentLogger, 'executor.journal');
    runner.connect();
    this.#restore();
  }

  /** The daemon dies. */
  crash(): void {
    this.#isOver = true;
    this.#runner.disconnect();
  }

  /** The runner was killed below this daemon, its trees were hunted, and another one is there. */
  onRunnerLost(next: SimulatedRunner): void {
    this.#runner = next;
    next.connect();
    this.step({ kind: 'runner_lost', message: 'the runner is gone' });
  }

  step(input: ExecutorInput): void {
    if (this.#isOver) return;
    for (const effect of this.machine.step(input, this.#around.clock.nowMs)) this.#perform(effect);
    this.#arm();
  }

  #perform(effect: ExecutorEffect): void {
    switch (effect.kind) {
      case 'check': {
        const { job, attempt, workspace } = effect.reserve;
        const verdict = { ok: true, cwd: workspace ? NOT_PLACED : '/work', toolsFound: [] } as const;
        const { random, slowShare } = this.#around;
        const judgeMs = random.next() * (random.next() < slowShare ? SLOW_MS : 4);
        return this.#later(judgeMs, () => this.step({ kind: 'checked', job, attempt, from: effect.from, verdict }));
      }
      case 'send':
        return this.#send(effect.to, effect.message);
      case 'run':
        return this.#run(effect);
      case 'attach': {
        const { job, attempt } = effect.attach;
        const joinMs = this.#around.random.next() * STREAMS_END_MS_MAX;
        return this.#later(joinMs, () => this.step({ kind: 'attach_ready', job, attempt, stdinOffset: 0 }));
      }
      case 'detach':
        this.#journal.record({ e: 'detached', ...keyOf(effect) });
        return this.#runner.detach(keyOf(effect));
      case 'acked':
        this.#journal.record({ e: 'acked', ...keyOf(effect) });
        return;
      case 'lease_ended':
        return this.sync.leaseEnded(effect);
      case 'kill':
        return this.#runner.cancel(keyOf(effect));
      case 'resize':
        return;
    }
  }

  /** The end of an attempt is told once its streams have ended, and only over the link that they were on. */
  #send(to: NodeId, message: JobMessage): void {
    const { linkTo, send, random } = this.#around;
    if (message.t !== 'job.ended') return send(to, message);
    const link = linkTo(to);
    this.#later(random.next() * STREAMS_END_MS_MAX, () => {
      if (linkTo(to) === link) send(to, message);
    });
  }

  #run(effect: Extract<ExecutorEffect, { kind: 'run' }>): void {
    const { start, from, grant, cwd } = effect;
    const key = keyOf(start);
    const synced = this.sync.take(start.lease);
    const placed = synced ?? '/work';
    if (synced !== null) this.#around.onSyncedRun();
    if (cwd !== placed)
      this.#around.onViolation(`${key.job}/${key.attempt} runs in ${cwd}, its files are in ${placed}`);
    const { durable, nesting } = start.spec;
    if (this.#runner.isDead) {
      const reason = { code: 'other', text: 'its runner is gone' } as const;
      return this.#later(0, () => this.step({ kind: 'not_run', ...key, reason }));
    }
    const shown = { cwd: start.cwd, command: 'make', instance: this.#runner.instance, startedAtMs: this.#wallMs };
    this.#journal.record(startedEntry({ ...key, from, durable, nesting, grant, ...shown }));
    this.#runner.run(key, durable, this.#handlers(key));
  }

  #handlers(key: AttemptKey): RunHandlers {
    return {
      onStarted: () => this.step({ kind: 'started', ...key }),
      onEnded: (result) => {
        this.#journal.record(endedEntry(key, result, this.#wallMs));
        this.#runner.acknowledge(key);
        this.step({ kind: 'ended', ...key, result });
        this.#dropDue();
      },
    };
  }

  #restore(): void {
    const { book } = this.#journal;
    const { kept } = this.#runner;
    const { attempts, given, entries, strangers, isWhole } = book.restore(kept, this.#wallMs);
    for (const entry of entries) this.#journal.record(entry);
    this.step({
      kind: 'restored',
      attempts,
      given,
      isWhole: this.#journal.knowsAllOf(this.#runner.instance) && isWhole,
    });
    for (const attempt of strangers) {
      if (attempt.kind === 'running') this.#runner.cancel(attempt);
      else this.#runner.acknowledge(attempt);
    }
    for (const attempt of kept) {
      if (book.get(attempt) === undefined) continue;
      if (attempt.kind === 'ended') this.#runner.acknowledge(attempt);
      else this.#runner.adopt(keyOf(attempt), this.#handlers(keyOf(attempt)));
    }
    this.#dropDue();
  }

  /** What is more than is kept. */
  #dropDue(): void {
    for (const due of this.#journal.book.due(this.#wallMs)) {
      const key = keyOf(due);
      this.#runner.drop(key);
      this.#journal.record({ e: 'dropped', ...key, at_ms: this.#wallMs });
      this.step({ kind: 'dropped', ...key });
    }
  }

  get #wallMs(): number {
    return Math.floor(this.#around.clock.nowMs);
  }

  #arm(): void {
    const wakeMs = this.machine.nextDeadlineMs() ?? Number.POSITIVE_INFINITY;
    if (wakeMs >= this.#wakeMs) return;
    this.#wakeMs = wakeMs;
    this.#later(Math.max(0, wakeMs - this.#around.clock.nowMs), () => {
      this.#wakeMs = Number.POSITIVE_INFINITY;
      this.step({ kind: 'timer' });
    });
  }

  #later(delayMs: number, run: () => void): void {
    this.#around.clock.after(delayMs, () => {
      if (!this.#isOver) run();
    });
  }
}

const keyOf = ({ job, attempt }: AttemptKey): AttemptKey => ({ job, attempt });
