import { describe, expect, test } from 'vitest';
import { changeCounts, changeNotices, namesOf } from '../../../src/node/api-changes.ts';
import { NO_CHANGES } from '../../../src/wire/changes.ts';

describe('what is said of changes', () => {
  test('counts what is beyond the lists', () => {
    const more = { returned: 7, deleted: 0, conflicts: 0, held_back: 1, left_there: 0 };
    expect(changeCounts({ ...NO_CHANGES, returned: ['a'], deleted: ['b', 'c'], more })).toEqual({
      returned: 8,
      deleted: 2,
      conflicts: 0,
      heldBack: 1,
      leftThere: 0,
    });
  });

  test('names some, shows control characters, and says how many more there are', () => {
    expect(namesOf(['a\u001B[2J\nb', 'c'])).toBe('a\\u001b[2J\\u000ab, c');
    expect(namesOf(['a', 'b', 'c'], 40, 2)).toBe('a, b and 38 more');
    expect(namesOf([`x${'y'.repeat(5000)}z`])).toMatch(/^xy+…y+z$/);
    expect(namesOf([`x${'y'.repeat(5000)}z`]).length).toBeLessThan(200);
  });

  test('has a notice for what was kept aside and for what waits, and none for what came back', () => {
    expect(changeNotices({ ...NO_CHANGES, returned: ['a'], deleted: ['b'] }, '01J', '/h/conflicts/01J')).toEqual([]);
    const notices = changeNotices(
      { ...NO_CHANGES, conflicts: ['a.c'], held_back: ['.git/config', '.mcp.json'] },
      '01J',
      '/h/conflicts/01J',
    );
    expect(notices).toEqual([
      "1 file changed here while the job ran, or had not been sent to it, and stayed as it is: a.c; the job's version is in /h/conflicts/01J",
      '2 changes are held back and not applied here: .git/config, .mcp.json; `meshwork apply 01J` applies them',
    ]);
  });
});
