import { RESERVE_TIMEOUT_MS } from '../core/scheduling/origin-limits.ts';
import type { RunObject } from '../wire/api.ts';
import type { KeptJob } from './kept-job.ts';

/**
 * A node that says nothing for so long keeps nobody who only wants the job's id. It may as well be busy: what it says while
 * the scheduler waits for it counts here, too.
 */
const FIRST_ANSWER_MS_MAX = RESERVE_TIMEOUT_MS + 500;

/**
 * Waits while nodes are asked for a slot: whether one takes the job, all are full or each refuses it for good is known
 * in a moment, and belongs into the answer to whoever leaves it in the background.
 *
 * @param result settles where the job ends meanwhile
 * @param isAsked true while a node has the question
 */
export async function whenAsked(kept: KeptJob, result: Promise<RunObject>, isAsked: () => boolean): Promise<void> {
  if (!isAsked()) return;
  const { onEvent } = kept;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, FIRST_ANSWER_MS_MAX);
    const settle = (): void => {
      clearTimeout(timer);
      resolve();
    };
    kept.onEvent = (event) => {
      onEvent(event);
      if (!isAsked()) settle();
    };
    void result.then(settle);
  });
  kept.onEvent = onEvent;
}
