import { setTimeout as delay } from 'node:timers/promises';
import type { NodeId } from '../base/ids.ts';
import type { Random } from '../base/random.ts';
import type { Origin } from '../core/scheduling/origin.ts';
import type { Submission } from '../core/scheduling/origin-job.ts';
import { place, type Placement, type RankedCandidate } from '../core/scheduling/placement.ts';
import type { JobHistory, ToolRules } from '../core/scheduling/placement-request.ts';
import { reserveMessage } from '../core/scheduling/reserve-message.ts';
import type { ExplainReport } from '../wire/api.ts';
import type { JobMessage, Reason } from '../wire/jobs.ts';
import { nowMs } from './core-loop.ts';

/** How long a node may take to say whether it would run a job. */
const ANSWER_MS_MAX = 2000;
const ASKED_MAX = 1024;
/** While nodes that could take it may still be linked. */
const LOOK_AGAIN_MS = 100;

/** What a placement is decided on beside the nodes. */
export interface ExplainBasis {
  readonly rules: ToolRules;
  readonly random: Random;
  readonly historyOf: (submission: Submission) => JobHistory;
}

/**
 * Explains a placement: decides as for a real job, and asks every candidate with a dry run, so that reasons which only
 * an executor knows (its directory, its policy) are in the answer. Nodes that are out already are asked too: all reasons
 * against them shall be told.
 */
export class ExplainService {
  readonly #origin: Origin;
  readonly #basis: ExplainBasis;
  readonly #send: (to: NodeId, message: JobMessage) => boolean;
  readonly #asked = new Map<string, (reasons: readonly Reason[]) => void>();

  constructor(origin: Origin, basis: ExplainBasis, send: (to: NodeId, message: JobMessage) => boolean) {
    this.#origin = origin;
    this.#basis = basis;
    this.#send = send;
  }

  /** @returns true where the message answers a question of this service */
  receive(from: NodeId, message: JobMessage): boolean {
    if (message.t !== 'job.reserved' && message.t !== 'job.refused') return false;
    const answer = this.#asked.get(`${message.job} ${from}`);
    if (answer === undefined) return false;
    answer(message.t === 'job.refused' && !message.full ? message.reasons : []);
    return true;
  }

  /** Right after this node's start it waits for nodes that are not linked yet, as the job would. */
  async explain(submission: Submission): Promise<ExplainReport> {
    for (;;) {
      const placement = await this.#place(submission);
      if (placement !== null) return reportOf(submission, placement);
      await delay(LOOK_AGAIN_MS);
    }
  }

  /** Null where it may be another one in a moment. */
  async #place(submission: Submission): Promise<Placement | null> {
    const request = submission.placement;
    const { rules, random, historyOf } = this.#basis;
    const history = historyOf(submission);
    const decide = (refusals: ReadonlyMap<NodeId, readonly Reason[]>): Placement =>
      place(request, {
        nodes: this.#origin.candidates(),
        unheard: this.#origin.unheard(),
        rules,
        random,
        refusals,
        history,
      });
    const isFinal = (placement: Placement): boolean =>
      placement.kind === 'candidates' || !this.#origin.mayChangeWithLinks(placement, nowMs());
    const first = decide(new Map());
    if (!isFinal(first)) return null;
    const refusals = new Map<NodeId, readonly Reason[]>();
    const keep = (id: NodeId, reasons: readonly Reason[]): void => {
      if (reasons.length > 0) refusals.set(id, reasons);
    };
    const ordered = first.kind === 'candidates' ? first.ordered.map(({ id }) => id) : [];
    const outAlready = this.#outButInReach(submission, new Set(ordered));
    await Promise.all([
      ...ordered.map(async (id) => keep(id, await this.#ask(id, submission))),
      ...outAlready.map(async (id) => {
        const reasons = await this.#ask(id, submission);
        // That it was silent now is no reason: it would not have been asked.
        keep(
          id,
          reasons.filter(({ code }) => code !== 'unreachable'),
        );
      }),
    ]);
    if (refusals.size === 0) return first;
    const last = decide(refusals);
    return isFinal(last) ? last : null;
  }

  /** None where the user chose the node: then the others are out for that alone. */
  #outButInReach(submission: Submission, candidates: ReadonlySet<NodeId>): NodeId[] {
    const { kind } = submission.placement.target;
    if (kind === 'node' || kind === 'local') return [];
    return this.#origin
      .candidates()
      .filter((node) => !node.isSelf && node.reachable && node.state === 'alive' && !candidates.has(node.id))
      .map((node) => node.id);
  }

  #ask(node: NodeId, submission: Submission): Promise<readonly Reason[]> {
    const key = `${submission.job} ${node}`;
    return new Promise((resolve) => {
      const settle = (reasons: readonly Reason[]): void => {
        clearTimeout(timer);
        this.#asked.delete(key);
        resolve(reasons);
      };
      const timer = setTimeout(() => settle([{ code: 'unreachable', text: 'did not answer in time' }]), ANSWER_MS_MAX);
      if (this.#asked.size >= ASKED_MAX) return settle([{ code: 'other', text: 'too many questions at once' }]);
      this.#asked.set(key, settle);
      const isSelf = this.#origin.candidates().some(({ id, isSelf: own }) => own && id === node);
      if (!this.#send(node, reserveMessage(submission, { attempt: 1, dryRun: true, isSelf })))
        settle([{ code: 'unreachable', text: 'has no link to this node' }]);
    });
  }
}

function reportOf(submission: Submission, placement: Placement): ExplainReport {
  const { jobClass, classReason, tools } = submission.placement;
  const chosen = placement.kind === 'candidates' ? placement.ordered[0] : undefined;
  return {
    notices: [],
    class: jobClass,
    class_reason: classReason,
    tools,
    would_run_on: chosen?.name ?? null,
    would_run_on_id: chosen?.id ?? null,
    route: placement.kind === 'candidates' ? placement.route : '',
    candidates: placement.kind === 'candidates' ? placement.ordered.map((one) => candidateOf(one, one === chosen)) : [],
    expected:
      placement.kind === 'candidates'
        ? { seconds_here: placement.expected.hereS, source: placement.expected.source }
        : null,
    rejected: placement.rejected.map(({ id, name, reasons }) => ({ id, name, reasons })),
    ...(placement.kind === 'impossible' ? { error: { code: placement.code, message: placement.message } } : {}),
  };
}

function candidateOf(candidate: RankedCandidate, chosen: boolean): ExplainReport['candidates'][number] {
  const { finishS, queueWaitS, runS, syncS, syncBytes, rttS, slowness, slownessSource } = candidate.score;
  return {
    id: candidate.id,
    name: candidate.name,
    score_s: finishS,
    terms: { queue_wait: queueWaitS, run: runS, sync: syncS, rtt: rttS },
    slowness,
    slowness_source: slownessSource,
    sync_bytes: syncBytes,
    chosen,
  };
}
