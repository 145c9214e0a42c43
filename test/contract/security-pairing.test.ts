import { afterAll, describe, expect, it } from 'vitest';
import { decodeToken, type InviteToken } from '../../src/wire/pair.ts';
import { pairRaw } from '../fixtures/hostile-peer.ts';
import { NodeSet, until, WAIT_MS_MAX, type TestNode } from '../fixtures/mesh-nodes.ts';
import { makeTestIdentity } from '../fixtures/test-certificate.ts';

const set = new NodeSet();
afterAll(() => set.close());

async function portOf(node: TestNode): Promise<number> {
  const [address = ''] = (await node.row(node))?.addresses ?? [];
  return Number(address.split(':').at(-1));
}
async function tokenOf(node: TestNode): Promise<InviteToken> {
  const read = decodeToken(await node.invite());
  if (!read.ok) throw new Error(read.error.message);
  return read.value;
}

describe('a token in hostile hands', () => {
  it('never makes the inviter sign what no node would read again: it starts after it, and so do its peers', async () => {
    const [inviter, friend] = await set.mesh(['inviter', 'friend']);
    if (inviter === undefined || friend === undefined) throw new Error('two nodes');
    const port = await portOf(inviter);
    const [plain, curve] = [await makeTestIdentity(), await makeTestIdentity('p256')];
    const noRole = await pairRaw(port, plain, plain, await tokenOf(inviter), { wants: ['admin'] });
    expect(noRole.reply).toMatchObject({ t: 'pair.refused', code: 'not_permitted' });
    const noKey = await pairRaw(port, curve, curve, await tokenOf(inviter));
    expect(noKey.reply).toMatchObject({ t: 'pair.refused' });
    for (const node of [inviter, friend]) {
      await until(`${node.name} is linked`, WAIT_MS_MAX, async () => {
        return (await node.status()).nodes.filter(({ reachable }) => reachable).length === 2;
      });
    }
    await inviter.kill();
    await inviter.up();
    await until('they are linked again', WAIT_MS_MAX, async () => (await inviter.row(friend))?.reachable);
  });

  it('of the mesh that its inviter was in before opens no other mesh', async () => {
    const [first, second] = await Promise.all([set.start({ name: 'first' }), set.start({ name: 'second' })]);
    const old = await tokenOf(second);
    await second.join(await first.invite(true));
    const thief = await makeTestIdentity();
    expect((await pairRaw(await portOf(second), thief, thief, old)).reply).toMatchObject({ t: 'pair.refused' });
    await until('it knows both', WAIT_MS_MAX, async () => (await second.status()).nodes.length === 2);
  });
});
