import { expect, test } from 'vitest';
import type { NodeId } from '../../../src/base/ids.ts';
import type { TrustSet } from '../../../src/core/trust/trust-set.ts';
import { meshNotices } from '../../../src/node/mesh-notices.ts';
import type { Role } from '../../../src/wire/trust.ts';

const said = (...members: readonly (readonly Role[])[]): string => {
  const entries = members.map((roles, at) => [
    `node${at}` as NodeId,
    { node: `node${at}` as NodeId, name: null, roles },
  ]);
  const trust = { members: new Map(entries as never) } as unknown as TrustSet;
  return meshNotices(trust, new Map(), { kind: 'off' }).join();
};

test('says whether a mesh could be left without an admin, or is', () => {
  expect(said(['admin', 'submit'])).toBe('');
  expect(said(['admin'], ['admin'])).toBe('');
  expect(said(['admin'], ['run'])).toMatch(/a single admin/);
  expect(said(['submit'], ['run'])).toMatch(/no admin any more.*meshwork leave/);
});
