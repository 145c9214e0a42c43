import { messageOf } from '../base/errors.ts';
import { isJobId, type NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import type { JobAnswer, JobQuestion, QueryMessage } from '../wire/job-query.ts';
import type { StreamMux } from '../wire/stream-mux.ts';
import { nowMs } from './core-loop.ts';
import { OutputSink } from './output-sink.ts';
import { errorAnswer, type OwnJobs, type ReadQuestion } from './own-jobs.ts';

/** Questions of one member that are not answered yet, `wait` and followed reads included. */
const OPEN_PER_PEER_MAX = 128;
/** Of them, reads: each may hold a window here for a member that does not read. */
const READS_PER_PEER_MAX = 32;
/** Lists cost a look at every job that is kept. */
const LISTS_PER_S = 10;
const LISTS_BURST = 40;

export interface JobAnswersOptions {
  readonly log: Logger;
  readonly jobs: OwnJobs;
  /** A member with the role `submit` or `admin`, by this node's own trust set. */
  readonly mayAsk: (node: NodeId) => boolean;
  /** Null where no link is up. */
  readonly peer: (node: NodeId) => { readonly mux: StreamMux; send(message: QueryMessage): boolean } | null;
}

type Ask = Extract<QueryMessage, { t: 'query.ask' }>;

/** Tells other members of this node's jobs, sends them output, and ends jobs for them. */
export class JobAnswers {
  readonly #options: JobAnswersOptions;
  readonly #open = new Map<NodeId, Map<number, AbortController>>();
  readonly #reads = new Map<NodeId, number>();
  /** Outlive links: a new one is no new allowance. Bounded by those who were members. */
  readonly #lists = new Map<NodeId, TokenBucket>();

  constructor(options: JobAnswersOptions) {
    this.#options = options;
  }

  receive(from: NodeId, message: Extract<QueryMessage, { t: 'query.ask' | 'query.drop' }>): void {
    const open = this.#open.get(from) ?? new Map<number, AbortController>();
    if (message.t === 'query.drop') {
      open.get(message.id)?.abort();
      return;
    }
    const refusal = this.#refusal(from, open, message);
    if (refusal !== null) return this.#send(from, message.id, refusal);
    const dropped = new AbortController();
    this.#open.set(from, open.set(message.id, dropped));
    void this.#serve(from, message, dropped.signal);
  }

  linkDown(node: NodeId): void {
    for (const dropped of this.#open.get(node)?.values() ?? []) dropped.abort();
    this.#open.delete(node);
  }

  #refusal(from: NodeId, open: ReadonlyMap<number, unknown>, { id, question }: Ask): JobAnswer | null {
    if (!this.#options.mayAsk(from)) {
      return errorAnswer('not_permitted', 'only members with the role submit or admin are told of jobs');
    }
    if (open.has(id)) return errorAnswer('bad_argument', `question ${id} is open already`);
    if (open.size >= OPEN_PER_PEER_MAX) {
      return errorAnswer('limit', `more than ${OPEN_PER_PEER_MAX} open questions of one node`);
    }
    if (question.kind === 'read' && (this.#reads.get(from) ?? 0) >= READS_PER_PEER_MAX) {
      return errorAnswer('limit', `one node reads at most ${READS_PER_PEER_MAX} outputs at once`);
    }
    const isList = question.kind === 'list' || (question.kind === 'find' && !isJobId(question.prefix));
    if (!isList || this.#listsOf(from).take(nowMs())) return null;
    return errorAnswer('limit', `one node asks for at most ${LISTS_PER_S} lists of jobs a second; ask again`);
  }

  #listsOf(node: NodeId): TokenBucket {
    const lists = this.#lists.get(node) ?? new TokenBucket(LISTS_PER_S, LISTS_BURST, nowMs());
    this.#lists.set(node, lists);
    return lists;
  }

  async #serve(from: NodeId, ask: Ask, dropped: AbortSignal): Promise<void> {
    let answer: JobAnswer;
    try {
      answer = await this.#answer(from, ask.question, dropped);
    } catch (error) {
      this.#options.log.error('a question about jobs failed', {
        from,
        kind: ask.question.kind,
        error: messageOf(error),
        stack: error instanceof Error ? error.stack : '',
      });
      answer = errorAnswer('internal', 'it could not be answered (see the daemon.log there)');
    }
    this.#close(from, ask.id, dropped);
    if (!dropped.aborted) this.#send(from, ask.id, answer);
  }

  #close(from: NodeId, id: number, dropped: AbortSignal): void {
    const open = this.#open.get(from);
    // After a link was lost the same number may stand for a question over the next one.
    if (open?.get(id)?.signal === dropped) open.delete(id);
    if (open?.size === 0) this.#open.delete(from);
  }

  #send(to: NodeId, id: number, answer: JobAnswer): void {
    // Where the link is gone, so is the question.
    this.#options.peer(to)?.send({ t: 'query.answer', id, answer });
  }

  #answer(from: NodeId, question: JobQuestion, dropped: AbortSignal): Promise<JobAnswer> {
    return question.kind === 'read'
      ? this.#read(from, question, dropped)
      : this.#options.jobs.answer(question, dropped);
  }

  async #read(from: NodeId, question: ReadQuestion, dropped: AbortSignal): Promise<JobAnswer> {
    const mux = this.#options.peer(from)?.mux;
    if (mux?.canOpen([question.stream_id]) !== true) {
      return errorAnswer('bad_argument', 'the stream of the question is in use, or there are too many');
    }
    const to = { mux, id: question.stream_id, creditBytes: question.window_bytes };
    const sink = new OutputSink(to, () => undefined);
    this.#countRead(from, 1);
    const drop = (): void => sink.abort();
    dropped.addEventListener('abort', drop);
    try {
      const answer = await this.#options.jobs.read(question, sink);
      if (answer.kind === 'error') sink.abort();
      else sink.end();
      return answer;
    } finally {
      this.#countRead(from, -1);
      dropped.removeEventListener('abort', drop);
    }
  }

  #countRead(of: NodeId, change: 1 | -1): void {
    const reads = (this.#reads.get(of) ?? 0) + change;
    if (reads === 0) this.#reads.delete(of);
    else this.#reads.set(of, reads);
  }
}
