import { expect, test } from 'vitest';
import { conflictingFlags, daemonFlagsOf, flagWords, type UpOptions } from '../../../../src/front/cli/up-flags.ts';
import type { SettingsReport } from '../../../../src/node/api-types.ts';

const HAS: SettingsReport = {
  name: 'desk',
  listen: '0.0.0.0:47470',
  peers: ['10.0.0.2:1'],
  mdns: true,
  slots: 4,
  labels: { room: 'office', empty: '' },
  mcp: { timeout_s: 300, wait_s: 0, roots: [] },
};

test.each<[UpOptions, readonly string[]]>([
  [{}, []],
  [{ name: 'desk', listen: '0.0.0.0:47470', slots: '4', peer: ['10.0.0.2:1'], label: ['room=office'] }, []],
  [{ mdns: true }, []],
  [{ name: 'lap' }, ['name desk, not lap']],
  [{ slots: '8' }, ['slots 4, not 8']],
  [{ mdns: false }, ['mdns on, not off']],
  [{ peer: ['10.0.0.2:1', '10.0.0.3:1'] }, ['peer 10.0.0.2:1, not 10.0.0.3:1']],
  [{ label: ['room=a=b', 'gpu=yes'] }, ['label room office, not a=b', 'label gpu unset, not yes']],
])('a live daemon against %j: %j', (options, differing) => {
  expect(conflictingFlags(options, HAS)).toEqual(differing);
});

test('flags reach the detached daemon as they were given', () => {
  const options: UpOptions = {
    name: 'a',
    listen: '[::1]:0',
    peer: ['x:1', 'y:2'],
    mdns: false,
    slots: '2',
    label: ['k=v'],
  };
  expect(flagWords(options)).toEqual(
    '--name a --listen [::1]:0 --peer x:1 --peer y:2 --no-mdns --slots 2 --label k=v'.split(' '),
  );
  expect(flagWords({ mdns: true })).toEqual([]);
});

test('flags become settings; what was not given stays unset', () => {
  expect(daemonFlagsOf({ mdns: true })).toMatchObject({
    mdns: undefined,
    slots: undefined,
    labels: undefined,
    detached: false,
  });
  expect(daemonFlagsOf({ slots: '3', label: ['k=v=w', 'k2='], mdns: false, detachedChild: true })).toMatchObject({
    slots: 3,
    labels: { k: 'v=w', k2: '' },
    mdns: false,
    detached: true,
  });
  for (const label of ['novalue', '=v']) expect(() => daemonFlagsOf({ label: [label] })).toThrow(/KEY=VALUE/);
});
