import { describe, expect, test, vi } from 'vitest';
import type { NodeId } from '../../../src/base/ids.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { seededRandom } from '../../../src/base/random.ts';
import { err, ok, type Result } from '../../../src/base/result.ts';
import { AddressBook } from '../../../src/node/address-book.ts';
import { LinkTable, type Peer } from '../../../src/node/links.ts';
import type { Address, DialFailure, PeerLink, PeerLinkHandlers } from '../../../src/ports/links.ts';

const A = 'a'.repeat(52) as NodeId;
const B = 'b'.repeat(52) as NodeId;
const C = 'c'.repeat(52) as NodeId;
const AT_B: Address = { host: '10.9.9.2', port: 2 };
const AT_B_TOO: Address = { host: '10.9.9.3', port: 2 };

/** One end of a link that exists in memory only; what it does reaches the other end in a later turn. */
class FakeLink implements PeerLink {
  readonly peerSpki = new Uint8Array(44);
  readonly peerName = 'fake';
  readonly remoteAddress = '10.9.9.2:40000';
  closedWith: string | null = null;
  other: FakeLink | null = null;
  readonly peer: NodeId;
  readonly peerIncarnation: number;
  readonly dialledByUs: boolean;
  #handlers: PeerLinkHandlers | null = null;

  constructor(peer: NodeId, peerIncarnation: number, dialledByUs: boolean) {
    this.peer = peer;
    this.peerIncarnation = peerIncarnation;
    this.dialledByUs = dialledByUs;
  }

  attach(handlers: PeerLinkHandlers): void {
    this.#handlers = handlers;
    if (this.closedWith !== null) this.#tellClosed(this.closedWith);
  }

  sendControl(json: string): boolean {
    if (this.closedWith !== null) return false;
    setImmediate(() => this.other?.hear(json));
    return true;
  }

  sendBulk(): void {
    // The bytes of streams are not looked at here.
  }

  hear(json: string): void {
    if (this.closedWith === null) this.#handlers?.onControl(json);
  }

  bulk(frame: Uint8Array): void {
    this.#handlers?.onBulk(frame);
  }

  close(reason: string): void {
    if (this.closedWith !== null) return;
    this.closedWith = reason;
    this.#tellClosed(reason);
    const { other } = this;
    setImmediate(() => other?.close(reason));
  }

  #tellClosed(reason: string): void {
    const handlers = this.#handlers;
    if (handlers !== null) setImmediate(() => handlers.onClose(reason));
  }
}

function pairOfLinks(dialler: NodeId, listener: NodeId, incarnations: readonly [number, number] = [1, 1]) {
  const atDialler = new FakeLink(listener, incarnations[1], true);
  const atListener = new FakeLink(dialler, incarnations[0], false);
  atDialler.other = atListener;
  atListener.other = atDialler;
  return { atDialler, atListener };
}

const REFUSED: DialFailure = { kind: 'refused', message: 'nobody listens' };

type Dial = (address: Address, expected: NodeId | null, signal: AbortSignal) => Promise<Result<PeerLink, DialFailure>>;

function newTable(self: NodeId, dial: Dial) {
  const events: string[] = [];
  const dials: string[] = [];
  let peer: Peer | null = null;
  const table = new LinkTable({
    self,
    random: seededRandom(1),
    log: silentLogger,
    dial: (address, expected, signal) => {
      dials.push(`${address.host} ${expected?.slice(0, 1) ?? 'any'}`);
      return dial(address, expected, signal);
    },
    onUp: (up, incarnation) => {
      peer = up;
      events.push(`up ${up.id.slice(0, 1)} ${incarnation}`);
    },
    onDown: (down, reason) => events.push(`down ${down.id.slice(0, 1)}: ${reason}`),
    onControl: (from, json) => events.push(`${from.id.slice(0, 1)} said ${json}`),
    onRefused: (id) => events.push(`refused by ${id.slice(0, 1)}`),
    onAddressBook: () => undefined,
  });
  return { table, events, dials, last: () => peer };
}

const never: Dial = () => new Promise(() => undefined);
const until = (what: () => void) => vi.waitFor(what, { timeout: 60_000, interval: 5 });
const settled = () => new Promise((resolve) => setImmediate(() => setImmediate(() => setImmediate(resolve))));

describe('the link table', () => {
  test.each([
    ['each its own first', ['own', 'own']],
    ["each the other's first", ['other', 'other']],
    ['one own, one other', ['own', 'other']],
    ['one other, one own', ['other', 'own']],
  ])('keeps one and the same link on both ends where both dial: %s', async (_what, [first, second]) => {
    const [a, b] = [newTable(A, never), newTable(B, never)];
    const byA = pairOfLinks(A, B);
    const byB = pairOfLinks(B, A);
    const orders = { own: [byA.atDialler, byB.atListener], other: [byB.atListener, byA.atDialler] } as const;
    const ordersB = { own: [byB.atDialler, byA.atListener], other: [byA.atListener, byB.atDialler] } as const;
    for (const link of orders[first as 'own']) a.table.accept(link);
    for (const link of ordersB[second as 'own']) b.table.accept(link);
    await settled();
    expect([byA.atDialler.closedWith, byA.atListener.closedWith]).toEqual([null, null]);
    expect([byB.atDialler.closedWith, byB.atListener.closedWith]).not.toContain(null);
    expect([a.table.peers.length, b.table.peers.length]).toEqual([1, 1]);
    expect(a.table.get(B)?.send({ hello: 1 })).toBe(true);
    await until(() => expect(b.events.at(-1)).toBe('a said {"hello":1}'));
    for (const { events } of [a, b]) {
      const ups = events.filter((event) => event.startsWith('up')).length;
      expect(events.filter((event) => event.startsWith('down'))).toHaveLength(ups - 1);
    }
    a.table.stop('test');
    b.table.stop('test');
  });

  test('dials a wanted node by its id until it is linked, and again when the link goes', async () => {
    const links: FakeLink[] = [];
    let refusals = 1;
    const { table, events, dials } = newTable(A, async () => {
      if (refusals-- > 0) return err(REFUSED);
      const { atDialler } = pairOfLinks(A, B);
      links.push(atDialler);
      return ok(atDialler);
    });
    table.want(A, [AT_B]);
    table.want(B, [AT_B]);
    await until(() => expect(table.get(B)).not.toBeNull());
    expect(events).toEqual(['refused by b', 'up b 1']);
    expect(dials).toEqual(['10.9.9.2 b', '10.9.9.2 b']);
    links[0]?.close('the cable');
    await until(() => expect(links).toHaveLength(2));
    expect(events.slice(2)).toEqual(['down b: the cable', 'up b 1']);
    table.unwant(B);
    links[1]?.close('gone');
    await settled();
    expect(table.get(B)).toBeNull();
    expect(dials).toHaveLength(3);
    table.stop('test');
  });

  test('tries several addresses; the first that answers wins, and the late one is closed', async () => {
    const late = pairOfLinks(A, B).atDialler;
    const quick = pairOfLinks(A, B).atDialler;
    let answerLate = (): void => undefined;
    const { table, events, dials } = newTable(A, (address) => {
      if (address.host === AT_B_TOO.host) return Promise.resolve(ok(quick));
      return new Promise((resolve) => {
        answerLate = () => resolve(ok(late));
      });
    });
    table.want(B, [AT_B, AT_B_TOO]);
    await until(() => expect(events).toEqual(['up b 1']));
    answerLate();
    await settled();
    expect(dials).toHaveLength(2);
    expect([quick.closedWith, late.closedWith]).toEqual([null, 'another address answered first']);
    table.stop('test');
  });

  test('leaves nothing at what lives as long as it, and warns of no leak, however many addresses are dialled', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const spies = (['addEventListener', 'removeEventListener'] as const).map((name) =>
      vi.spyOn(EventTarget.prototype, name),
    );
    const anys = vi.spyOn(AbortSignal, 'any');
    const listening = (): number[] =>
      spies.map((spy) => spy.mock.calls.filter(([type, listener]) => type === 'abort' && listener !== null).length);
    let [waiting, answer] = [0, (): void => undefined];
    const together = new Promise<void>((resolve) => (answer = resolve));
    const { table, dials } = newTable(A, async (_address, _expected, signal) => {
      const stop = (): void => undefined;
      signal.addEventListener('abort', stop);
      waiting += 1;
      await together;
      signal.removeEventListener('abort', stop);
      return err(REFUSED);
    });
    const addresses = Array.from({ length: 16 }, (_, at) => ({ host: `10.9.9.${at}`, port: 2 }));
    for (const node of [B, C]) table.want(node, addresses);
    await until(() => expect(waiting).toBe(32));
    answer();
    await until(() => expect(listening()[1]).toBe(listening()[0]));
    expect(dials.length).toBeGreaterThanOrEqual(32);
    expect(listening()[0]).toBeGreaterThanOrEqual(34);
    expect(anys).not.toHaveBeenCalled();
    expect(warned.mock.calls).toEqual([]);
    table.stop('test');
    vi.restoreAllMocks();
  });

  test('says that a node refuses only where all of its addresses do', async () => {
    const unreachable: DialFailure = { kind: 'unreachable', message: 'no route' };
    let failures: readonly DialFailure[] = [REFUSED, unreachable];
    const { table, events, dials } = newTable(A, (address) =>
      Promise.resolve(err(failures[address.host === AT_B.host ? 0 : 1] ?? REFUSED)),
    );
    table.want(B, [AT_B, AT_B_TOO]);
    await until(() => expect(dials.length).toBeGreaterThanOrEqual(2));
    expect(events).toEqual([]);
    failures = [REFUSED, REFUSED];
    table.hurry();
    await until(() => expect(events).toContain('refused by b'));
    table.stop('test');
  });

  test('dials an address that was given by hand until it knows whose it is, then that node by its id', async () => {
    const answers = [B, C];
    const { table, events, dials } = newTable(A, async (_address, expected) =>
      ok(pairOfLinks(A, expected ?? answers.shift() ?? B).atDialler),
    );
    table.wantStatic(AT_B);
    table.wantStatic(AT_B);
    await until(() => expect(events).toEqual(['up b 1']));
    expect(table.addressesOf(B)).toEqual([AT_B]);
    table.close(B, 'again');
    await until(() => expect(dials).toEqual(['10.9.9.2 any', '10.9.9.2 b']));
    // It is no member any more: whoever answers there next may be one.
    table.unwant(B);
    table.close(B, 'no longer trusted');
    await until(() => expect(table.get(C)).not.toBeNull());
    expect(dials).toEqual(['10.9.9.2 any', '10.9.9.2 b', '10.9.9.2 any']);
    table.stop('test');
  });

  test('gives up an address that turns out to be its own', async () => {
    const self = pairOfLinks(A, A).atDialler;
    const { table, events, dials } = newTable(A, () => Promise.resolve(ok(self)));
    table.wantStatic(AT_B);
    await until(() => expect(self.closedWith).toBe('this is the same node'));
    table.hurry();
    await settled();
    expect([events, dials.length]).toEqual([[], 1]);
    table.accept(pairOfLinks(A, A).atListener);
    expect(table.peers).toEqual([]);
    table.stop('test');
  });

  test('lets a newer run of a node replace its links, and turns away an older one', () => {
    const { table, events } = newTable(A, never);
    const [old, fresh, stale] = [1, 7, 3].map((run) => pairOfLinks(B, A, [run, 1]).atListener);
    if (old === undefined || fresh === undefined || stale === undefined) throw new Error('three links');
    table.accept(old);
    table.accept(fresh);
    table.accept(stale);
    expect(events).toEqual(['up b 1', 'down b: replaced by another link of the same node', 'up b 7']);
    expect([old.closedWith === null, fresh.closedWith, stale.closedWith === null]).toEqual([false, null, false]);
    table.stop('test');
  });

  test('closes a link whose peer breaks the rules of streams', async () => {
    const { table, events, last } = newTable(A, never);
    const link = pairOfLinks(B, A).atListener;
    table.accept(link);
    link.bulk(new Uint8Array([9, 0, 0, 0, 1]));
    await until(() => expect(events.at(-1)).toMatch(/^down b: protocol violation: an unknown stream frame kind/));
    expect(last()?.send({})).toBe(false);
    table.stop('test');
  });

  test('stops: links go down once, streams are aborted, nothing is dialled or taken any more', async () => {
    const { table, events, dials } = newTable(A, never);
    const link = pairOfLinks(B, A).atListener;
    table.accept(link);
    let aborted = 0;
    table.get(B)?.mux.openOutgoing(2, 0, {
      onAbort: () => {
        aborted += 1;
      },
    });
    table.stop('going down');
    table.stop('going down');
    table.want(C, [AT_B]);
    const late = pairOfLinks(C, A).atListener;
    table.accept(late);
    await settled();
    expect(events).toEqual(['up b 1', 'down b: going down']);
    expect([aborted, dials, late.closedWith]).toEqual([1, [], 'going down']);
  });
});

describe('the address book', () => {
  test('puts first where packets came from, then where a dial worked, then what was said', () => {
    const book = new AddressBook();
    const [said, worked, packet] = [1, 2, 3].map((n) => ({ host: `192.0.2.${n}`, port: n }));
    if (said === undefined || worked === undefined || packet === undefined) throw new Error('three addresses');
    book.learn(B, [said, worked, packet]);
    book.worked(B, worked);
    expect(book.addressesOf(B)[0]).toEqual(worked);
    book.linked(B, '192.0.2.3:50123');
    expect(book.addressesOf(B)).toEqual([packet, worked, said]);
    expect([packet, worked, said].map((one) => book.isLastGood(B, one))).toEqual([true, true, false]);
    expect(book.isLastGood(C, packet)).toBe(false);
  });

  test('holds a bounded number of addresses of a node, the proven ones among them', () => {
    const book = new AddressBook();
    const good = { host: '192.0.2.1', port: 1 };
    book.worked(B, good);
    for (let n = 0; n < 500; n++) book.learn(B, [{ host: `198.51.100.${n % 250}`, port: n + 1 }]);
    expect(book.addressesOf(B)).toHaveLength(16);
    expect(book.addressesOf(B)[0]).toEqual(good);
    book.learn(B, [good, good]);
    expect(book.addressesOf(B).filter(({ host }) => host === good.host)).toHaveLength(1);
  });
});
