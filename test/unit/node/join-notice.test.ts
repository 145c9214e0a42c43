import { describe, expect, test } from 'vitest';
import type { NodeId } from '../../../src/base/ids.ts';
import { joinNotice, type JoinNoticeOptions } from '../../../src/node/join-notice.ts';

const LAPTOP = 'laptopid' as NodeId;
const options: JoinNoticeOptions = {
  roles: ['submit', 'run'],
  others: [
    { node: 'deskid' as NodeId, name: 'desk', roles: ['admin', 'submit', 'run'] },
    { node: LAPTOP, name: 'laptop', roles: ['submit'] },
    { node: 'mute' as NodeId, name: 'mute', roles: ['run'] },
  ],
  exec: { accept: 'members', mode: 'shell', allow: [], user: '' },
  slots: 'auto',
  account: 'ann',
};
const said = (exec: Partial<JoinNoticeOptions['exec']>): string =>
  joinNotice({ ...options, exec: { ...options.exec, ...exec } });

describe('what join says about who may run what', () => {
  test('every member that may submit, any command, and every way to narrow it', () => {
    expect(said({})).toBe(
      "desk, laptop, and every later member of this mesh that may submit, can now run commands here as user ann: with that account's files and keys. Narrow it with exec.accept, exec.mode or exec.user in config.toml",
    );
  });

  test.each([
    [['admin'], /^desk, and every later one that exec\.accept names \(admin\) and that may submit, can now run/],
    [[LAPTOP], /^laptop, and every later one/],
    [['elsewhere'], /^no other member now, but every later one/],
  ])('exec.accept = %j narrows whom it names', (accept, text) => {
    expect(said({ accept })).toMatch(text);
    expect(said({ accept })).toMatch(/Narrow it with exec\.mode or exec\.user in/);
  });

  test('exec.mode commands narrows what', () => {
    expect(said({ mode: 'commands', allow: ['make'] })).toMatch(/can now run the commands that exec\.allow names here/);
    expect(said({ mode: 'commands', allow: [] })).toMatch(
      /^nobody may run commands here yet: .*exec\.allow names none$/,
    );
  });

  test('nothing is left to narrow', () => {
    const narrow = said({ accept: ['admin'], mode: 'commands', allow: ['make'], user: 'builder' });
    expect(narrow).toMatch(/files and keys$/);
  });

  test.each([
    { ...options, roles: ['submit'] as const },
    { ...options, slots: 0 },
    { ...options, exec: { ...options.exec, accept: 'none' as const } },
    { ...options, exec: { ...options.exec, mode: 'off' as const } },
  ])('a node that only submits', (closed) => {
    expect(joinNotice(closed)).toBe('nobody may run commands here; this node only submits');
  });
});
