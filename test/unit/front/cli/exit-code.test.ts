import { expect, test } from 'vitest';
import { exitCodeOf, mapExitCode, signalExitCode } from '../../../../src/front/cli/exit-code.ts';
import type { RunObject } from '../../../../src/node/api-types.ts';

test.each([
  ['exited', 0, null, 0],
  ['exited', 255, null, 255],
  ['exited', 127, null, 127],
  ['signaled', null, 'SIGKILL', 137],
  ['signaled', 143, 'SIGTERM', 143],
  ['signaled', null, null, 125],
  ['timeout', 124, 'SIGTERM', 124],
  ['cancelled', 130, 'SIGTERM', 130],
  ['refused', null, null, 125],
  ['lost', null, null, 125],
  ['unknown', null, null, 125],
  [null, null, null, 125],
] as const)('a run that %s with %j and %j ends with %i', (reason, return_code, signal, code) => {
  expect(exitCodeOf({ reason, return_code, signal } as RunObject)).toBe(code);
});

test.each([
  [0, 0],
  [1, 1],
  [100, 100],
  [101, 101],
  [5000, 101],
])('a map with %i failures ends with %i', (failed, code) => {
  expect(mapExitCode(failed)).toBe(code);
});

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
  ['SIGPIPE', 141],
])('%s is %i', (signal, code) => {
  expect(signalExitCode(signal)).toBe(code);
});
