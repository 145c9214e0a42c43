import { assert } from '../../base/assert.ts';
import type { JobId, NodeId } from '../../base/ids.ts';
import type { JobMessageOf } from '../../wire/jobs.ts';
import { type Candidate, freeSlots } from './candidate.ts';
import { signed, withRefusal, type OriginJob } from './job-table.ts';
import { type AttemptPlace, type OriginJobState, type Submission } from './origin-job.ts';
import type { OriginLedger } from './origin-ledger.ts';
import {
  IMPOSSIBLE_GRACE_MS,
  LOOK_AHEAD_JOBS_MAX,
  ORIGIN_JOBS_MAX,
  QUEUED_JOBS_MAX,
  RESERVE_TIMEOUT_MS,
  RETRY_MS,
  TRIES_PER_ROUND_MAX,
} from './origin-limits.ts';
import { place, type Placement, type RankedCandidate } from './placement.ts';
import { isShippedTo, reserveMessage } from './reserve-message.ts';

export type Impossible = Extract<Placement, { kind: 'impossible' }>;
type ReservingState = Extract<OriginJobState, { kind: 'reserving' }>;

/**
 * From the queue to a lease: who is asked for a slot, in what order, and who waits.
 *
 * O3 A lease that no state wants is released (`onReserved`).
 * O4 The queue's order holds among jobs that could take the same slot (`pump`).
 */
export class SlotSearch {
  readonly #ledger: OriginLedger;
  #sequence = 0;
  #retryAtMs: number | null = null;

  constructor(ledger: OriginLedger) {
    this.#ledger = ledger;
  }

  /** When the queue is tried again without any hint; null where nothing waits. */
  get retryAtMs(): number | null {
    return this.#retryAtMs;
  }

  /** Call at the end of each step. */
  arm(nowMs: number): void {
    const { table, options } = this.#ledger;
    if (table.queuedCount === 0) this.#retryAtMs = null;
    else this.#retryAtMs ??= nowMs + RETRY_MS * (0.75 + 0.5 * options.random.next());
  }

  /** Puts a job into the table, waiting. */
  enter(submission: Submission, restored: Partial<OriginJob>, nowMs: number): OriginJob {
    const { kind } = submission.placement.target;
    const job = signed({
      submission,
      sequence: this.#sequence++,
      submittedAtMs: nowMs,
      state: { kind: 'queued' },
      attempt: 1,
      refusals: new Map(),
      syncFailures: new Map(),
      avoided: [],
      reruns: [],
      lostAt: null,
      patientUntilMs: nowMs,
      impossibleSinceMs: null,
      wasPlaceable: false,
      passedOverSinceMs: null,
      route: '',
      automatic: kind === 'bash' || kind === 'any',
      ...restored,
    });
    this.#ledger.table.put(job);
    return job;
  }

  onSubmit(submission: Submission, nowMs: number): void {
    const { table } = this.#ledger;
    assert(table.get(submission.job) === undefined, 'a job id was submitted twice');
    const isFull = table.queuedCount >= QUEUED_JOBS_MAX || table.size >= ORIGIN_JOBS_MAX;
    const job = this.enter(submission, {}, nowMs);
    if (isFull) {
      const message = `${table.queuedCount - 1} jobs wait for a slot already, more are not taken; nothing ran`;
      return this.#ledger.refuse(job, 'queue_full', message, [], nowMs);
    }
    const placement = this.#place(job, this.#ledger.candidates(), nowMs);
    if (placement.kind === 'candidates') return table.put({ ...job, wasPlaceable: true });
    if (this.mayChangeWithLinks(placement, nowMs)) return this.#ledger.noteWhy(job, whyWaiting(placement));
    this.#ledger.refuse(job, placement.code, placement.message, placement.rejected, nowMs);
  }

  onReserved(from: NodeId, message: JobMessageOf<'job.reserved'>, nowMs: number): void {
    const { table, book } = this.#ledger;
    book.noteLoad(from, message.load, nowMs);
    const { lease } = message;
    if (lease === null) return;
    const job = table.get(message.job);
    const state = job?.attempt === message.attempt ? job.state : undefined;
    if (job !== undefined && state?.kind === 'reserving' && state.node === from) {
      const { node, name, route, tools, isShipped, askedAtMs: reservedAtMs } = state;
      const { instance, cwd } = message;
      const at: AttemptPlace = { node, name, lease, instance, cwd, route, tools, reservedAtMs, syncMs: 0 };
      if (isShipped) this.#ledger.beginSync(job, at, nowMs);
      else this.#ledger.start(job, at, nowMs);
      return;
    }
    const inUse = state !== undefined && 'place' in state && state.place.node === from && state.place.lease === lease;
    if (inUse) return;
    const release = { t: 'job.release', job: message.job, attempt: message.attempt, lease } as const;
    this.#ledger.emit({ kind: 'send', to: from, message: release });
  }

  onRefused(from: NodeId, message: JobMessageOf<'job.refused'>, nowMs: number): void {
    const { table, book } = this.#ledger;
    // Memory comes back, as slots do; its fresh load says so when it has.
    const isPassing = message.full || message.reasons.every(({ code }) => code === 'memory');
    book.noteLoad(from, message.load, nowMs);
    if (isPassing) book.noteFull(from, nowMs);
    const job = table.get(message.job);
    if (job === undefined || job.attempt !== message.attempt) return;
    // A late refusal counts too: the node will say the same again.
    const told = isPassing ? job : withRefusal(job, from, message.reasons);
    table.put(told);
    if (told.state.kind === 'reserving' && told.state.node === from) this.tryNext(told, told.state, nowMs);
    else this.reconsider(message.job, nowMs);
  }

  /** A queued job that another node may have to take, or none can any more. */
  reconsider(id: JobId, nowMs: number): void {
    const job = this.#ledger.table.get(id);
    if (job?.state.kind === 'queued') this.#check(job, this.#place(job, this.#ledger.candidates(), nowMs), nowMs);
  }

  onTimer(nowMs: number): void {
    if (this.#retryAtMs === null || nowMs < this.#retryAtMs) return;
    this.#retryAtMs = null;
    this.#ledger.book.stopWaitingAtOldest(TRIES_PER_ROUND_MAX);
    const nodes = this.#ledger.candidates();
    const placements = new Map<string, Placement>();
    for (const job of this.#ledger.table.everyQueued()) {
      const placement = placements.get(job.signature) ?? this.#place(job, nodes, nowMs);
      placements.set(job.signature, placement);
      this.#check(job, placement, nowMs);
    }
    this.#ledger.announceProgress(nowMs);
  }

  /** Gives free slots to those who wait, in order. */
  pump(nowMs: number): void {
    const { table, book } = this.#ledger;
    if (table.queuedCount === 0) return;
    let nodes = this.#ledger.candidates();
    for (const job of table.nestedQueued().slice(0, LOOK_AHEAD_JOBS_MAX)) {
      if (book.mayLend(job.submission.job, nowMs) && this.#askOwn(job, nodes, nowMs)) nodes = this.#ledger.candidates();
    }
    if (!nodes.some((node) => book.isWorthAsking(node))) return;
    const hopeless = new Set<string>();
    for (const job of table.queued(nowMs, LOOK_AHEAD_JOBS_MAX)) {
      if (!nodes.some((node) => book.isWorthAsking(node))) return;
      if (hopeless.has(job.signature)) continue;
      if (this.#ask(job, [], nodes, nowMs)) nodes = this.#ledger.candidates();
      else hopeless.add(job.signature);
    }
  }

  /** In the same round: the best node that has not been asked, else back to the queue. */
  tryNext(job: OriginJob, state: ReservingState, nowMs: number): void {
    const { table } = this.#ledger;
    const tried = [...state.tried, state.node];
    table.put({ ...job, state: { kind: 'queued' } });
    const queued = table.get(job.submission.job) ?? job;
    const isAsked = tried.length < TRIES_PER_ROUND_MAX && this.#ask(queued, tried, this.#ledger.candidates(), nowMs);
    if (!isAsked) this.#ledger.announceWaiting(job.submission.job, nowMs);
  }

  /** Silent, so not worth asking again before it speaks. */
  onReserveTimeout(job: OriginJob, state: ReservingState, nowMs: number): void {
    this.#ledger.book.noteFull(state.node, nowMs);
    this.tryNext(job, state, nowMs);
  }

  /** A nested job is asked for here although no slot is free: the job that submitted it runs here and may lend its own. */
  #askOwn(job: OriginJob, nodes: readonly Candidate[], nowMs: number): boolean {
    const placement = this.#place(job, nodes, nowMs);
    const placeable = this.#check(job, placement, nowMs);
    if (placeable === null || placement.kind === 'impossible') return false;
    if (placement.ordered.some(({ id }) => nodes.some((node) => node.id === id && freeSlots(node) > 0))) return false;
    const own = nodes.find(({ isSelf }) => isSelf);
    const next = placement.ordered.find(({ id }) => id === own?.id);
    if (next === undefined) return false;
    this.#ledger.book.noteLendAsked(job.submission.job, nowMs);
    this.#reserve(placeable, next, [], nowMs);
    return true;
  }

  /** Is there a node, this job's avoided ones included, that could take it? */
  isPlaceable(job: OriginJob, nowMs: number): boolean {
    return this.#place(job, this.#ledger.candidates(), nowMs).kind === 'candidates';
  }

  /** Sends one reservation for a queued job. False where no node is worth asking, or the job was refused. */
  #ask(job: OriginJob, tried: readonly NodeId[], nodes: readonly Candidate[], nowMs: number): boolean {
    const placement = this.#place(job, nodes, nowMs);
    const placeable = this.#check(job, placement, nowMs);
    if (placeable === null || placement.kind === 'impossible') return false;
    const { book } = this.#ledger;
    const worth = new Set(nodes.filter((node) => book.isWorthAsking(node)).map((node) => node.id));
    const fresh = placement.ordered.filter(({ id }) => !job.avoided.includes(id));
    const next = (fresh.length > 0 ? fresh : placement.ordered).find(({ id }) => worth.has(id) && !tried.includes(id));
    if (next === undefined) {
      this.#notePassedOver(placeable, placement.passedOver.length > 0, nowMs);
      return false;
    }
    this.#reserve(placeable, next, tried, nowMs);
    return true;
  }

  #notePassedOver(job: OriginJob, isPassedOver: boolean, nowMs: number): void {
    const passedOverSinceMs = isPassedOver ? (job.passedOverSinceMs ?? nowMs) : null;
    if (passedOverSinceMs !== job.passedOverSinceMs) this.#ledger.table.put({ ...job, passedOverSinceMs });
  }

  #reserve(job: OriginJob, next: RankedCandidate, tried: readonly NodeId[], nowMs: number): void {
    const { submission, attempt } = job;
    const { id: node, name, route, tools, isSelf } = next;
    const isShipped = isShippedTo(submission, isSelf);
    const asked = { node, name, route, tools, isShipped, tried, askedAtMs: nowMs };
    const deadlineMs = nowMs + RESERVE_TIMEOUT_MS;
    this.#ledger.move({ ...job, route }, { kind: 'reserving', ...asked, deadlineMs }, `asks ${name} for a slot`);
    const message = reserveMessage(submission, { attempt, dryRun: false, isSelf });
    this.#ledger.emit({ kind: 'send', to: node, message });
  }

  #place(job: OriginJob, nodes: readonly Candidate[], nowMs: number): Placement {
    const { table, options } = this.#ledger;
    const { rules, random, historyOf } = options;
    const { submission, refusals, passedOverSinceMs: sinceMs } = job;
    const others = table.queuedCount - (table.get(submission.job)?.state.kind === 'queued' ? 1 : 0);
    const backlog = { jobs: Math.max(0, others), passedOverMs: sinceMs === null ? 0 : nowMs - sinceMs };
    const history = historyOf === undefined ? {} : { history: historyOf(submission) };
    const unheard = this.#ledger.unheard();
    return place(submission.placement, { nodes, unheard, rules, random, refusals, backlog, ...history });
  }

  /** This node has just started: who could take it may be linked in a moment, and be known by a name that no grant has. */
  mayChangeWithLinks({ code, rejected }: Impossible, nowMs: number): boolean {
    const { settledAtMs } = this.#ledger.options;
    if (settledAtMs === undefined || nowMs >= settledAtMs()) return false;
    const unheard = new Set(this.#ledger.unheard().map(({ id }) => id));
    if (code === 'unknown_node') return unheard.size > 0;
    return rejected.some(({ id, passing }) => passing || unheard.has(id));
  }

  /** Ends a queued job that no node can take any more. Null where it is ended, else the job as it is now. */
  #check(job: OriginJob, placement: Placement, nowMs: number): OriginJob | null {
    const { table } = this.#ledger;
    const { impossibleSinceMs: sinceMs } = job;
    this.#ledger.noteWhy(job, whyWaiting(placement));
    if (placement.kind === 'candidates') {
      if (sinceMs === null && job.wasPlaceable) return job;
      const possible = { ...job, impossibleSinceMs: null, wasPlaceable: true };
      table.put(possible);
      return possible;
    }
    const mayPass = job.wasPlaceable && placement.rejected.some(({ passing }) => passing);
    const isAnswered = job.submission.placement.target.kind === 'node' && job.refusals.size > 0;
    const isPatient = (nowMs < job.patientUntilMs && !isAnswered) || this.mayChangeWithLinks(placement, nowMs);
    if (isPatient || (mayPass && (sinceMs === null || nowMs - sinceMs < IMPOSSIBLE_GRACE_MS))) {
      const waiting = { ...job, impossibleSinceMs: sinceMs ?? nowMs };
      table.put(waiting);
      return waiting;
    }
    this.#ledger.refuse(job, placement.code, placement.message, placement.rejected, nowMs);
    return null;
  }
}

function whyWaiting(placement: Placement): string {
  if (placement.kind === 'impossible') return 'no node that could take it is in reach now';
  const [first, ...more] = placement.ordered;
  return more.length === 0
    ? `${first?.name ?? 'no node'} is full`
    : `all ${more.length + 1} nodes that can run it are full`;
}
