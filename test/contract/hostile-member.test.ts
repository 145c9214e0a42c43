import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { signGrant, signRevoke } from '../../src/adapters/tls/statement-signatures.ts';
import { verifier } from '../../src/adapters/tls/verifier.ts';
import type { MeshId } from '../../src/base/ids.ts';
import { recordBytes } from '../../src/core/membership/record.ts';
import type { Identity } from '../../src/ports/identity.ts';
import type { MemberRecord, RecordItem } from '../../src/wire/membership.ts';
import { decodeToken } from '../../src/wire/pair.ts';
import { STREAM_CREDIT_BYTES_MAX } from '../../src/wire/stream-mux.ts';
import { HostileMesh, leaseFor } from '../fixtures/hostile-mesh.ts';
import {
  frame,
  type HostileLink,
  identityOf,
  newJob,
  pairRaw,
  reserve,
  start,
  staysSmall,
  type Message,
} from '../fixtures/hostile-peer.ts';
import { processesWith, until, WAIT_MS_MAX, type TestNode } from '../fixtures/mesh-nodes.ts';
import { CLI } from '../fixtures/nodes.ts';
import { makeTestIdentity } from '../fixtures/test-certificate.ts';
import { PLAIN_ATTEMPT } from '../fixtures/plain-spec.ts';

const MIB = 1024 * 1024;
const GROWTH_BYTES_MAX = 20 * MIB;
const FLOOD = 10_000;
const LOG_LINES_MAX = 80;
/** Of one key at the target, one after the other; up, malformed, down, and what else happens meanwhile. */
const LINKS = 40;
const LINES_PER_LINK_MAX = 5;
/** Questions that are answered, one after the other, while a flood is read that costs signatures to check. */
const ANSWERS_MIN = 3;
const FLOODS_MAX = 5;

const hostile = new HostileMesh();
const { set } = hostile;
let target: TestNode;
let friend: TestNode;
let mesh = '' as MeshId;
let own: Identity;
let ownRecord: RecordItem;
const open = (): Promise<HostileLink> => hostile.open();

beforeAll(async () => {
  ({ target, friend, mesh } = hostile);
  own = await identityOf(hostile.home);
  const link = await open();
  link.send({ t: 'member.digest', reply: true, entries: [] });
  const records = await until('the records are pushed', WAIT_MS_MAX, () =>
    link.messages
      .filter(({ t }) => t === 'member.records')
      .flatMap(({ items }) => items as RecordItem[])
      .find(({ record }) => record.id === own.nodeId),
  );
  ownRecord = records;
});

const marker = (name: string): string => join(set.folder, `ran-${name}`);
const line = (text: string) => ({ kind: 'line', line: text });
const signed = (record: MemberRecord): RecordItem => ({
  record,
  sig: Buffer.from(own.sign(Buffer.from(recordBytes(record)))).toString('base64'),
  state: 'alive',
  age_ms: 0,
});

/** The daemon is the same one, answers, still has its friend, and runs an honest job. */
async function unharmed(): Promise<void> {
  expect((await target.status()).daemon_pid).toBe(target.pid);
  // On a machine that is busy with an attack, it may be held suspect for a moment.
  await until('its friend is there', WAIT_MS_MAX, async () => {
    const rows = await Promise.all([target.row(friend), friend.row(target)]);
    return rows[0]?.name === 'friend' && rows.every((row) => row?.state === 'alive' && row.reachable);
  });
  expect((await friend.run('echo well', { on: 'target' })).out).toBe('well\n');
}

/** A job outlives its link for a grace time; its origin can end it before, over another one. */
async function endedOverNewLink(job: string): Promise<void> {
  const link = await open();
  link.send({ t: 'job.cancel', job, attempt: 1 });
  await link.settled();
  link.end();
}

describe('what is not a message ends the link, and nothing else', () => {
  const deep = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
  it.each<[string, string]>([
    ['JSON garbage', '{"t":'],
    ['no object', '42'],
    ['an unknown family', '{"t":"root.shell"}'],
    ['an unknown type of a known family', '{"t":"job.exec","command":"id"}'],
    ['a type that is no string', '{"t":{"toString":1}}'],
    ['a type nested deeply', `{"t":${deep(100_000)}}`],
    ['deep nesting', deep(400_000)],
    ['a deep field', `{"t":"member.heartbeat","load":${deep(200_000)}}`],
    [
      'a prototype',
      '{"t":"member.heartbeat","__proto__":{"load":1},"incarnation":1,"version":1,"seq":1,"load":null,"x":1}',
    ],
    ['numbers beyond all bounds', '{"t":"member.heartbeat","incarnation":1e999,"version":1,"seq":1,"load":null}'],
    ['a NUL in a command', JSON.stringify(reserve(newJob(), line('true\0')))],
    ['a job id that is a path', JSON.stringify(reserve('../../etc/passwd', line('true')))],
    ['a lease that is none', JSON.stringify(start(newJob(), '$(touch x)', line('true')))],
  ])('%s', async (_, text) => {
    const link = await open();
    link.sendText(text);
    await link.gone();
    await unharmed();
  });

  it.each<[string, (link: HostileLink) => void]>([
    ['binary on control', (link) => link.control.send(Buffer.from('{}'))],
    ['text on bulk', (link) => link.bulk.send('{}')],
    ['an empty message', (link) => link.control.send('')],
    ['a bulk frame of an unknown kind', (link) => link.bulk.send(Buffer.from([9, 0, 0, 0, 1]))],
    ['a bulk frame too short', (link) => link.bulk.send(Buffer.from([1, 0]))],
    ['two MiB on control', (link) => link.control.send('x'.repeat(2 * MIB))],
  ])('%s', async (_, attack) => {
    const link = await open();
    attack(link);
    await link.gone();
    await unharmed();
  });

  it('frames of 2 GiB and without end', async () => {
    for (const bytes of [
      frame(0x81, Buffer.alloc(1024), 2 ** 31),
      Buffer.concat([frame(0x01, Buffer.from('x')), ...Array.from({ length: 3000 }, () => frame(0, Buffer.alloc(0)))]),
    ]) {
      const link = await open();
      link.controlTls.write(bytes);
      await link.gone();
    }
    await unharmed();
  });
});

describe('jobs', () => {
  it('start without a lease, twice, with another command or cwd, with streams in use: never more than was granted', async () => {
    const link = await open();
    const [noLease, twice, other, clash] = [newJob(), newJob(), newJob(), newJob()];
    link.send(start(noLease, 'a'.repeat(26), line(`touch ${marker('nolease')}`)));
    expect(await link.next('job.not_started')).toMatchObject({ job: noLease });

    const counting = line(`echo x >> ${marker('twice')}`);
    const granted = await leaseFor(link, twice, counting);
    for (let i = 0; i < 3; i++) link.send(start(twice, granted['lease'], counting));
    await until('it has ended', WAIT_MS_MAX, () =>
      link.messages.some(({ t, job }) => t === 'job.ended' && job === twice),
    );
    link.send(start(twice, granted['lease'], counting));
    link.send(reserve(twice, counting));
    await link.settled();
    expect(readFileSync(marker('twice'), 'utf8')).toBe('x\n');

    const innocent = await leaseFor(link, other, line('true'));
    link.send(start(other, innocent['lease'], line(`touch ${marker('other')}`)));
    await until('it is not started', WAIT_MS_MAX, () =>
      link.messages.some(({ t, job }) => t === 'job.not_started' && job === other),
    );

    const where = line(`pwd > ${marker('cwd')}`);
    const lease = await leaseFor(link, clash, where);
    link.send(start(clash, lease['lease'], where, { streams: { stdin: null, stdout: 7, stderr: 7 } }));
    await until('it is not started', WAIT_MS_MAX, () =>
      link.messages.some(({ t, job }) => t === 'job.not_started' && job === clash),
    );
    const moved = newJob();
    const second = await leaseFor(link, moved, where);
    link.send(start(moved, second['lease'], where, { cwd: '/etc' }));
    await until('it has ended', WAIT_MS_MAX, () =>
      link.messages.some(({ t, job }) => t === 'job.ended' && job === moved),
    );
    expect(readFileSync(marker('cwd'), 'utf8')).toBe('/tmp\n');
    for (const name of ['nolease', 'other']) expect(existsSync(marker(name))).toBe(false);
    await unharmed();
  });

  it('crafted commands are commands and nothing else', async () => {
    const link = await open();
    const argvs = [
      [`-oProxyCommand=touch ${marker('proxy')}`],
      [`b; touch ${marker('semicolon')}`],
      ['../etc/passwd'],
      [`$(touch ${marker('dollar')})`],
      ['printf', '%s', `$(touch ${marker('argument')}); touch ${marker('argument')}`],
      ['--', 'touch', marker('dashes')],
    ];
    for (const argv of argvs) {
      const job = newJob();
      const command = { kind: 'argv', argv };
      const from = link.messages.length;
      link.send(reserve(job, command));
      const answer = await until('an answer', WAIT_MS_MAX, () =>
        link.messages.slice(from).find(({ t, job: of }) => of === job && /reserved|refused/.test(t)),
      );
      if (answer.t === 'job.refused') continue;
      link.send(start(job, answer['lease'], command));
      await until('it has ended', WAIT_MS_MAX, () =>
        link.messages.some(({ t, job: of }) => of === job && /ended|not_started/.test(t)),
      );
    }
    for (const name of ['proxy', 'semicolon', 'dollar', 'argument', 'dashes'])
      expect(existsSync(marker(name)), name).toBe(false);
    await unharmed();
  });

  it("cancel, release, or news of somebody else's job changes nothing of it", async () => {
    const link = await open();
    let id = '';
    const script = 'for i in 1 2 3 4 5 6; do echo $i; sleep 0.2; done; exit 7';
    const job = await target.submit(script, {
      on: 'friend',
      onEvent: (event) => {
        if (event.kind === 'accepted') id = event.job;
      },
    });
    await until('it runs', WAIT_MS_MAX, () => job.out().includes('1'));
    const load = {
      cpu_percent: 0,
      memory_percent: 0,
      memory_available_bytes: 0,
      load_1m: 0,
      psi_cpu_some_avg10: null,
      jobs_running: 0,
      jobs_queued: 0,
      slots_free: 9,
      overloaded: false,
    };
    const key = { job: id, attempt: 1 };
    link.send({ t: 'job.started', ...key });
    link.send({ t: 'job.not_started', ...key, reason: { code: 'other', text: 'x' } });
    link.send({
      t: 'job.ended',
      ...key,
      outcome: { kind: 'exited', code: 0 },
      stdout_bytes: 0,
      stderr_bytes: 0,
      truncated: false,
      left_running: 0,
      changes: null,
      duration_ms: 1,
    });
    link.send({ t: 'job.refused', ...key, reasons: [{ code: 'denied', text: 'x' }], full: false, load });
    link.send({ t: 'job.reserved', ...key, lease: 'a'.repeat(26), instance: 'x', ttl_ms: 1, cwd: '/', load });
    link.send({ t: 'job.cancel', ...key });
    await link.settled();
    expect(await job.ended).toMatchObject({ return_code: 7, out: '1\n2\n3\n4\n5\n6\n', executed_on: 'friend' });

    // At the executor: another origin's attempt.
    const there = await friend.submit(script, {
      on: 'target',
      onEvent: (event) => {
        if (event.kind === 'accepted') id = event.job;
      },
    });
    await until('it runs', WAIT_MS_MAX, () => there.out().includes('1'));
    link.send({ t: 'job.cancel', job: id, attempt: 1 });
    link.send({ t: 'job.release', job: id, attempt: 1, lease: 'a'.repeat(26) });
    link.send(start(id, 'a'.repeat(26), line('true')));
    link.send(reserve(id, line('true')));
    await link.settled();
    expect(await there.ended).toMatchObject({ return_code: 7, out: '1\n2\n3\n4\n5\n6\n' });
    await unharmed();
  });

  it('more data than credit, or credit beyond all bounds, ends the link and its jobs', async () => {
    const greedy = await open();
    const job = newJob();
    const mark = `77${process.pid}01`;
    const command = line(`cat > /dev/null; sleep ${mark}`);
    const lease = await leaseFor(greedy, job, command);
    greedy.send(
      start(job, lease['lease'], command, {
        streams: { stdin: 5, stdout: 1, stderr: 3 },
        spec: { command, env: {}, umask: 0, timeout_ms: null, stdin: true, ...PLAIN_ATTEMPT },
      }),
    );
    await greedy.next('job.started');
    const data = Buffer.concat([Buffer.from([1, 0, 0, 0, 5]), Buffer.alloc(64 * 1024)]);
    for (let sent = 0; sent < 2 * STREAM_CREDIT_BYTES_MAX; sent += data.length) greedy.bulk.send(data);
    await greedy.gone();
    await endedOverNewLink(job);
    await until('its tree is gone', WAIT_MS_MAX, () => processesWith(mark).length === 0);

    await staysSmall(target, GROWTH_BYTES_MAX, async () => {
      const deaf = await open();
      const endless = newJob();
      const yes = line(`yes ${mark}`);
      const second = await leaseFor(deaf, endless, yes);
      deaf.bulk.pause();
      deaf.send(start(endless, second['lease'], yes));
      // Before that there is no such stream, and nothing to give it.
      await deaf.next('job.started');
      const credit = Buffer.from([2, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]);
      for (let i = 0; i < 100; i++) deaf.bulk.send(credit, () => undefined);
      await deaf.gone();
      await endedOverNewLink(endless);
      await until('its tree is gone', WAIT_MS_MAX, () => processesWith(`yes\0${mark}`).length === 0);
    });
    await unharmed();
  });

  it(`${FLOOD} reservations: slots stay free, memory and log stay small`, async () => {
    const link = await open();
    const flood = async (count: number): Promise<void> => {
      // In pieces: a link whose answers pile up unread is closed, and this process shares the machine with the daemon.
      for (let i = 0; i < count; i++) {
        link.send(reserve(newJob(), line(`touch ${marker('flood')}`)));
        if (i % 1000 === 999) await link.settled();
      }
    };
    const linesBefore = target.log.split('\n').length;
    await staysSmall(target, GROWTH_BYTES_MAX, () => flood(FLOOD));
    expect(link.closed).toBe(null);
    expect(target.log.split('\n').length - linesBefore).toBeLessThan(LOG_LINES_MAX);
    link.end();
    await until(
      'its slots are free again',
      WAIT_MS_MAX,
      async () => (await friend.run('true', { on: 'target' })).success,
    );
    expect(existsSync(marker('flood'))).toBe(false);
    await unharmed();
  });
});

describe('a hostile executor', () => {
  const idle = {
    cpu_percent: 0,
    memory_percent: 0,
    memory_available_bytes: 2 ** 33,
    load_1m: 0,
    psi_cpu_some_avg10: null,
    jobs_running: 0,
    jobs_queued: 0,
    slots_free: 4,
    overloaded: false,
  };
  let seq = 0;

  /** A link on which the hostile node is there and idle, so that jobs can be sent to it by name. */
  async function offer(): Promise<HostileLink> {
    const link = await open();
    seq += 1;
    const { record } = ownRecord;
    const fresh = signed({ ...record, incarnation: 2 ** 42 + seq, version: 1 });
    link.send({ t: 'member.records', items: [fresh] });
    link.send({ t: 'member.heartbeat', incarnation: 2 ** 42 + seq, version: 1, seq, load: idle });
    await until('it is there for the target', WAIT_MS_MAX, async () => {
      const row = (await target.status()).nodes.find(({ id }) => id === own.nodeId);
      return row?.state === 'alive' && row.reachable;
    });
    return link;
  }
  const keyOf = ({ job, attempt }: Message) => ({ job, attempt });
  /** Grants whatever is asked for, at once: an executor that takes two seconds is passed over. */
  const grantAll = (link: HostileLink): void => {
    const terms = { lease: 'a'.repeat(26), instance: 'x', ttl_ms: 10_000, cwd: '/', load: idle };
    link.answer('job.reserve', (asked) => link.send({ t: 'job.reserved', ...keyOf(asked), ...terms }));
  };

  it('refuses in words that would paint the screen: they are shown escaped', async () => {
    const link = await offer();
    const text = '\u001B[2J\u001B]0;owned\u0007 fine\u202E';
    const terms = { reasons: [{ code: 'denied', text }], full: false, load: idle };
    link.answer('job.reserve', (asked) => link.send({ t: 'job.refused', ...keyOf(asked), ...terms }));
    const { code, stderr, stdout } = await target.cli('run', '--on', 'hostile', '--', 'true');
    expect([code, stdout]).toEqual([125, '']);
    // oxlint-disable-next-line no-control-regex -- these are what is looked for
    expect(stderr).not.toMatch(/[\u0000-\u0009\u000B-\u001F\u007F-\u009F\u202E]/);
    expect(stderr).toContain('fine');
    await unharmed();
  });

  it('sends more than it was allowed, or ends in nonsense: the outcome is unknown, and the job ends', async () => {
    const link = await offer();
    grantAll(link);
    const job = await target.submit('true', { on: 'hostile' });
    const begun = await link.next('job.start');
    link.send({ t: 'job.started', ...keyOf(begun) });
    link.send({ t: 'job.started', ...keyOf(begun) });
    const { stdout } = begun['streams'] as { stdout: number };
    const data = Buffer.alloc(5 + 64 * 1024);
    data[0] = 1;
    data.writeUInt32BE(stdout, 1);
    for (let i = 0; i < 64 && link.closed === null; i++) link.bulk.send(data, () => undefined);
    const end = await job.ended;
    expect(end.reason === 'unknown' || end.stdout_bytes > 0).toBe(true);
    await unharmed();
  });

  it('answers nothing after the start: a cancel ends the wait', async () => {
    const link = await offer();
    grantAll(link);
    const job = await target.submit('true', { on: 'hostile' });
    await link.next('job.start');
    job.cancel();
    await link.next('job.cancel');
    expect(await job.ended).toMatchObject({ reason: 'unknown', success: false });
    await unharmed();
  });
});

describe('membership and trust', () => {
  it('forged records, absurd heartbeats, slander: nobody else changes', async () => {
    const link = await open();
    const victim = (await target.row(friend))?.addresses;
    const { record } = ownRecord;
    const asFriend = { ...record, id: friend.id as MemberRecord['id'], incarnation: 2 ** 47, version: 1 };
    link.send({ t: 'member.records', items: [signed({ ...asFriend, state_claim: 'left' })] });
    link.send({ t: 'member.records', items: [{ ...signed(asFriend), sig: 'AAAA' }] });
    const asTarget = { ...asFriend, id: target.id as MemberRecord['id'] };
    link.send({ t: 'member.records', items: [signed(asTarget)] });
    const slander = { incarnation: 2 ** 47, version: 1, state: 'dead', age_ms: 0 };
    link.send({
      t: 'member.digest',
      reply: false,
      entries: [
        { id: friend.id, ...slander },
        { id: target.id, ...slander },
      ],
    });
    for (const state of ['suspect', 'dead', 'left']) link.send({ t: 'member.accuse', incarnation: 2 ** 47, state });
    const load = {
      cpu_percent: 100,
      memory_percent: 0,
      memory_available_bytes: 1e308,
      load_1m: 1e308,
      psi_cpu_some_avg10: null,
      jobs_running: Number.MAX_SAFE_INTEGER,
      jobs_queued: Number.MAX_SAFE_INTEGER,
      slots_free: Number.MAX_SAFE_INTEGER,
      overloaded: false,
    };
    link.send({
      t: 'member.heartbeat',
      incarnation: 2 ** 48,
      version: 2 ** 48,
      seq: Number.MAX_SAFE_INTEGER,
      load,
    });
    await link.settled();
    expect((await target.row(friend))?.addresses).toEqual(victim);
    expect((await target.row(target))?.state).toBe('alive');
    expect((await target.cli('status')).code).toBe(0);
    expect((await target.cli('explain', '--', 'make')).code).toBe(0);
    await unharmed();
  });

  it('grants and revocations by a member that is no admin count for nothing, however often they come', async () => {
    const link = await open();
    const { spki } = own;
    const base = { mesh, by: own.nodeId, at: Date.now() };
    const toSelf = {
      kind: 'grant' as const,
      ...base,
      node: own.nodeId,
      spki: Buffer.from(spki).toString('base64'),
      roles: ['submit', 'run', 'admin'] as ('submit' | 'run' | 'admin')[],
    };
    const statements = [
      signGrant(own, verifier, toSelf).statement,
      signRevoke(own, verifier, { kind: 'revoke', ...base, node: friend.id as Identity['nodeId'] }).statement,
      signRevoke(own, verifier, { kind: 'revoke', ...base, node: target.id as Identity['nodeId'] }).statement,
      // In the name of the admin, without its key.
      { ...signGrant(own, verifier, toSelf).statement, by: target.id },
    ];
    const linesBefore = target.log.split('\n').length;
    const flood = Array.from({ length: 128 }, (_, index) => ({ ...statements[0], at: index, sig: statements[3]?.sig }));
    link.send({ t: 'trust.statements', mesh, statements });
    for (let i = 0; i < 30 && link.closed === null; i++)
      link.send({
        t: 'trust.statements',
        mesh,
        statements: flood.map((one) => ({ ...one, at: (one.at ?? 0) + i * 1000 })),
      });
    for (let i = 0; i < 500; i++) link.send({ t: 'trust.digest', mesh, have: [], exchange: true });
    for (let i = 0; i < 500; i++) link.send({ t: 'trust.statements', mesh: own.nodeId, statements });
    await link.settledOrGone();
    const again = await open();
    await again.settled();
    const roles = Object.fromEntries((await target.status()).nodes.map(({ name, roles: own_ }) => [name, own_.join()]));
    expect(roles).toEqual({ target: 'submit,run,admin', friend: 'submit,run', hostile: 'submit,run' });
    expect(target.log.split('\n').length - linesBefore).toBeLessThan(LOG_LINES_MAX);
    await unharmed();
  });

  it('statements and records that are genuine and count for nothing leave the daemon time for others', async () => {
    const grants = Array.from(
      { length: 512 },
      (_, at) =>
        signGrant(own, verifier, {
          kind: 'grant',
          mesh,
          by: own.nodeId,
          at,
          node: own.nodeId,
          spki: Buffer.from(own.spki).toString('base64'),
          roles: ['admin'],
        }).statement,
    );
    const statements = JSON.stringify({ t: 'trust.statements', mesh, statements: grants });
    const items = Array.from({ length: 64 }, (_, version) =>
      signed({ ...ownRecord.record, incarnation: 2 ** 41, version }),
    );
    const records = Array.from({ length: 120 }, (_, n) =>
      JSON.stringify({
        t: 'member.records',
        items: items.map((item) => ({ ...item, record: { ...item.record, version: item.record.version + n } })),
      }),
    );
    const link = await open();
    // As many at a time as are taken from one node; of records there is no such bound.
    const statementsTwice = Array.from({ length: 10 }, () => [statements, statements]);
    const answersDuring = async (flood: readonly (readonly string[])[]): Promise<number> => {
      const over = new AbortController();
      let answers = 0;
      const flooded = (async () => {
        for (const part of flood) {
          for (const text of part) link.sendText(text);
          await link.settled();
        }
      })().finally(() => over.abort());
      // Looked at below, once it is over.
      flooded.catch(() => undefined);
      for (; !over.signal.aborted; answers++) await target.status();
      await flooded;
      return answers;
    };
    for (const flood of [statementsTwice, [records]]) {
      // A daemon that reads all of it in one go answers once or twice, however often; who asks may be slow himself.
      let answers = 0;
      for (let floods = 0; floods < FLOODS_MAX && answers <= ANSWERS_MIN; floods += 1)
        answers = await answersDuring(flood);
      expect(answers).toBeGreaterThan(ANSWERS_MIN);
    }
    await unharmed();
  });

  it('floods of digests and of free slots cost little', async () => {
    const link = await open();
    const load = {
      cpu_percent: 0,
      memory_percent: 0,
      memory_available_bytes: 0,
      load_1m: 0,
      psi_cpu_some_avg10: null,
      jobs_running: 0,
      jobs_queued: 0,
      slots_free: 1,
      overloaded: false,
    };
    const entries = Array.from({ length: 200 }, (_, index) => ({
      id: `${String.fromCharCode(97 + (index % 26))}${String.fromCharCode(97 + Math.floor(index / 26))}`.padEnd(
        52,
        'a',
      ),
      incarnation: 1,
      version: 1,
      state: 'alive',
      age_ms: 0,
    }));
    const flood = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) {
        link.send({ t: 'job.slot_free', load });
        if (i % 10 === 0) link.send({ t: 'member.digest', reply: true, entries });
      }
      await link.settled();
    };
    const linesBefore = target.log.split('\n').length;
    await staysSmall(target, GROWTH_BYTES_MAX, () => flood(FLOOD));
    expect(target.log.split('\n').length - linesBefore).toBeLessThan(LOG_LINES_MAX);
    await unharmed();
  });

  it('links that come and go, each with a message that is none: few log lines', async () => {
    const linesBefore = target.log.split('\n').length;
    for (let links = 0; links < LINKS; links += 1) {
      const link = await open();
      link.sendText('{}');
      await link.gone();
    }
    expect(target.log.split('\n').length - linesBefore).toBeLessThan(LINKS * LINES_PER_LINK_MAX);
    await unharmed();
  });
});

describe('roles', () => {
  /** A key of our own with what the admin, whose key is on this disk, grants it. */
  async function granted(...roles: ('submit' | 'run')[]) {
    const made = await makeTestIdentity();
    const admin = await identityOf(target.home);
    const grant = signGrant(admin, verifier, {
      kind: 'grant',
      mesh,
      by: admin.nodeId,
      at: Date.now(),
      node: made.nodeId,
      spki: Buffer.from(made.spki).toString('base64'),
      name: 'other',
      roles,
    }).statement;
    const link = await open();
    link.send({ t: 'trust.statements', mesh, statements: [grant] });
    const opened = await until('the grant counts', WAIT_MS_MAX, () => hostile.dial(made).catch(() => undefined));
    return { link: opened, grant, made, admin };
  }

  it('a member without the role submit runs nothing, asked or not', async () => {
    const { link } = await granted('run');
    const job = newJob();
    const command = line(`touch ${marker('nosubmit')}`);
    link.send(reserve(job, command));
    const refused = await link.next('job.refused');
    expect(JSON.stringify(refused['reasons'])).toContain('not_accepted');
    link.send(start(job, 'a'.repeat(26), command));
    await link.next('job.not_started');
    link.send(reserve(newJob(), command, { dry_run: true }));
    await link.settled();
    expect(link.messages.some(({ t }) => t === 'job.reserved')).toBe(false);
    expect(existsSync(marker('nosubmit'))).toBe(false);
  });

  it('a revoked key is out at once, with its jobs, and no replay of its grant brings it back', async () => {
    const { link, grant, made, admin } = await granted('submit', 'run');
    const mark = `77${process.pid}02`;
    const job = newJob();
    const command = line(`sleep ${mark}`);
    const lease = await leaseFor(link, job, command);
    link.send(start(job, lease['lease'], command));
    await link.next('job.started');
    const other = await open();
    const revoke = signRevoke(admin, verifier, {
      kind: 'revoke',
      mesh,
      by: admin.nodeId,
      at: Date.now(),
      node: made.nodeId,
    }).statement;
    other.send({ t: 'trust.statements', mesh, statements: [revoke] });
    expect(await link.gone()).toMatch(/no longer trusted|1006/);
    await until('its tree is gone', WAIT_MS_MAX, () => processesWith(mark).length === 0);
    other.send({ t: 'trust.statements', mesh, statements: [grant] });
    const renewed = signGrant(admin, verifier, { ...grant, at: Date.now() + 1000 }).statement;
    other.send({ t: 'trust.statements', mesh, statements: [renewed] });
    await other.settled();
    await expect(hostile.dial(made)).rejects.toThrow(/403|closed/);
    const token = decodeToken(await target.invite());
    if (!token.ok) throw new Error(token.error.message);
    expect((await pairRaw(hostile.port, made, made, token.value)).reply).toBe(null);
    expect((await target.status()).nodes.some(({ id }) => id === made.nodeId)).toBe(false);
    await until('the friend knows too', WAIT_MS_MAX, async () => {
      return !(await friend.status()).nodes.some(({ id }) => id === made.nodeId);
    });
    await unharmed();
  });
});

describe('what runs in a job', () => {
  it('is ended where its origin asks for another attempt of that job, which waits for that', async () => {
    const link = await open();
    const job = newJob();
    const mark = `77${process.pid}09`;
    const first = line(`sleep ${mark}`);
    const a = await leaseFor(link, job, first);
    link.send(start(job, a['lease'], first));
    await link.next('job.started');
    link.send(reserve(job, line('true'), { attempt: 2 }));
    const end = await link.next('job.ended');
    expect([end['attempt'], processesWith(mark)]).toEqual([1, []]);
    const b = await leaseFor(link, job, line('true'), { attempt: 2 });
    link.send(start(job, b['lease'], line('true'), { attempt: 2, streams: { stdin: null, stdout: 11, stderr: 13 } }));
    await link.next('job.ended');
  });

  it('may look at the mesh, and steers nothing', async () => {
    const cli = `${process.execPath} ${CLI} --home ${target.home}`;
    const run = async (words: string) => friend.run(`${cli} ${words}`, { on: 'target', cwd: process.cwd() });
    for (const words of ['invite', 'invite --admin', 'down', 'leave', 'leave --purge', 'join mw1xyz', 'restart']) {
      const end = await run(words);
      expect([words, end.return_code, end.out]).toEqual([words, 125, '']);
      expect(end.err).toMatch(/refused inside job|not_permitted|later_stage/);
    }
    for (const words of ['status', 'run --local -- true']) expect((await run(words)).return_code).toBe(0);
    await unharmed();
  });
});

describe('crafted names of nodes', () => {
  it.each([
    `-oProxyCommand=touch ${marker('name')}`,
    `b; touch ${marker('name')}`,
    '../etc/passwd',
    `$(touch ${marker('name')})`,
    '\u001B[2Jx',
    '',
  ])('%j is no node, and nothing runs', async (name) => {
    const ran = await target.cli('run', `--on=${name}`, '--', 'touch', marker('name'));
    expect(ran.code).toBe(125);
    expect(ran.stdout).toBe('');
    expect(ran.stderr).not.toContain('\u001B');
    expect(existsSync(marker('name'))).toBe(false);
  });

  it('the mesh is whole after all this', async () => {
    await until('each sees the others', WAIT_MS_MAX, async () => {
      const rows = await Promise.all([target.row(friend), friend.row(target), target.row(target)]);
      return rows.every((row) => row?.state === 'alive' && row.reachable);
    });
    await unharmed();
  });
});
