import type { AttemptResult } from './attempt.ts';

type Fields = Readonly<Record<string, unknown>>;
type Outcome = AttemptResult['outcome'];

export const unknownResult = (
  message: string,
  bytes: { readonly stdout: number; readonly stderr: number },
): AttemptResult => ({
  outcome: { kind: 'unknown', message },
  stdout_bytes: bytes.stdout,
  stderr_bytes: bytes.stderr,
  truncated: false,
  left_running: 0,
  duration_ms: 0,
});

/** Reads the last record of a log, by hand as orders.ts does. @returns null of what is no result */
export function parseResult(text: string): AttemptResult | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isFields(value)) return null;
  const outcome = readOutcome(value['outcome']);
  const { stdout_bytes, stderr_bytes, truncated, left_running, duration_ms } = value;
  if (outcome === null || !isCount(stdout_bytes) || !isCount(stderr_bytes) || !isCount(left_running)) return null;
  if (typeof truncated !== 'boolean' || typeof duration_ms !== 'number' || !(duration_ms >= 0)) return null;
  return { outcome, stdout_bytes, stderr_bytes, truncated, left_running, duration_ms };
}

function readOutcome(value: unknown): Outcome | null {
  if (!isFields(value)) return null;
  const { kind, code, signal, message } = value;
  switch (kind) {
    case 'exited':
      return isCode(code) ? { kind, code } : null;
    case 'signaled':
      return typeof signal === 'string' ? { kind, signal } : null;
    case 'timeout':
    case 'cancelled':
      if ((code !== null && !isCode(code)) || (signal !== null && typeof signal !== 'string')) return null;
      return { kind, code, signal };
    case 'spawn_failed':
    case 'unknown':
      return typeof message === 'string' ? { kind, message } : null;
    default:
      return null;
  }
}

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
const isCode = (value: unknown): value is number => isCount(value) && value <= 255;
