import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { PackBuilder } from '../../src/adapters/workspace/pack-builder.ts';
import { STREAM_CREDIT_BYTES_MAX } from '../../src/wire/stream-mux.ts';
import { HostileMesh } from '../fixtures/hostile-mesh.ts';
import { HostileSession } from '../fixtures/hostile-origin.ts';
import { type HostileLink, newJob, reserve, start, staysSmall } from '../fixtures/hostile-peer.ts';
import { until, WAIT_MS_MAX, type TestNode } from '../fixtures/mesh-nodes.ts';
import { sentOf, sha256, type Sent } from '../fixtures/sent-project.ts';

const MIB = 1024 * 1024;
const GROWTH_BYTES_MAX = 128 * MIB;
const FILES = { 'a.txt': 'one', 'sub/b.txt': 'two' };

const hostile = new HostileMesh();
const { set } = hostile;
let target: TestNode;
let friend: TestNode;
let link: HostileLink;

beforeAll(() => {
  ({ target, friend } = hostile);
  writeFileSync(join(set.folder, 'canary'), 'untouched');
});
beforeEach(async () => {
  link = await hostile.open();
});

/** The executor is well, and has written nothing but what it may. */
async function unharmed(): Promise<void> {
  expect((await target.status()).daemon_pid).toBe(target.pid);
  expect((await friend.run('echo well', { on: 'target' })).out).toBe('well\n');
  expect(readFileSync(join(set.folder, 'canary'), 'utf8')).toBe('untouched');
}

async function leased(job?: string): Promise<HostileSession> {
  const session = await HostileSession.leased(link, job);
  if (session === null) throw new Error('no lease');
  return session;
}

const treesOf = (): string[] => {
  const folder = join(target.home, 'workspaces/for', hostile.id);
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((project) =>
    readdirSync(join(folder, project))
      .filter((name) => /^\d+$/.test(name))
      .flatMap((slot) => readdirSync(join(folder, project, slot)).map((name) => join(folder, project, slot, name))),
  );
};

describe('sessions that nobody granted', () => {
  it('without a lease, with one of another job, or of a job without files, are refused', async () => {
    const sent = sentOf(FILES);
    const session = await leased();
    const lease = String(session.lease);
    session.open(sent, { lease: `${lease.slice(0, -1)}${lease.endsWith('a') ? 'b' : 'a'}` });
    expect(await session.next('ws.failed')).toMatchObject({ code: 'refused' });
    const other = newJob();
    session.open(sent, { job: other });
    await until('it is refused', WAIT_MS_MAX, () =>
      link.messages.find((one) => one.t === 'ws.failed' && one['job'] === other),
    );
    const plain = newJob();
    link.send(reserve(plain, { kind: 'line', line: 'true' }));
    const granted = await until('a lease', WAIT_MS_MAX, () => link.messages.find((one) => one['job'] === plain));
    session.open(sent, { job: plain, lease: granted['lease'] });
    await until('it is refused', WAIT_MS_MAX, () =>
      link.messages.find((one) => one.t === 'ws.failed' && one['job'] === plain),
    );
    await unharmed();
  });

  it('a second one of an attempt is refused, and the first goes on', async () => {
    const session = await leased();
    const sent = sentOf(FILES);
    session.open(sent);
    session.open(sent, { up: session.up + 1001 });
    expect(await session.next('ws.failed')).toMatchObject({ code: 'busy' });
    await session.next('ws.base');
    await session.credit();
    session.manifest(sent);
    await session.next('ws.want');
    session.packs(sent);
    await session.next('ws.ready');
    await unharmed();
  });

  it('nothing of other origins is fetched or dropped, nor at offsets that are none', async () => {
    const key = { job: newJob(), attempt: 1 };
    const packs = join(target.home, 'workspaces/changes-for', friend.id);
    mkdirSync(packs, { recursive: true });
    const pack = join(packs, `${key.job}.1.pack`);
    writeFileSync(pack, 'of a friend');
    const from = link.messages.length;
    link.send({ t: 'ws.fetch', ...key, offset: 0, stream: 9001, window_bytes: MIB });
    link.send({ t: 'ws.fetch', ...key, offset: Number.MAX_SAFE_INTEGER, stream: 9003, window_bytes: MIB });
    link.send({ t: 'ws.drop', ...key });
    await until(
      'they are refused',
      WAIT_MS_MAX,
      () => link.messages.slice(from).filter((one) => one.t === 'ws.failed').length === 2,
    );
    expect(
      link.messages
        .slice(from)
        .filter((one) => one.t === 'ws.failed')
        .map((one) => one['code']),
    ).toEqual(['expired', 'expired']);
    await link.settled();
    expect(readFileSync(pack, 'utf8')).toBe('of a friend');
    await unharmed();
  });
});

describe('projects of any name', () => {
  it.each([
    '..',
    '.',
    'a/b',
    'a\0b',
    '\u{1b}[31m',
    'x'.repeat(255),
    '\u{e4}'.repeat(255),
    '.git',
    '../../../../canary',
  ])('labelled %j stay in their folder', async (label) => {
    const session = await leased();
    const ready = await session.whole(FILES, { label, project: sha256(label).slice(0, 32) });
    expect(ready).toMatchObject({
      t: 'ws.ready',
      cwd: expect.stringContaining(join(target.home, 'workspaces/for', hostile.id)),
    });
    expect(readdirSync(String(ready['cwd']))).toEqual(['a.txt', 'sub']);
    await unharmed();
  });

  it.each(['..', '../..', '/etc', 'a//b', 'a.txt', 'link', 'link/x', 'a\0b', '.GIT/hooks'])(
    'with a directory %j in it are refused',
    async (folder) => {
      const session = await leased();
      const failed = await session.whole({ ...FILES, link: { link: 'sub' } }, { folder });
      expect(failed).toMatchObject({ t: 'ws.failed', code: 'refused' });
      await unharmed();
    },
  );

  it.each([{ folder: '../..' }, { inputs: ['/etc/shadow'] }, { makes: ['../../.venv'] }])(
    'with a preparation of %j are refused',
    async (over) => {
      const session = await leased();
      const step = { folder: '', run: 'touch ran', tool: '', inputs: [], makes: [], ...over };
      expect(await session.whole(FILES, { prepare: [step] })).toMatchObject({ t: 'ws.failed', code: 'refused' });
      await unharmed();
    },
  );
});

describe('streams of files', () => {
  it('of rubbish, out of order, after their end, or of more than was asked for end the session alone', async () => {
    type Act = (session: HostileSession, sent: Sent) => void;
    const rubbish: readonly Act[] = [
      (session) => session.raw(Buffer.from([9, 0, 0, 0, 1, 0])),
      (session) => session.raw(Buffer.from([1, 0xff, 0xff, 0xff, 0xff])),
      (session) => session.frame('manifest', Buffer.from('rubbish')),
      (session, sent) => session.packs(sent),
      (session) => session.frame('end'),
      (session, sent) => (session.manifest(sent), session.manifest(sent)),
      (session, sent) => (session.manifest(sent), session.frame('end'), session.frame('pack', Buffer.alloc(9))),
      (session, sent) => (session.manifest(sent), session.frame('pack', Buffer.from('rubbish'))),
      (session, sent) => (session.manifest(sent), session.packs(sentOf({ x: 'unasked'.repeat(1000) }))),
      (session, sent) => (session.manifest(sent), session.frame('end')),
    ];
    for (const [index, act] of rubbish.entries()) {
      const sent = sentOf({ ...FILES, unique: `rubbish ${index}` });
      const session = await leased();
      session.open(sent, { project: sha256(`rubbish ${index}`).slice(0, 32) });
      await session.next('ws.base');
      await session.credit();
      act(session, sent);
      expect(await session.next('ws.failed', 'ws.ready'), `act ${index}`).toMatchObject({ t: 'ws.failed' });
    }
    expect(link.closed).toBeNull();
    await unharmed();
  });

  it('beyond their credit end the link or the session alone', async () => {
    const session = await leased();
    session.open(sentOf(FILES), { project: 'a'.repeat(32) });
    // The stream is open then: what comes for one that isn't is dropped.
    await session.next('ws.base');
    await session.credit();
    session.raw(Buffer.alloc(8 * STREAM_CREDIT_BYTES_MAX, 1));
    // Which comes first, more than the credit or the end of a manifest that is none, is up to how it is read.
    const hasFailed = (): boolean => session.said().some(({ t }) => t === 'ws.failed');
    await until('the link or the session has ended', WAIT_MS_MAX, () => link.closed !== null || hasFailed());
    await unharmed();
  });
});

describe('expressions without end', () => {
  it('in rules, ignore files and outputs keep nobody waiting', async () => {
    const evil = `${'*a'.repeat(40)}b`;
    const files: Record<string, string> = { '.gitignore': `${evil}\n`, ['a'.repeat(250)]: 'x' };
    const session = await leased();
    const rules = [{ folder: '', text: evil, source: 'project' }];
    const ready = await session.whole(files, {
      project: 'e'.repeat(32),
      rules,
      outputs: [evil, `${'**/a/'.repeat(100)}b`],
    });
    expect(ready).toMatchObject({ t: 'ws.ready' });
    const command = { kind: 'line', line: 'true' };
    link.send(start(session.job, session.lease, command, { cwd: ready['cwd'] }));
    expect(await session.next('job.ended')).toBeDefined();
    await unharmed();
  });
});

describe('very many', () => {
  it('sessions, projects and packs that are half sent leave the executor small and answering', async () => {
    let rounds = 0;
    await staysSmall(target, GROWTH_BYTES_MAX, async () => {
      for (let i = 0; i < 150; i++) {
        const round = (rounds += 1);
        const session = await leased();
        const sent = sentOf({ a: `content ${round}` });
        session.open(sent, { project: sha256(`many ${round}`).slice(0, 32) });
        await session.next('ws.base');
        await session.credit();
        if (round % 3 === 0) session.raw(Buffer.from([1, 7, 0, 0, 0, 1, 2, 3]));
        else session.manifest(sent);
        if (round % 3 === 2) {
          await session.next('ws.want');
          const packs = new PackBuilder();
          packs.add(sha256('no'), Buffer.from('yes'), false);
          session.frame('pack', packs.take(false));
          await session.next('ws.failed');
        } else link.send({ t: 'ws.close', job: session.job, attempt: 1 });
        link.send({ t: 'job.release', job: session.job, attempt: 1, lease: session.lease });
      }
    });
    await unharmed();
    for (const tree of treesOf()) expect(tree.startsWith(join(target.home, 'workspaces/for', hostile.id))).toBe(true);
  });
});
