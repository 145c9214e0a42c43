import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { base32, makeJobId, type NodeId } from '../../../src/base/ids.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { ChangeFetch } from '../../../src/node/change-fetch.ts';
import { ChangePacks, type WorkspaceLink } from '../../../src/node/change-packs.ts';
import type { WorkspaceMessage, WorkspaceMessageOf } from '../../../src/wire/workspace.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';
import { JoinedMuxes, numbered } from '../wire/joined-muxes.ts';

const folder = temporaryFolders();
const nodeId = (number: number): NodeId => base32(new Uint8Array(33).fill(number)).slice(0, 52) as NodeId;
const [ORIGIN, OTHER, EXECUTOR] = [nodeId(1), nodeId(2), nodeId(3)];
const key = { job: makeJobId(1, new Uint8Array(16)), attempt: 1 };
const BYTES = 5_000_000;
const DELIVER_MS_MAX = 30_000;

/** An origin that fetches over a link that the test may cut, from packs on the disk. */
class Rig {
  readonly home = folder();
  readonly packs = new ChangePacks(join(this.home, 'for'), silentLogger);
  readonly fetch: ChangeFetch;
  readonly path = join(this.home, 'fetched');
  link: JoinedMuxes | null = new JoinedMuxes();
  sent: WorkspaceMessage[] = [];
  /** Who the executor takes the origin for. */
  origin = ORIGIN;

  /** How the executor answers. */
  answers = (fetch: WorkspaceMessageOf<'ws.fetch'>, executor: WorkspaceLink): void =>
    this.packs.serve(this.origin, fetch, executor);

  constructor() {
    this.fetch = new ChangeFetch(() => this.#ends()?.origin ?? null);
  }

  #ends(): { readonly origin: WorkspaceLink; readonly executor: WorkspaceLink } | null {
    const { link } = this;
    if (link === null) return null;
    const executor: WorkspaceLink = {
      mux: link.second,
      isHere: false,
      send: (message) => {
        if (message.t === 'ws.failed') this.fetch.failed(EXECUTOR, message);
        return true;
      },
    };
    const origin: WorkspaceLink = {
      mux: link.first,
      isHere: false,
      send: (message) => {
        this.sent.push(message);
        if (message.t === 'ws.fetch') this.answers(message, executor);
        return true;
      },
    };
    return { origin, executor };
  }

  begin(bytes = BYTES, patienceMs = DELIVER_MS_MAX, signal = new AbortController().signal) {
    return this.fetch.fetch({ node: EXECUTOR, ...key, bytes, path: this.path, patienceMs }, signal);
  }

  /** Delivers frames until `stop` says so. */
  async deliver(stop: () => boolean): Promise<void> {
    const untilMs = performance.now() + DELIVER_MS_MAX;
    for (let turn = 0; !stop() && performance.now() < untilMs; turn += 1) {
      this.link?.deliver('second');
      this.link?.deliver('first');
      if (turn % 8 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  cut(): void {
    const { link } = this;
    this.link = null;
    link?.first.close();
    link?.second.close();
  }
}

const content = numbered(0, BYTES);

async function settled<T>(promise: Promise<T>, rig: Rig): Promise<T> {
  let done = false;
  const over = promise.finally(() => {
    done = true;
  });
  await rig.deliver(() => done);
  return over;
}

test('a pack is fetched whole, with no more than the window under way', async () => {
  const rig = new Rig();
  writeFileSync(rig.packs.pathFor(ORIGIN, key), content);
  expect(await settled(rig.begin(), rig)).toMatchObject({ ok: true });
  expect(readFileSync(rig.path).equals(content)).toBe(true);
  expect(rig.link?.violations).toEqual([]);
});

test('what a lost link cut off goes on over the next one', async () => {
  const rig = new Rig();
  writeFileSync(rig.packs.pathFor(ORIGIN, key), content);
  const fetching = rig.begin();
  const part = `${rig.path}.part`;
  await rig.deliver(() => existsSync(part) && statSync(part).size > 1_500_000);
  rig.cut();
  await new Promise((resolve) => setImmediate(resolve));
  const had = statSync(part).size;
  rig.link = new JoinedMuxes();
  expect(await settled(fetching, rig)).toMatchObject({ ok: true });
  const fetches = rig.sent.flatMap((message) => (message.t === 'ws.fetch' ? [message.offset] : []));
  expect(fetches).toEqual([0, had]);
  expect(readFileSync(rig.path).equals(content)).toBe(true);
});

test('links that are lost before anything came, one after the other, say nothing of the pack', async () => {
  const rig = new Rig();
  writeFileSync(rig.packs.pathFor(ORIGIN, key), content);
  const fetching = rig.begin(BYTES, DELIVER_MS_MAX);
  for (let lost = 1; lost <= 12; lost += 1) {
    await vi.waitFor(() => expect(rig.sent).toHaveLength(lost), { timeout: DELIVER_MS_MAX, interval: 5 });
    rig.cut();
    rig.link = new JoinedMuxes();
  }
  expect(await settled(fetching, rig)).toMatchObject({ ok: true });
  expect(readFileSync(rig.path).equals(content)).toBe(true);
});

test('a node that is there and sends nothing is given up for now; one that cannot read what it keeps is not asked for ever', async () => {
  const silent = new Rig();
  silent.answers = () => {};
  expect(await silent.begin(BYTES, 50)).toMatchObject({ ok: false, error: { kind: 'away' } });
  const unreadable = new Rig();
  unreadable.answers = ({ stream }, { mux }) => mux.openOutgoing(stream, 0, {}).abort();
  expect(await settled(unreadable.begin(BYTES, DELIVER_MS_MAX), unreadable)).toMatchObject({
    ok: false,
    error: { kind: 'bad' },
  });
});

test('what is not kept there any more is told as such, and nobody fetches what is of another', async () => {
  const rig = new Rig();
  expect(await settled(rig.begin(), rig)).toMatchObject({ ok: false, error: { kind: 'gone' } });
  writeFileSync(rig.packs.pathFor(ORIGIN, key), content);
  rig.origin = OTHER;
  expect(await settled(rig.begin(), rig)).toMatchObject({ ok: false, error: { kind: 'gone' } });
  rig.origin = ORIGIN;
  rig.packs.drop(ORIGIN, key);
  expect(await settled(rig.begin(), rig)).toMatchObject({ ok: false, error: { kind: 'gone' } });
});

test('a node that sends more than it said fills no disk, one that sends less is refused, one that is away waited for', async () => {
  const more = new Rig();
  writeFileSync(more.packs.pathFor(ORIGIN, key), content);
  expect(await settled(more.begin(1000), more)).toMatchObject({ ok: true });
  expect(readFileSync(more.path).equals(content.subarray(0, 1000))).toBe(true);
  const less = new Rig();
  writeFileSync(less.packs.pathFor(ORIGIN, key), content.subarray(0, 1000));
  expect(await settled(less.begin(), less)).toMatchObject({ ok: false, error: { kind: 'bad' } });
  const away = new Rig();
  away.cut();
  expect(await away.begin(BYTES, 1)).toMatchObject({ ok: false, error: { kind: 'away' } });
});

test('packs are swept by age and by each origin’s quota, the oldest first', () => {
  const rig = new Rig();
  const at = (attempt: number, origin = ORIGIN) => rig.packs.pathFor(origin, { ...key, attempt });
  for (const path of [at(1), at(2), at(1, OTHER)]) writeFileSync(path, Buffer.alloc(1000));
  rig.packs.sweep({ keepDays: 1, quotaBytes: 1500 }, Date.now());
  expect([at(1), at(2)].filter((path) => existsSync(path))).toHaveLength(1);
  expect(existsSync(at(1, OTHER))).toBe(true);
  rig.packs.sweep({ keepDays: 1, quotaBytes: 1500 }, Date.now() + 2 * 86_400_000);
  expect([at(1), at(2), at(1, OTHER)].filter((path) => existsSync(path))).toEqual([]);
});
