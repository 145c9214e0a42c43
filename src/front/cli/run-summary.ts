import { escapeControls } from '../../base/escape.ts';
import { formatDuration, MS_PER_SECOND } from '../../base/units.ts';
import type { ApiClient } from '../../node/api-client.ts';
import type { RunObject } from '../../node/api-types.ts';
import { printDim } from './changes-view.ts';

/** Less is not worth a word. */
const SAVED_MS_MIN = 1000;
const SAVED_SHARE_MIN = 0.1;
/** A shorter wait for a slot, or for the files, goes without saying. */
const WAIT_MS_MIN = 1000;

/** What is known of a command before it ends. */
export interface Expectation {
  /** This node's name. */
  readonly here: string;
  /** How long it takes here, as far as history knows; milliseconds. */
  readonly hereMs: number | null;
}

/** Asks what a command takes here. Never fails: it is for one line on a terminal. */
export async function expectationOf(api: ApiClient, cwd: string, command: string): Promise<Expectation | null> {
  try {
    const [{ name }, { seconds }] = await Promise.all([
      api.call('settings', {}),
      api.call('estimate', { cwd, commands: [command] }),
    ]);
    const known = seconds[0] ?? null;
    return { here: name, hereMs: known === null ? null : known * MS_PER_SECOND };
  } catch {
    // Whatever hinders it shows with the job itself.
    return null;
  }
}

/** Where it ran, how long it took, and what that saved: one line, or null where it did not run. */
export function summaryOf(result: RunObject, expected: Expectation | null): string | null {
  const { executed_on: node, duration_ms: tookMs, queue_ms: queuedMs } = result;
  if (node === null || result.state !== 'finished' || result.reason === 'refused') return null;
  const isHere = expected !== null && expected.here === node;
  const ran = `${isHere ? 'here' : `on ${escapeControls(node)}`} in ${formatDuration(tookMs)}`;
  const before = [
    ...(queuedMs >= WAIT_MS_MIN ? [`${formatDuration(queuedMs)} in the queue`] : []),
    ...(result.sync_ms >= WAIT_MS_MIN ? [`${formatDuration(result.sync_ms)} for its files`] : []),
  ];
  const waited = before.length === 0 ? '' : `, after ${before.join(' and ')}`;
  const wholeMs = tookMs + queuedMs + result.dispatch_ms + result.sync_ms;
  const hereMs = isHere || result.reason !== 'exited' ? null : (expected?.hereMs ?? null);
  const savedMs = hereMs === null ? 0 : hereMs - wholeMs;
  const worth = hereMs !== null && savedMs >= SAVED_MS_MIN && savedMs >= SAVED_SHARE_MIN * hereMs;
  const again = result.attempts > 1 ? `, at the ${ordinal(result.attempts)} attempt` : '';
  return `${ran}${waited}${again}${worth ? `; here it takes about ${formatDuration(hereMs)}: saved ${formatDuration(savedMs)}` : ''}`;
}

/** Ends a run on a terminal with its summary, dim. */
export function printSummary(result: RunObject, expected: Expectation | null): void {
  const line = summaryOf(result, expected);
  if (line !== null) printDim([line]);
}

const ordinal = (count: number): string => ['', 'first', 'second', 'third'][count] ?? `${count}th`;
