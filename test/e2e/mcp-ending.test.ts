import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { McpSession, RawMcp } from '../fixtures/mcp-client.ts';
import { processesNamed, sleepWords, TestMesh, TREE_GONE_MS_MAX, until } from '../fixtures/nodes.ts';

/** However a call ends, nothing of its tree stays; however the daemon ends, the server goes on. */
let mesh: TestMesh;
let folder: string;

beforeAll(async () => {
  mesh = await TestMesh.start(['origin', 'peer']);
  folder = mesh.folder('project');
});

afterAll(() => mesh.stop());

/** A tree with a child in a session of its own, known by its seconds. */
function tree(): { readonly line: string; readonly words: string } {
  const words = sleepWords();
  return { words, line: `${words} & (setsid ${words} &) ; echo up; wait` };
}
const living = (words: string): number => processesNamed(words).filter(({ args }) => args === words).length;
const up = (words: string): Promise<unknown> => until(`${words} runs`, () => living(words) === 2);
const gone = (words: string): Promise<unknown> =>
  until(`${words} is gone`, () => living(words) === 0, TREE_GONE_MS_MAX);

/** None of the calls that are ended is over by itself. */
const CALL_S = 110;
const onPeer = (line: string) => ({
  name: 'offload_to',
  arguments: { command: line, node_id: 'peer', wait_s: CALL_S },
});

describe('the end of a call', () => {
  it('by its cancellation ends the remote tree, and the server goes on', async () => {
    const session = await McpSession.start(mesh.node('origin').home, folder);
    const { line, words } = tree();
    const controller = new AbortController();
    const call = session.call('offload_to', onPeer(line).arguments, { signal: controller.signal });
    const refused = expect(call).rejects.toThrow();
    await up(words);
    controller.abort();
    await refused;
    await gone(words);
    expect((await session.call('cluster_bash', { command: 'echo on' })).document['stdout']).toBe('on\n');
    await session.close();
  });

  it('by the cancellation of a batch ends all of it, and starts no more of it', async () => {
    const session = await McpSession.start(mesh.node('origin').home, folder);
    const { words } = tree();
    const controller = new AbortController();
    const commands = Array.from({ length: 100 }, () => words);
    const call = session.call('parallel_execute', { commands, wait_s: CALL_S }, { signal: controller.signal });
    const refused = expect(call).rejects.toThrow();
    await until('some run', () => living(words) > 1);
    controller.abort();
    await refused;
    await gone(words);
    await until('none waits', async () => {
      const status = await session.call('cluster_status', {});
      const nodes = status.document['nodes'] as { jobs_queued: number; jobs_running: number }[];
      return nodes.every(({ jobs_queued, jobs_running }) => jobs_queued + jobs_running === 0);
    });
    expect(living(words)).toBe(0);
    await session.close();
  });

  it.each(['SIGTERM', 'SIGINT', 'SIGKILL', 'a closed stdin'] as const)('by %s ends the remote tree', async (how) => {
    const raw = new RawMcp(mesh.node('origin').home, folder);
    await raw.initialize();
    const { line, words } = tree();
    raw.send('tools/call', onPeer(line));
    await up(words);
    if (how === 'a closed stdin') raw.running.child.stdin?.end();
    else raw.running.child.kill(how);
    await gone(words);
    const ran = await raw.running.done;
    raw.messages();
    expect({ code: ran.code, signal: ran.signal }).toEqual(
      how === 'SIGKILL' ? { code: null, signal: 'SIGKILL' } : { code: 0, signal: null },
    );
  });
});

describe('the end of the daemon', () => {
  it('by a crash is mended: it is started again where nobody else does, and the call goes on', async () => {
    const mine = await TestMesh.start(['alone']);
    const alone = mine.node('alone');
    const cwd = mine.folder('project');
    const session = await McpSession.start(alone.home, cwd, {
      MESHWORK_MDNS: 'false',
      MESHWORK_LISTEN: '127.0.0.1:0',
      MESHWORK_FACTS_FILE: alone.factsPath,
    });
    const { words } = tree();
    const go = join(cwd, 'go');
    const command = `echo half; ${words} & until [ -e ${go} ]; do sleep 0.1; done; echo whole; exit 3`;
    const call = session.call('cluster_bash', { command, wait_s: CALL_S });
    await until('it runs', () => living(words) === 1);
    await alone.crash();
    writeFileSync(go, '');
    const { document, isError } = await call;
    expect(isError).toBe(false);
    expect(document).toMatchObject({ return_code: 3, stdout: 'half\nwhole\n', reason: 'exited' });
    const after = await session.call('cluster_bash', { command: 'echo again' });
    expect(after).toMatchObject({ isError: false, document: { stdout: 'again\n' } });
    await gone(words);
    await session.close();
    await mine.stop();
  });

  it('by `down` cancels what is under way; the next call finds none and starts one', async () => {
    const mine = await TestMesh.start(['alone']);
    const alone = mine.node('alone');
    const cwd = mine.folder('project');
    const session = await McpSession.start(alone.home, cwd, {
      MESHWORK_MDNS: 'false',
      MESHWORK_LISTEN: '127.0.0.1:0',
      MESHWORK_FACTS_FILE: alone.factsPath,
    });
    const { words } = tree();
    const call = session.call('cluster_bash', { command: words, wait_s: CALL_S });
    await until('it runs', () => living(words) === 1);
    await alone.down();
    expect(await call).toMatchObject({ isError: true, document: { success: false } });
    await gone(words);
    const after = await session.call('cluster_bash', { command: 'echo again' });
    expect(after).toMatchObject({ isError: false, document: { stdout: 'again\n' } });
    await session.close();
    await mine.stop();
  });
});
