import type { NodeId } from '../base/ids.ts';
import type { JobAnswer, JobQuestion, QueryMessage } from '../wire/job-query.ts';

/** Questions of this node that are not answered yet, to all members. */
const OPEN_MAX = 1024;

export interface JobQuestionsOptions {
  /** @returns false where no link is up */
  readonly send: (to: NodeId, message: QueryMessage) => boolean;
  readonly nameOf: (node: NodeId) => string;
}

interface Asked {
  readonly node: NodeId;
  readonly settle: (answer: JobAnswer) => void;
}

const unreachable = (message: string): JobAnswer => ({ kind: 'error', code: 'job_unreachable', message });

/** Asks other members of their jobs. Every question is answered: by the member, or `job_unreachable`. */
export class JobQuestions {
  readonly #options: JobQuestionsOptions;
  readonly #open = new Map<number, Asked>();
  #lastId = 0;

  constructor(options: JobQuestionsOptions) {
    this.#options = options;
  }

  /** @param waitMs null: for as long as the link stands; a `signal` gives the question up in any case */
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
        settle: (answer) => {
          if (!this.#open.delete(id)) return;
          if (timer !== null) clearTimeout(timer);
          signal?.removeEventListener('abort', onAbort);
          resolve(answer);
        },
      };
      this.#open.set(id, asked);
      signal?.addEventListener('abort', onAbort);
      if (!send(node, { t: 'query.ask', id, question })) asked.settle(unreachable(`${nameOf(node)} is not reachable`));
    });
  }

  /** Answers to what was not asked of that node, or is given up, are ignored. */
  receive(from: NodeId, id: number, answer: JobAnswer): void {
    const asked = this.#open.get(id);
    if (asked?.node === from) asked.settle(answer);
  }

  linkDown(node: NodeId): void {
    for (const asked of this.#open.values()) {
      if (asked.node === node) asked.settle(unreachable(`the link to ${this.#options.nameOf(node)} was lost`));
    }
  }
}
