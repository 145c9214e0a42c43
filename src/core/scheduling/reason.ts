import { REASON_CHARS_MAX, REASONS_MAX, type Reason } from '../../wire/jobs.ts';

/** A reason whose text fits the wire. */
export function reasonOf(code: Reason['code'], text: string): Reason {
  return { code, text: text.length <= REASON_CHARS_MAX ? text : `${text.slice(0, REASON_CHARS_MAX - 1)}…` };
}

/** As many reasons as a message may carry; what is beyond is counted in the last. */
export function boundedReasons(reasons: readonly Reason[]): Reason[] {
  if (reasons.length <= REASONS_MAX) return [...reasons];
  const kept = reasons.slice(0, REASONS_MAX - 1);
  return [...kept, reasonOf('other', `and ${reasons.length - kept.length} more reasons`)];
}

export const textOf = (reasons: readonly Reason[]): string => reasons.map((reason) => reason.text).join('; ');

/** True of a reason not to start that would be the same a moment later: that node is not asked again for this job. */
export const isFinal = ({ code }: Reason): boolean =>
  !['state', 'unreachable', 'memory', 'full', 'other'].includes(code);
