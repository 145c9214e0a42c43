import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { McpSession } from '../fixtures/mcp-client.ts';
import { TestMesh, until, type TestNode } from '../fixtures/nodes.ts';
import { wasPassedOver } from '../fixtures/passed-over.ts';

/** What a node learns of how long commands take, and what it does with that, on two real nodes. */
let mesh: TestMesh;
let folder: string;
let session: McpSession;
const origin = (): TestNode => mesh.node('origin');

interface Explained {
  readonly would_run_on: string;
  readonly class: string;
  readonly route: string;
  readonly expected: { readonly seconds_here: number; readonly source: string };
}

beforeAll(async () => {
  const facts = { cores: 4, cpu_percent: 1 };
  mesh = await TestMesh.start(['origin', 'peer'], { facts: { origin: facts, peer: { ...facts, cores: 64 } } });
  folder = mesh.folder('project');
  writeFileSync(join(folder, 'Makefile'), 'quick:\n\t@true\nfails:\n\t@false\n');
  session = await McpSession.start(origin().home, folder);
});

afterAll(async () => {
  await session.close();
  await mesh.stop();
});

const explain = async (command: string): Promise<Explained> =>
  (await session.call('explain_route', { command })).document as unknown as Explained;

describe('a heavy command', () => {
  it('goes to the best node until it is known to be short, and then stays, which explain and route say', async () => {
    const first = await session.call('cluster_bash', { command: 'make quick' });
    expect(first.document).toMatchObject({
      executed_on: wasPassedOver(first.document) ? 'origin' : 'peer',
      return_code: 0,
    });
    // On a machine that stands still for a moment the first run was not short: the median of some is.
    const explained = await until('it is known to be short', async () => {
      const known = await explain('make quick');
      expect(known.expected.source).toBe('history');
      if (known.expected.seconds_here < 1) return known;
      await session.call('offload_to', { command: 'make quick', node_id: 'peer' });
      return null;
    });
    expect(explained).toMatchObject({ would_run_on: 'origin', class: 'heavy' });
    const second = await session.call('cluster_bash', { command: "make  'quick'" });
    expect(second.document['executed_on']).toBe('origin');
    expect(second.document['route']).toMatch(/^here: `make` is heavy, but took \d+ ms here before, so it stays here/);
  });

  it('is as new where it only failed, with other words, or in another directory', async () => {
    await session.call('cluster_bash', { command: 'make fails' });
    for (const command of ['make fails', 'make quick other', 'cd sub && make quick']) {
      expect((await explain(command)).expected.source).toBe('class');
    }
  });

  it('is still known after a restart of the daemon, from a file without its words', async () => {
    await origin().down();
    const path = join(origin().home, 'jobs', 'history.json');
    expect(existsSync(path)).toBe(true);
    expect(readFileSync(path, 'utf8')).not.toContain('quick');
    await origin().up();
    const again = (await origin().json(['explain', '--cwd', folder, '--', 'make quick'])) as Explained;
    expect(again.expected.source).toBe('history');
  });
});
