import { isJobId, type JobId } from '../base/ids.ts';
import type { RunnerCancel, RunnerRun, ToRunner } from '../wire/runner.ts';

/**
 * Reads what the daemon orders. By hand, since zod would be most of this process's memory and start; a test holds it to
 * the schema in wire/runner.ts. The daemon has validated all of it before: this guards against mistakes, not attacks.
 */
type Fields = Readonly<Record<string, unknown>>;

/** @returns the order, or what is wrong with it */
export function parseOrder(json: string): ToRunner | string {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return 'it sent a control message that is not JSON';
  }
  if (!isFields(value)) return 'it sent a control message that is no object';
  const order =
    value['t'] === 'runner.run' ? readRun(value) : value['t'] === 'runner.cancel' ? readCancel(value) : null;
  return order ?? `it sent a malformed ${String(value['t']).slice(0, 40)}`;
}

function readCancel(fields: Fields): RunnerCancel | null {
  const job = readJob(fields['job']);
  const attempt = fields['attempt'];
  return job !== null && isCount(attempt, 1) ? { t: 'runner.cancel', job, attempt } : null;
}

function readRun(fields: Fields): RunnerRun | null {
  const job = readJob(fields['job']);
  const command = readCommand(fields['command']);
  const user = readUser(fields['user']);
  const { attempt, cwd, env, umask, timeout_ms, stdin_stream, stdout_stream, stderr_stream } = fields;
  const { window_bytes, output_bytes_max } = fields;
  if (job === null || command === null || user === undefined) return null;
  if (!isCount(attempt, 1) || !isText(cwd) || cwd === '' || !isTexts(env) || !isCount(umask, 0)) return null;
  if (!isCountOrNull(timeout_ms, 1) || !isCountOrNull(stdin_stream, 1)) return null;
  if (!isCount(stdout_stream, 1) || !isCount(stderr_stream, 1)) return null;
  if (!isCount(window_bytes, 1) || !isCountOrNull(output_bytes_max, 0)) return null;
  return {
    t: 'runner.run',
    job,
    attempt,
    command,
    cwd,
    env,
    umask,
    timeout_ms,
    stdin_stream,
    stdout_stream,
    stderr_stream,
    window_bytes,
    output_bytes_max,
    user,
  };
}

function readCommand(value: unknown): RunnerRun['command'] | null {
  if (!isFields(value)) return null;
  const { kind, line, argv } = value;
  if (kind === 'line') return isText(line) && line !== '' ? { kind, line } : null;
  if (kind !== 'argv' || !Array.isArray(argv) || argv.length === 0) return null;
  const words = argv.filter(isText);
  return words.length === argv.length ? { kind, argv: words } : null;
}

/** @returns undefined of what is neither a user nor null */
function readUser(value: unknown): RunnerRun['user'] | undefined {
  if (value === null) return null;
  if (!isFields(value)) return undefined;
  const { uid, gid, groups } = value;
  if (!isCount(uid, 0) || !isCount(gid, 0) || !Array.isArray(groups)) return undefined;
  const ids = groups.filter((group) => isCount(group, 0));
  return ids.length === groups.length ? { uid, gid, groups: ids } : undefined;
}

const readJob = (value: unknown): JobId | null => (typeof value === 'string' && isJobId(value) ? value : null);
const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isText = (value: unknown): value is string => typeof value === 'string' && !value.includes('\0');
const isTexts = (value: unknown): value is Record<string, string> =>
  isFields(value) && Object.values(value).every((text) => isText(text));
const isCount = (value: unknown, from: number): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= from;
const isCountOrNull = (value: unknown, from: number): value is number | null => value === null || isCount(value, from);
