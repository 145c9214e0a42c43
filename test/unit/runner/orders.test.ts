import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseOrder } from '../../../src/runner/orders.ts';
import { toRunnerSchema } from '../../../src/wire/runner.ts';

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
  stdout_stream: [null, 0],
  stderr_stream: [null],
  window_bytes: [0],
  output_bytes_max: [-1],
};

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
      stdout_stream: count,
      stderr_stream: count,
      window_bytes: count,
      output_bytes_max: orNull(fc.nat()),
      user: orNull(fc.record({ uid: fc.nat(), gid: fc.nat(), groups: fc.array(fc.nat(), { maxLength: 4 }) })),
    });
    fc.assert(
      fc.property(order, (value) => {
        const json = JSON.stringify(value);
        expect(parseOrder(json)).toEqual(toRunnerSchema.parse(JSON.parse(json)));
      }),
      { numRuns: 100 },
    );
    const cancel = { t: 'runner.cancel', job, attempt: 2 };
    expect(parseOrder(JSON.stringify(cancel))).toEqual(toRunnerSchema.parse(cancel));
  });

  it('refuses what the schema refuses', () => {
    for (const [field, values] of Object.entries({ ...bad, ...more, ...streams })) {
      for (const value of [undefined, ...values]) {
        const order = { ...run, [field]: value };
        expect(toRunnerSchema.safeParse(order).success, `${field} ${JSON.stringify(value)}`).toBe(false);
        expect(typeof parseOrder(JSON.stringify(order)), `${field} ${JSON.stringify(value)}`).toBe('string');
      }
    }
    for (const json of ['', '{', '[]', 'null', '1', '{"t":"x"}', `{"t":"runner.cancel","job":"${job}"}`]) {
      expect(typeof parseOrder(json)).toBe('string');
    }
  });
});
