import { err, ok, type Result } from '../../base/result.ts';

/** When a batch gives up, as GNU parallel's `--halt`: `now` ends what runs, `soon` lets it finish and starts no more. */
export interface Halt {
  readonly when: 'now' | 'soon';
  readonly fail:
    | { readonly kind: 'count'; readonly count: number }
    | { readonly kind: 'percent'; readonly percent: number };
}

/** A percentage of fewer jobs than this says nothing yet. */
const PERCENT_FINISHED_MIN = 3;

/**
 * Reads `now,fail=1`, `soon,fail=3`, `soon,fail=10%` or `never`.
 *
 * @returns null for `never`, or a message that says what is accepted
 */
export function parseHalt(text: string): Result<Halt | null, string> {
  if (text === 'never') return ok(null);
  const match = /^(now|soon),fail=(\d+)(%?)$/.exec(text);
  const [, when, digits, percent] = match ?? [];
  const number = Number(digits);
  const bad = err(`"${text}": give now,fail=N, soon,fail=N, N% for a share of those finished, or never`);
  if (when === undefined || !Number.isSafeInteger(number) || number < 1) return bad;
  if (percent === '%' && number > 100) return bad;
  return ok({
    when: when === 'now' ? 'now' : 'soon',
    fail: percent === '%' ? { kind: 'percent', percent: number } : { kind: 'count', count: number },
  });
}

/** Whether these are the failures that the batch does not go on with. */
export function haltReached({ fail }: Halt, failed: number, finished: number): boolean {
  if (fail.kind === 'count') return failed >= fail.count;
  return finished >= PERCENT_FINISHED_MIN && failed * 100 >= fail.percent * finished;
}
