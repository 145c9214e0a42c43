import { expect, test } from 'vitest';
import { ChangeTally } from '../../../../src/adapters/workspace/change-tally.ts';
import { CHANGES_SHOWN_CHARS_MAX, CHANGES_SHOWN_MAX } from '../../../../src/wire/changes.ts';
import { MESSAGE_BYTES_MAX } from '../../../../src/adapters/ws/limits.ts';
import type { TreePath } from '../../../../src/wire/manifest.ts';

test('lists of very long names hold fewer of them: all of it fits a message, and how many more there are is said', () => {
  const tally = new ChangeTally();
  const name = `${'\u0001'.repeat(4000)}`;
  const tells = [tally.returned, tally.deleted, tally.conflict, tally.held].map((tell) => tell.bind(tally));
  for (let index = 0; index < CHANGES_SHOWN_MAX; index++) for (const tell of tells) tell(`${name}${index}` as TreePath);
  const { changes } = tally.applied();
  expect(JSON.stringify(changes).length).toBeLessThan(MESSAGE_BYTES_MAX / 2);
  const shown = Math.floor(CHANGES_SHOWN_CHARS_MAX / 4001);
  expect(changes.returned).toHaveLength(shown);
  expect(changes.more?.held_back).toBe(CHANGES_SHOWN_MAX - shown);
});
