import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { McpSession, RawMcp } from '../fixtures/mcp-client.ts';
import { processesNamed, sleepWords, TestMesh, TREE_GONE_MS_MAX, until } from '../fixtures/nodes.ts';

/** Jobs that outlive their call, over the official client library, on two real nodes. */
const RESULT_CHARS_MAX = 45_000;
/** Longer than any wait of a command for what lets it go on: only a test that has failed sees its end. */
const GIVE_UP_S = 200;
/** So long calls wait whose end is looked at: the client itself waits 120 s. */
const CALL_S = 110;
/** Within this commands end that take no time, on any machine. */
const QUICK_S = 20;

let mesh: TestMesh;
let folder: string;
let session: McpSession;

beforeAll(async () => {
  mesh = await TestMesh.start(['origin', 'peer']);
  folder = mesh.folder('project');
  session = await McpSession.start(mesh.node('origin').home, folder);
});

afterAll(async () => {
  await session.close();
  await mesh.stop();
});

/** A command that goes on once `release` was called, and a tree that is known by its seconds. */
function held(before: string, after: string) {
  const words = sleepWords();
  const file = join(folder, `${words.replace(' ', '-')}.go`);
  const line = `${before}; ${words} & for i in $(seq ${GIVE_UP_S * 10}); do [ -e ${file} ] && break; sleep 0.1; done; ${after}`;
  return { line, words, release: () => writeFileSync(file, '') };
}
const living = (words: string): number => processesNamed(words).filter(({ args }) => args === words).length;
const gone = (words: string): Promise<unknown> =>
  until(`${words} is gone`, () => living(words) === 0, TREE_GONE_MS_MAX);

const onPeer = (command: string, args: Record<string, unknown> = {}, by = session) =>
  by.call('offload_to', { command, node_id: 'peer', ...args });

/** Reads a job to its end by `next_offset`, as a model does. */
async function follow(job_id: unknown, from: { stream: string; offset: unknown }, by = session) {
  let { offset } = from;
  let text = '';
  for (let calls = 0; calls < 100; calls++) {
    const { document, isError } = await by.call('job_output', { job_id, stream: from.stream, offset, wait_s: 20 });
    if (isError) throw new Error(`job_output: ${JSON.stringify(document)}`);
    text += document['output'] as string;
    offset = document['next_offset'];
    if (document['state'] === 'finished' && document['at_end'] === true) return { text, document };
  }
  throw new Error('job_output came to no end in 100 calls');
}

describe('a call that waits no longer', () => {
  it('returns what there is and the id; job_output follows to the exit code, without gap or repeat', async () => {
    const job = held('echo é >&2; seq 1 2000', 'seq 2001 20000; exit 7');
    const { document, isError, text } = await onPeer(job.line, { wait_s: 2 });
    expect(isError).toBe(false);
    expect(JSON.parse(text)).toEqual(document);
    expect(document).toMatchObject({
      state: expect.not.stringMatching('finished'),
      return_code: null,
      success: null,
      reason: null,
    });
    expect(document['next']).toContain('job_output');
    const lines = (from: number, to: number): string =>
      Array.from({ length: to - from + 1 }, (_, at) => `${from + at}\n`).join('');
    // All of it but where the machine is slow.
    expect(lines(1, 2000).startsWith(String(document['stdout']))).toBe(true);
    expect(document['stdout_bytes']).toBe(String(document['stdout']).length);
    const job_id = document['job_id'];
    const early = await until('it has said half', async () => {
      const { document: told } = await session.call('job_output', { job_id, stream: 'stdout', wait_s: 1 });
      return told['next_offset'] === lines(1, 2000).length ? told : null;
    });
    expect(early).toMatchObject({ output: lines(1, 2000), state: 'running', at_end: false });
    const stderr = await session.call('job_output', { job_id, stream: 'stderr', wait_s: 20 });
    expect(stderr.document).toMatchObject({ output: 'é\n', next_offset: 3, state: 'running', at_end: false });
    job.release();
    const rest = await follow(job_id, { stream: 'stdout', offset: document['stdout_bytes'] });
    expect(String(document['stdout']) + rest.text).toBe(lines(1, 20_000));
    expect(rest.document).toMatchObject({ return_code: 7, success: false, reason: 'exited', executed_on: 'peer' });
    await gone(job.words);
    const whole = await follow(job_id, { stream: 'merged', offset: 0 });
    expect(whole.text.length).toBe(`${lines(1, 20_000)}é\n`.length);
  });

  it('gives a link to the job, which can be read and is listed', async () => {
    const job = held('echo up', 'echo down');
    const result = await session.client.callTool({ name: 'cluster_bash', arguments: { command: job.line, wait_s: 1 } });
    const content = result.content as { type: string; uri?: string; text?: string }[];
    expect(content.map(({ type }) => type)).toEqual(['text', 'resource_link']);
    const uri = content[1]?.uri ?? '';
    const read = async (): Promise<Record<string, unknown>> => {
      const { contents } = await session.client.readResource({ uri });
      const [first] = contents as { text: string }[];
      return JSON.parse(first?.text ?? '') as Record<string, unknown>;
    };
    const isUp = async (): Promise<boolean> => (await read())['output'] === 'up\n';
    await until('it says what it said', isUp);
    expect(await read()).toMatchObject({ state: 'running', output: 'up\n', return_code: null });
    const { resources } = await session.client.listResources();
    expect(resources.map((resource) => resource.uri)).toContain(uri);
    job.release();
    const { document } = await follow(uri, { stream: 'merged', offset: 0 });
    expect(document).toMatchObject({ return_code: 0 });
    expect(await read()).toMatchObject({ state: 'finished', output: 'up\ndown\n', return_code: 0 });
  });

  it('leaves a job that job_cancel ends, with its tree; and a second time is told how it ended', async () => {
    const job = held('echo up', 'true');
    const { document } = await onPeer(job.line, { wait_s: 1 });
    await until('it runs', () => living(job.words) === 1);
    const cancelled = await session.call('job_cancel', { job_id: document['job_id'] });
    expect(cancelled).toMatchObject({ isError: false, document: { state: 'finished', reason: 'cancelled' } });
    await gone(job.words);
    expect((await follow(document['job_id'], { stream: 'stdout', offset: 0 })).text).toBe('up\n');
    const again = await session.call('job_cancel', { job_id: document['job_id'] });
    expect(again).toMatchObject({ isError: true, document: { error: { code: 'job_finished' } } });
  });
});

describe('a job in the background', () => {
  it('goes on when its client is gone, and another client, at another node, finds and reads it', async () => {
    const first = await McpSession.start(mesh.node('origin').home, folder);
    const job = held('echo up', 'echo end >&2; exit 5');
    const { document, isError } = await onPeer(job.line, { background: true }, first);
    expect(isError).toBe(false);
    expect(document).toMatchObject({ return_code: null });
    await first.close();
    const other = await McpSession.start(mesh.node('peer').home, folder);
    // A node that does not answer at once is left out, which the list says.
    const found = await until('it is listed there', async () => {
      const { document: list } = await other.call('job_list', {});
      return (list['jobs'] as Record<string, unknown>[]).find(({ job_id }) => job_id === document['job_id']);
    });
    expect(found).toMatchObject({ submitted_at: 'origin' });
    job.release();
    const end = await follow(document['job_id'], { stream: 'merged', offset: 0 }, other);
    expect(end).toMatchObject({ text: 'up\nend\n', document: { return_code: 5, executed_on: 'peer' } });
    await other.close();
    await gone(job.words);
  });

  it('says at once that no node can take it', async () => {
    const { document, isError } = await session.call('cluster_bash', {
      command: 'true',
      background: true,
      // Known of every node; whether one has a rare tool it would have to be asked.
      requires: ['label:role=nobody'],
    });
    expect(isError).toBe(true);
    expect(document).toMatchObject({ reason: 'refused', error: { code: 'no_capable_node' } });
  });

  it('goes on when the server that handed it out is killed, while the job of a call that waits is ended', async () => {
    const raw = new RawMcp(mesh.node('origin').home, folder);
    await raw.initialize();
    const handedOut = held('echo up', 'exit 3');
    const waitedFor = held('echo up', 'true');
    const call = (command: string, args: Record<string, unknown>): number =>
      raw.send('tools/call', { name: 'offload_to', arguments: { command, node_id: 'peer', ...args } });
    const id = call(handedOut.line, { wait_s: 1 });
    call(waitedFor.line, { wait_s: CALL_S });
    const answer = await raw.answer(id);
    const { job_id } = (answer.result?.['structuredContent'] ?? {}) as Record<string, unknown>;
    await until('both run', () => living(handedOut.words) + living(waitedFor.words) === 2);
    raw.running.child.kill('SIGKILL');
    await raw.running.done;
    await gone(waitedFor.words);
    expect(living(handedOut.words)).toBe(1);
    handedOut.release();
    expect((await follow(job_id, { stream: 'stdout', offset: 0 })).document).toMatchObject({ return_code: 3 });
  });
});

describe('job_output', () => {
  it('refuses what it cannot read, with the reason and what to do', async () => {
    const { document } = await session.call('cluster_bash', { command: 'printf 12345' });
    const job_id = document['job_id'];
    for (const [args, code] of [
      [{ job_id: '01ARZ3NDEKTSV4RRFFQ69G5FAV' }, 'job_unknown'],
      [{ job_id: '../../etc' }, 'job_unknown'],
      [{ job_id, offset: -1 }, 'offset_out_of_range'],
      [{ job_id, offset: 6 }, 'offset_out_of_range'],
      [{ job_id, stream: 'both' }, 'bad_argument'],
    ] as const) {
      const refused = await session.call('job_output', args);
      expect(refused, JSON.stringify(args)).toMatchObject({ isError: true, document: { error: { code } } });
    }
    const read = await session.call('job_output', { job_id, offset: 3 });
    expect(read.document).toMatchObject({ output: '45', next_offset: 5, at_end: true, return_code: 0 });
    const { document: end } = await session.call('job_output', { job_id, offset: 5 });
    expect(end).toMatchObject({ output: '', next_offset: 5, at_end: true });
  });

  it('reads a long output in pieces that fit, from the offset that the result named', async () => {
    const { document } = await session.call('cluster_bash', { command: 'seq 1 30000 | sed s/$/é/' });
    const notice = (document['notices'] as string[]).find((line) => line.startsWith('stdout')) ?? '';
    const offset = Number(/offset (\d+) reads on/.exec(notice)?.[1]);
    const whole = Array.from({ length: 30_000 }, (_, at) => `${at + 1}é\n`).join('');
    const rest = await follow(document['job_id'], { stream: 'stdout', offset });
    expect(rest.text).toBe(Buffer.from(whole).subarray(offset).toString());
    expect(String(document['stdout']).startsWith(Buffer.from(whole).subarray(0, offset).toString())).toBe(true);
  });
});

describe('parallel_execute', () => {
  it('returns what is done and the ids of what goes on', async () => {
    const job = held('echo up', 'exit 9');
    const commands = ['echo quick', job.line, 'exit 4'];
    const { document, text, isError } = await session.call('parallel_execute', { commands, wait_s: QUICK_S });
    expect(isError).toBe(false);
    expect(text.length).toBeLessThanOrEqual(RESULT_CHARS_MAX);
    expect(document).toMatchObject({ succeeded: 1, failed: 1, unfinished: 1 });
    const results = document['results'] as Record<string, unknown>[];
    expect(results.map(({ return_code }) => return_code)).toEqual([0, null, 4]);
    expect(results[1]).toMatchObject({ state: 'running', stdout: 'up\n' });
    job.release();
    const end = await follow(results[1]?.['job_id'], { stream: 'stdout', offset: 0 });
    expect(end.document).toMatchObject({ return_code: 9 });
  });

  it('gives every command its id where it waits for none', async () => {
    const commands = Array.from({ length: 30 }, (_, at) => `exit ${at % 2}`);
    const { document } = await session.call('parallel_execute', { commands, background: true });
    const results = document['results'] as Record<string, unknown>[];
    expect(document['unfinished']).toBe(30);
    for (const [at, { job_id }] of results.entries()) {
      const { document: end } = await follow(job_id, { stream: 'merged', offset: 0 });
      expect(end['return_code']).toBe(at % 2);
    }
  });

  it('ends the others at the first failure where it is told to', async () => {
    const [up, begun] = ['up', 'begun'].map((name) => join(folder, name));
    const job = held(`touch ${up}`, 'true');
    const failing = `touch ${begun}; until [ -e ${up} ]; do sleep 0.1; done; exit 3`;
    // In which order they get their slots is not said: one that comes before both of these run makes room for them.
    const other = `[ ! -e ${begun} ] || [ ! -e ${up} ] || sleep ${GIVE_UP_S}`;
    const commands = [job.line, failing, ...Array.from({ length: 100 }, () => other)];
    const { document } = await session.call('parallel_execute', { commands, halt: 'now,fail=1', wait_s: CALL_S });
    const [first, second, ...others] = document['results'] as Record<string, unknown>[];
    expect(second).toMatchObject({ return_code: 3 });
    expect(first).toMatchObject({ reason: 'cancelled' });
    const ended = others.filter(({ return_code: code }) => code === 0);
    const halted = others.filter(({ reason }) => reason === 'cancelled');
    expect(ended.length + halted.length).toBe(others.length);
    expect(document['succeeded']).toBe(ended.length);
    await gone(job.words);
  });
});

describe('progress', () => {
  it('says where a command runs and what it wrote last, and why one waits', async () => {
    const busy = held('true', 'true');
    const { nodes } = await mesh.node('peer').status();
    const slots = Number(nodes.find(({ name }) => name === 'peer')?.['slots']);
    await Promise.all(Array.from({ length: slots }, () => onPeer(busy.line, { background: true })));
    await until('every slot is taken', () => living(busy.words) === slots);
    const told: string[] = [];
    const job = held('echo working', 'true');
    const call = session.call(
      'offload_to',
      { command: job.line, node_id: 'peer', wait_s: CALL_S },
      { onprogress: ({ message }) => told.push(message ?? '') },
    );
    await until('it says why it waits', () => told.some((message) => /slot|full|queue/.test(message)));
    busy.release();
    await until('it says what it does', () => told.some((message) => /on peer.*working/.test(message)));
    job.release();
    expect((await call).document).toMatchObject({ return_code: 0 });
    expect(told.every((message) => message.length <= 200)).toBe(true);
  });
});

describe('a restart of the daemon', () => {
  it('in the middle of a call is not noticed', async () => {
    const origin = mesh.node('origin');
    const job = held('echo half', 'echo whole; exit 6');
    const call = onPeer(job.line, { wait_s: CALL_S });
    await until('it runs', () => living(job.words) === 1);
    await origin.crash();
    await origin.up();
    job.release();
    const { document } = await call;
    expect(document).toMatchObject({ stdout: 'half\nwhole\n', return_code: 6, reason: 'exited' });
    await gone(job.words);
  });
});
