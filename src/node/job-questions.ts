import type { NodeId } from '../base/ids.ts';
import type { JobAnswer, JobQuestion, QueryMessage } from '../wire/job-query.ts';

/** Questions of this node that are not answered yet, to all members. */
const OPEN_MAX = 1024;
/**
 * A link that was lost may be followed by the next at once: both ends dial, and one of two crossing links gives way.
 * What is asked meanwhile waits so long for it.
 */
const RELINK_MS_MAX = 1000;

export interface JobQuestionsOptions {
  /** @returns false where no link is up */
  readonly send: (to: NodeId, message: QueryMessage) => boolean;
  readonly nameOf: (node: NodeId) => string;
  /** In ms; a test has less patience. */
  readonly relinkMs?: number;
}

interface Asked {
  readonly node: NodeId;
  readonly question: JobQuestion;
  readonly settle: (answer: JobAnswer) => void;
}

const unreachable = (message: string): JobAnswer => ({ kind: 'error', code: 'job_unreachable', message });

/**
 * Asks other members of their jobs. Every question is answered: by the member, or `job_unreachable`. All of them may be
 * asked twice, so one whose link is lost is asked again over the next; but for `read`, whose stream went with the link.
 */
export class JobQuestions {
  readonly #options: JobQuestionsOptions;
  readonly #open = new Map<number, Asked>();
  /** Members whose link was lost, or expected for the first time, a moment ago; as many as there are members. */
  readonly #relinking = new Map<NodeId, NodeJS.Timeout>();
  #lastId = 0;

  constructor(options: JobQuestionsOptions) {
    this.#options = options;
  }

  /** @param waitMs null: for as long as there is a link; a `signal` gives the question up in any case */
  ask(node: NodeId, question: JobQuestion, waitMs: number | null, signal?: AbortSignal): Promise<JobAnswer> {
    const { send, nameOf } = this.#options;
    if (signal?.aborted === true) return Promise.resolve(unreachable('nobody waits for the answer'));
    if (this.#open.size >= OPEN_MAX) {
      const message = `more than ${OPEN_MAX} questions to other nodes at once; ask again`;
      return Promise.resolve({ kind: 'error', code: 'limit', message });
    }
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve) => {
      const giveUp = (message: string): void => {
        send(node, { t: 'query.drop', id });
        asked.settle(unreachable(message));
      };
      const timer =
        waitMs === null
          ? null
          : setTimeout(() => giveUp(`${nameOf(node)} did not answer within ${waitMs / 1000} s`), waitMs);
      const onAbort = (): void => giveUp('nobody waits for the answer');
      const asked: Asked = {
        node,
        question,
        settle: (answer) => {
          if (!this.#open.delete(id)) return;
          if (timer !== null) clearTimeout(timer);
          signal?.removeEventListener('abort', onAbort);
          resolve(answer);
        },
      };
      this.#open.set(id, asked);
      signal?.addEventListener('abort', onAbort);
      if (!send(node, { t: 'query.ask', id, question }) && !this.#mayWait(asked)) {
        asked.settle(unreachable(`${nameOf(node)} is not reachable`));
      }
    });
  }

  /** Whether a member without a link may have one in a moment. */
  isRelinking(node: NodeId): boolean {
    return this.#relinking.has(node);
  }

  /** Answers to what was not asked of that node, or is given up, are ignored. */
  receive(from: NodeId, id: number, answer: JobAnswer): void {
    const asked = this.#open.get(id);
    if (asked?.node === from) asked.settle(answer);
  }

  /** This node has just started: the first link to that member may stand in a moment, as one that follows another. */
  linkExpected(node: NodeId): void {
    this.#awaitLink(node, `${this.#options.nameOf(node)} is not reachable`);
  }

  linkDown(node: NodeId): void {
    const text = `${this.#options.nameOf(node)} is not reachable: the link to it was lost`;
    this.#awaitLink(node, text);
    for (const asked of this.#openAt(node)) if (!this.#mayWait(asked)) asked.settle(unreachable(text));
  }

  linkUp(node: NodeId): void {
    this.#stopRelinking(node);
    for (const [id, { node: of, question }] of this.#open) {
      // Where this link is gone again already, its end is told next.
      if (of === node) this.#options.send(node, { t: 'query.ask', id, question });
    }
  }

  #awaitLink(node: NodeId, text: string): void {
    this.#stopRelinking(node);
    const giveUp = (): void => {
      this.#relinking.delete(node);
      for (const asked of this.#openAt(node)) asked.settle(unreachable(text));
    };
    // Nothing waits for it when the daemon ends.
    this.#relinking.set(node, setTimeout(giveUp, this.#options.relinkMs ?? RELINK_MS_MAX).unref());
  }

  #mayWait({ node, question }: Asked): boolean {
    return question.kind !== 'read' && this.#relinking.has(node);
  }

  #openAt(node: NodeId): Asked[] {
    return [...this.#open.values()].filter((asked) => asked.node === node);
  }

  #stopRelinking(node: NodeId): void {
    clearTimeout(this.#relinking.get(node));
    this.#relinking.delete(node);
  }
}
