import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseOrder } from '../../../src/runner/orders.ts';
import { fromRunnerSchema, toRunnerSchema } from '../../../src/wire/runner.ts';

const job = '01ARZ3NDEKTSV4RRFFQ69G5FAV';
const run = {
  t: 'runner.run',
  job,
  attempt: 1,
  command: { kind: 'line', line: 'true' },
  cwd: '/tmp',
  env: { A: 'b' },
  umask: 18,
  timeout_ms: null,
  stdin_stream: null,
  stdout_stream: 1,
  stderr_stream: 3,
  window_bytes: 1024,
  output_bytes_max: null,
  log_bytes_max: 1024,
  contain: true,
  merge: false,
  terminal: null,
  durable: false,
  user: null,
};

const bad = {
  job: ['x', 1, null],
  attempt: [0, 1.5, '1'],
  command: [null, { kind: 'line' }, { kind: 'argv', argv: [1] }],
};
const more = {
  cwd: ['', 3],
  env: [null, [], { A: 1 }],
  umask: [-1, '022'],
  timeout_ms: [0, -1, 'x'],
  user: [{ uid: -1 }],
};
const streams = {
  stdin_stream: [0, 'x'],
  stdout_stream: [0],
  stderr_stream: [0, 'x'],
  window_bytes: [0],
  output_bytes_max: [-1],
  log_bytes_max: [0, null],
  contain: [null, 'auto'],
  merge: [null, 0],
  terminal: [{ columns: 0, rows: 1 }, 1],
  durable: [null],
};

const key = { job, attempt: 2 };
const read = {
  t: 'runner.read',
  ...key,
  stream: 'merged',
  offset: 0,
  follow: true,
  holds: false,
  stream_id: 7,
  window_bytes: 9,
};
const others: readonly Record<string, unknown>[] = [
  { t: 'runner.connect', key: 'x' },
  { t: 'runner.stop' },
  { t: 'runner.expect' },
  { t: 'runner.cancel', ...key },
  { t: 'runner.park', ...key },
  { t: 'runner.detach', ...key },
  { t: 'runner.acknowledge', ...key },
  { t: 'runner.drop', ...key },
  { t: 'runner.resume_stdin', ...key, stream_id: 5 },
  { t: 'runner.resize', ...key, size: { columns: 80, rows: 24 } },
  read,
];

function isTaken(json: string): boolean {
  const order = parseOrder(json);
  return typeof order !== 'string' && order.t !== 'runner.refused';
}

describe('orders are read by hand as the schema says', () => {
  it('takes what the schema takes, unchanged', () => {
    const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 50 }).filter((each) => !each.includes('\0'));
    const count = fc.integer({ min: 1, max: 0x7fff_ffff });
    const orNull = <T>(values: fc.Arbitrary<T>) => fc.option(values, { nil: null });
    const order = fc.record({
      t: fc.constant('runner.run'),
      job: fc.constant(job),
      attempt: fc.integer({ min: 1, max: 16 }),
      command: fc.oneof(
        fc.record({ kind: fc.constant('line'), line: text }),
        fc.record({ kind: fc.constant('argv'), argv: fc.array(text, { minLength: 1, maxLength: 5 }) }),
      ),
      cwd: text,
      env: fc.dictionary(fc.stringMatching(/^[A-Z][A-Z_]{0,9}$/), text),
      umask: fc.integer({ min: 0, max: 0o777 }),
      timeout_ms: orNull(count),
      stdin_stream: orNull(count),
      stdout_stream: orNull(count),
      stderr_stream: orNull(count),
      window_bytes: count,
      output_bytes_max: orNull(fc.nat()),
      log_bytes_max: count,
      contain: fc.boolean(),
      merge: fc.boolean(),
      terminal: orNull(fc.record({ columns: fc.integer({ min: 1, max: 99 }), rows: fc.integer({ min: 1, max: 99 }) })),
      durable: fc.boolean(),
      user: orNull(fc.record({ uid: fc.nat(), gid: fc.nat(), groups: fc.array(fc.nat(), { maxLength: 4 }) })),
    });
    fc.assert(
      fc.property(order, (value) => {
        const json = JSON.stringify(value);
        expect(parseOrder(json)).toEqual(toRunnerSchema.parse(JSON.parse(json)));
      }),
      { numRuns: 100 },
    );
    for (const other of others) expect(parseOrder(JSON.stringify(other))).toEqual(toRunnerSchema.parse(other));
  });

  it('refuses what the schema refuses', () => {
    for (const [field, values] of Object.entries({ ...bad, ...more, ...streams })) {
      for (const value of [undefined, ...values]) {
        const order = { ...run, [field]: value };
        expect(toRunnerSchema.safeParse(order).success, `${field} ${JSON.stringify(value)}`).toBe(false);
        expect(isTaken(JSON.stringify(order)), `${field} ${JSON.stringify(value)}`).toBe(false);
      }
    }
    for (const order of others) {
      for (const field of Object.keys(order)) {
        const without = { ...order, [field]: undefined };
        expect(toRunnerSchema.safeParse(without).success, `${String(order['t'])} without ${field}`).toBe(false);
        expect(isTaken(JSON.stringify(without)), `${String(order['t'])} without ${field}`).toBe(false);
      }
    }
    for (const json of ['', '{', '[]', 'null', '1', '{"t":"x"}', `{"t":"runner.cancel","job":"${job}"}`]) {
      expect(isTaken(json)).toBe(false);
    }
  });

  it('answers what it does not understand with what that was about, as the schema says', () => {
    const about = { order: 'runner.later', job, attempt: 2, stream_id: 7 };
    const { order, ...rest } = about;
    const refusal = parseOrder(JSON.stringify({ t: order, ...rest, colour: 'red' }));
    expect(fromRunnerSchema.parse(refusal)).toEqual({ t: 'runner.refused', ...about });
    const bare = parseOrder(JSON.stringify({ t: 'x'.repeat(1000), job: '../x', stream_id: -1 }));
    const none = { job: null, attempt: null, stream_id: null };
    expect(fromRunnerSchema.parse(bare)).toEqual({ t: 'runner.refused', order: 'x'.repeat(40), ...none });
    for (const json of ['', '{', '[]', 'null', '1', '{"t":1}']) expect(typeof parseOrder(json)).toBe('string');
  });
});
