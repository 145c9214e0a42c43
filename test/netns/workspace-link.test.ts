import { execFileSync } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { unreachable } from '../../src/base/assert.ts';
import { seededRandom, type Random } from '../../src/base/random.ts';
import { LanPair } from '../fixtures/lan-pair.ts';
import { until } from '../fixtures/mesh-nodes.ts';
import type { LanHost } from '../fixtures/netns.ts';
import { SHIPPED } from '../fixtures/plain-spec.ts';

const MIB = 2 ** 20;
const END_MS_MAX = 150_000;
const CUTS = 10;
const SMALL_FILES = 3000;
const SMALL_BYTES_MAX = 4096;
const LARGE_FILES = 5;
const LARGE_BYTES = 8 * MIB;
/** What is left after the last cut, beside what each cut cost, is enough to go on with. */
const LAST_POINT = 0.9;
const PRODUCT_BYTES = 32 * MIB;
/** TCP alone gets over it. */
const PAUSE_MS = 1000;
/** Headers of frames, of TLS and of TCP, acknowledgements, the manifest of each new beginning, heartbeats. */
const OVERHEAD = 1.1;
/** What was under way, and a pack of which a part came. */
const LOST_BYTES_PER_CUT = 2 * MIB;
/** More than what an interface still holds of connections that are gone. */
const GOES_ON_BYTES = MIB;

const soak = process.env['MESHWORK_SOAK'] === '1';
const seed = Math.floor(Math.random() * 2 ** 31);

const pair = new LanPair('a project across a link that is cut');
const { unavailable, set } = pair;
if (unavailable === null) console.log(`cuts of a transfer: seed ${seed}`);
if (!soak) console.log('no cut is so long that the link is given up; two of ten are under --soak');

/** Connections reset at both ends · silence that TCP gets over · silence until the link is given up. */
type CutKind = 'reset' | 'pause' | 'silence';

/** Bytes that nothing compresses, the same for the same seed. */
function noise(bytes: number): Buffer {
  const key = Buffer.alloc(16);
  key.writeUInt32LE(seed);
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(bytes));
}

/** A git work tree of a few thousand files and some large ones. @returns its bytes */
function makeProject(root: string, random: Random): number {
  const content = noise(LARGE_FILES * LARGE_BYTES + SMALL_FILES * SMALL_BYTES_MAX);
  let at = 0;
  const write = (path: string, bytes: number): void => {
    writeFileSync(join(root, path), content.subarray(at, at + bytes));
    at += bytes;
  };
  for (let folder = 0; folder < 30; folder += 1) mkdirSync(join(root, `src/${folder}`), { recursive: true });
  for (let i = 0; i < SMALL_FILES; i += 1) write(`src/${i % 30}/${i}.c`, Math.floor(random.next() * SMALL_BYTES_MAX));
  for (let i = 0; i < LARGE_FILES; i += 1) write(`large-${i}.bin`, LARGE_BYTES);
  execFileSync('git', ['init', '-q', '-b', 'main'], { cwd: root });
  return at;
}

/** Kinds and paths, of files also permission bits and content, of all but what git keeps. */
const DIGEST = `(find . -name .git -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
find . -name .git -prune -o -type f -printf '%m %p\\n' -o -printf '%y %p\\n' | LC_ALL=C sort) | sha256sum`;
const digestHere = (root: string): string => execFileSync('sh', ['-c', DIGEST], { cwd: root, encoding: 'utf8' });

async function cut(kind: CutKind): Promise<void> {
  const { a, b, lan } = pair;
  switch (kind) {
    case 'pause':
      return pair.silenceFor(PAUSE_MS);
    case 'silence':
      return pair.silenceWhile(() =>
        until('the link is given up', END_MS_MAX, async () => (await a.row(b))?.reachable === false),
      );
    case 'reset':
      expect(lan.resetConnections(lan.host(0)), 'connections that were reset').toBeGreaterThan(0);
      return;
    default:
      unreachable(kind);
  }
}

const KINDS = Array.from({ length: CUTS }, (_, index): CutKind =>
  index % 5 === 2 ? 'pause' : soak && index % 5 === 4 ? 'silence' : 'reset',
);

interface Transfer {
  readonly sender: LanHost;
  readonly receiver: LanHost;
  readonly bytes: number;
  readonly random: Random;
  readonly isUnderWay: () => boolean;
}

/**
 * Cuts a transfer at ten points, each anywhere in another tenth of it. What is sent stops there by itself: by the time
 * that somebody looks, all of it could have crossed.
 *
 * @returns bytes that crossed so far
 */
async function cutTenTimes({ sender, receiver, bytes, random, isUnderWay }: Transfer): Promise<() => number> {
  const before = pair.lan.receivedBytes(receiver);
  const crossed = (): number => pair.lan.receivedBytes(receiver) - before;
  let healed = crossed();
  for (const [index, kind] of KINDS.entries()) {
    const drawn = Math.round(((index + random.next()) / CUTS) * LAST_POINT * bytes);
    const point = Math.max(drawn, healed + GOES_ON_BYTES);
    pair.lan.setAllowance(sender, point - crossed());
    await until(`it goes on, and ${point} of ${bytes} bytes crossed`, END_MS_MAX, () => crossed() >= point);
    expect(isUnderWay(), `the transfer goes on at cut ${index + 1}`).toBe(true);
    await cut(kind);
    healed = crossed();
  }
  pair.lan.setAllowance(sender, null);
  await until('it goes on after the last cut', END_MS_MAX, () => crossed() >= healed + GOES_ON_BYTES);
  return crossed;
}

describe.skipIf(unavailable !== null)('cut at ten random points', () => {
  it('a project on its way there arrives whole, little of it is sent twice, and the command runs once', async () => {
    const random = seededRandom(seed);
    const root = join(set.folder, 'project');
    const bytes = makeProject(root, random);
    const runs = join(set.folder, 'runs');
    const states: string[] = [];
    const job = await pair.a.submit(`echo run >> ${runs}; ${DIGEST}`, {
      on: 'b',
      cwd: root,
      sync: SHIPPED,
      onEvent: (event) => void (event.kind === 'state' && event.state !== states.at(-1) && states.push(event.state)),
    });
    const isUnderWay = (): boolean => !existsSync(runs);
    const [sender, receiver] = [pair.lan.host(0), pair.lan.host(1)];
    const crossed = await cutTenTimes({ sender, receiver, bytes, random, isUnderWay });
    expect(await job.ended).toMatchObject({ reason: 'exited', return_code: 0, executed_on: 'b', attempts: 1 });
    const { out } = await job.ended;
    expect(out).toBe(digestHere(root));
    expect(readFileSync(runs, 'utf8')).toBe('run\n');
    const pauses = KINDS.filter((kind) => kind === 'pause').length;
    const syncs = states.slice(0, states.indexOf('running')).filter((state) => state === 'syncing');
    expect(syncs.length, states.join()).toBeGreaterThanOrEqual(1 + CUTS - pauses);
    expect(crossed()).toBeLessThan(bytes * OVERHEAD + CUTS * LOST_BYTES_PER_CUT);
  });

  it('what a job made comes back whole, and little of it is sent twice', async () => {
    const random = seededRandom(seed + 1);
    const root = join(set.folder, 'maker');
    mkdirSync(root);
    execFileSync('git', ['init', '-q', '-b', 'main'], { cwd: root });
    writeFileSync(join(root, 'a.txt'), 'a\n');
    let isOver = false;
    const line = `head -c ${PRODUCT_BYTES} /dev/urandom > product; sha256sum product`;
    const job = await pair.a.submit(line, { on: 'b', cwd: root, sync: SHIPPED });
    const over = (): void => void (isOver = true);
    job.ended.then(over, over);
    const [receiver, sender] = [pair.lan.host(0), pair.lan.host(1)];
    const isUnderWay = (): boolean => !isOver;
    const crossed = await cutTenTimes({ sender, receiver, bytes: PRODUCT_BYTES, random, isUnderWay });
    const end = await job.ended;
    expect(end).toMatchObject({ reason: 'exited', return_code: 0, executed_on: 'b', attempts: 1 });
    expect(end.changes).toMatchObject({ returned: ['product'], conflicts: [], held_back: [] });
    expect(execFileSync('sha256sum', ['product'], { cwd: root, encoding: 'utf8' })).toBe(end.out);
    expect(crossed()).toBeLessThan(PRODUCT_BYTES * OVERHEAD + CUTS * LOST_BYTES_PER_CUT);
  });
});
