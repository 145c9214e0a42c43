import { isJobId, type JobId } from '../base/ids.ts';
import type { RunnerRead, RunnerRefused, RunnerRun, ToRunner } from '../wire/runner.ts';

/**
 * Reads what the daemon orders. By hand, since zod would be most of this process's memory and start; a test holds it to
 * the schema in wire/runner.ts. The daemon has validated all of it before: this guards against mistakes, not attacks.
 */
type Fields = Readonly<Record<string, unknown>>;

const ORDER_CHARS_MAX = 40;

/** @returns the order; what to answer where it may be one of a later build; or why this is no order at all */
export function parseOrder(json: string): ToRunner | RunnerRefused | string {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return 'it sent a control message that is not JSON';
  }
  if (!isFields(value)) return 'it sent a control message that is no object';
  return readOrder(value) ?? refusalOf(value);
}

function refusalOf(fields: Fields): RunnerRefused | string {
  const { t, attempt, stream_id } = fields;
  if (!isText(t)) return 'it sent a control message without a kind';
  return {
    t: 'runner.refused',
    order: t.slice(0, ORDER_CHARS_MAX),
    job: readJob(fields['job']),
    attempt: isCount(attempt, 1) ? attempt : null,
    stream_id: isCount(stream_id, 1) ? stream_id : null,
  };
}

function readOrder(fields: Fields): ToRunner | null {
  const { t } = fields;
  if (t === 'runner.run') return readRun(fields);
  if (t === 'runner.stop' || t === 'runner.expect') return { t };
  if (t === 'runner.connect') return isText(fields['key']) ? { t, key: fields['key'] } : null;
  const key = readKey(fields);
  if (key === null) return null;
  const { stream_id } = fields;
  switch (t) {
    case 'runner.cancel':
    case 'runner.park':
    case 'runner.detach':
    case 'runner.acknowledge':
    case 'runner.drop':
      return { t, ...key };
    case 'runner.read':
      return readRead(fields, key);
    case 'runner.resume_stdin':
      return isCount(stream_id, 1) ? { t, ...key, stream_id } : null;
    case 'runner.resize': {
      const size = readSize(fields['size']);
      return size === null || size === undefined ? null : { t, ...key, size };
    }
    default:
      return null;
  }
}

function readKey(fields: Fields): { readonly job: JobId; readonly attempt: number } | null {
  const job = readJob(fields['job']);
  const { attempt } = fields;
  return job !== null && isCount(attempt, 1) ? { job, attempt } : null;
}

function readRead(fields: Fields, key: { readonly job: JobId; readonly attempt: number }): RunnerRead | null {
  const { stream, offset, follow, holds, stream_id, window_bytes } = fields;
  if (stream !== 'stdout' && stream !== 'stderr' && stream !== 'merged') return null;
  if (!isCount(offset, 0) || typeof follow !== 'boolean' || typeof holds !== 'boolean') return null;
  if (!isCount(stream_id, 1) || !isCount(window_bytes, 1)) return null;
  return { t: 'runner.read', ...key, stream, offset, follow, holds, stream_id, window_bytes };
}

function readRun(fields: Fields): RunnerRun | null {
  const key = readKey(fields);
  const command = readCommand(fields['command']);
  const user = readUser(fields['user']);
  const terminal = readSize(fields['terminal']);
  const { cwd, env, umask, timeout_ms, stdin_stream, stdout_stream, stderr_stream } = fields;
  const { window_bytes, output_bytes_max, log_bytes_max, contain, merge, durable } = fields;
  if (key === null || command === null || user === undefined || terminal === undefined) return null;
  if (!isText(cwd) || cwd === '' || !isTexts(env) || !isCount(umask, 0)) return null;
  if (!isCountOrNull(timeout_ms, 1) || !isCountOrNull(stdin_stream, 1)) return null;
  if (!isCountOrNull(stdout_stream, 1) || !isCountOrNull(stderr_stream, 1)) return null;
  if (!isCount(window_bytes, 1) || !isCountOrNull(output_bytes_max, 0) || !isCount(log_bytes_max, 1)) return null;
  if (typeof contain !== 'boolean' || typeof merge !== 'boolean' || typeof durable !== 'boolean') return null;
  return {
    t: 'runner.run',
    ...key,
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
    log_bytes_max,
    contain,
    merge,
    terminal,
    durable,
    user,
  };
}

/** @returns undefined of what is neither a size nor null */
function readSize(value: unknown): RunnerRun['terminal'] | undefined {
  if (value === null) return null;
  if (!isFields(value)) return undefined;
  const { columns, rows } = value;
  return isCount(columns, 1) && isCount(rows, 1) ? { columns, rows } : undefined;
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
