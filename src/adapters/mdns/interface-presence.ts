import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { EventEmitter } from 'node:events';
import { isIPv6 } from 'node:net';
import { Bonjour, type Browser, type Service } from 'bonjour-service';
import { assert } from '../../base/assert.ts';
import { messageOf, systemCodeOf } from '../../base/errors.ts';
import { MS_PER_SECOND } from '../../base/units.ts';
import type { DatagramGate } from './datagram-gate.ts';
import type { Sighting } from './hint-filter.ts';
import type { LinkInterface } from './interfaces.ts';
import type { ThreadSettings } from './protocol.ts';

const SERVICE = { type: 'meshwork', protocol: 'tcp' } as const;
/** The first query may be lost: asked again after these waits (RFC 6762 §5.2), then once a round. */
const EARLY_QUERIES_MS = [1 * MS_PER_SECOND, 3 * MS_PER_SECOND];
/** A question that another node has just asked is answered to all of us (RFC 6762 §7.3): ours is then left out… */
const QUESTION_FRESH_MS = 10 * MS_PER_SECOND;
/** …but never for longer than this, so that nobody can keep us silent. */
const OWN_QUERY_EVERY_MS_MAX = 60 * MS_PER_SECOND;
/** Our queries come back to us; this many without any packet at all mean that multicast is blocked here. */
const UNHEARD_QUERIES_MAX = 3;
const SETTLE_MS = 5 * MS_PER_SECOND;
const GOODBYE_MS_MAX = 500;

export type PresenceState =
  | { readonly kind: 'opening' | 'up' }
  /** `isDead`: it holds no socket any more and must be opened anew. */
  | { readonly kind: 'failed'; readonly message: string; readonly isDead: boolean };

export interface PresenceOptions {
  readonly link: LinkInterface;
  readonly settings: ThreadSettings;
  /** The addresses to announce on this interface; empty: only look. */
  readonly advertised: readonly string[];
  readonly gate: DatagramGate;
  /** Whether packets of that source belong to another interface: its own socket hears them too. */
  readonly isElsewhere: (source: string) => boolean;
  readonly onSighting: (sighting: Sighting) => void;
  readonly onExcess: () => void;
  readonly onChange: () => void;
  readonly nowMs: () => number;
}

interface DnsRecord {
  readonly name: string;
  readonly type: string;
  readonly ttl: number;
  readonly data: unknown;
}

/** A query, or a response as the library gives it; what `multicast-dns` encodes. */
interface DnsPacket {
  readonly answers?: readonly DnsRecord[];
  readonly additionals?: readonly DnsRecord[];
}

type Sent = (error?: Error | null) => void;

/** The inside of bonjour-service that we must reach: its errors surface there, and every packet leaves through `send`. */
interface InnerMdns extends EventEmitter {
  send(packet: DnsPacket, to: unknown, sent?: Sent): void;
}

/**
 * This node on one network interface: announces it, asks for others, reports what answers. One library instance per
 * interface with `{interface, bind: '0.0.0.0'}`: the defaults send nothing without a default route, and `interface`
 * alone receives nothing on Linux.
 */
export class InterfacePresence {
  readonly #options: PresenceOptions;
  readonly #socket: Socket;
  readonly #bonjour: Bonjour;
  #browser: Browser | null = null;
  #isReady = false;
  #isClosed = false;
  #isSettled = false;
  #fatal: string | null = null;
  #warning: string | null = null;
  #sendError: string | null = null;
  #hasHeard = false;
  #unheardQueries = 0;
  #ownQueryMs = Number.NEGATIVE_INFINITY;
  #foreignQueryMs = Number.NEGATIVE_INFINITY;
  readonly #timers: NodeJS.Timeout[] = [];

  constructor(options: PresenceOptions) {
    this.#options = options;
    this.#socket = createSocket({ type: 'udp4', reuseAddr: true });
    this.#guardSocket();
    const mdnsOptions: object = { socket: this.#socket, interface: this.#bindAddress(), bind: '0.0.0.0' };
    this.#bonjour = new Bonjour(mdnsOptions, (error: unknown) => this.#sent(error));
    const inner = innerMdnsOf(this.#bonjour);
    // A taken port is emitted here, twice, whatever callback the library is given; unheard it would end the thread.
    inner.on('error', (error: unknown) => this.#fail(error));
    inner.on('warning', (error: unknown) => {
      this.#warning = messageOf(error);
    });
    const send = inner.send;
    inner.send = (packet, to, sent) => {
      const then = typeof to === 'function' ? (to as Sent) : sent;
      send(this.#restrict(packet), typeof to === 'function' ? null : to, (error) => {
        this.#sent(error);
        then?.(error);
      });
    };
    inner.once('ready', () => this.#begin());
  }

  get link(): LinkInterface {
    return this.#options.link;
  }

  state(): PresenceState {
    const name = this.link.name;
    if (this.#fatal !== null) return { kind: 'failed', message: `${name}: ${this.#fatal}`, isDead: true };
    if (this.#sendError !== null) {
      return { kind: 'failed', message: `${name}: cannot send multicast (${this.#sendError})`, isDead: false };
    }
    if (this.#isSettled && (!this.#hasHeard || this.#unheardQueries > UNHEARD_QUERIES_MAX)) {
      const detail = this.#warning === null ? '' : ` (${this.#warning})`;
      return { kind: 'failed', message: `${name}: multicast seems to be blocked${detail}`, isDead: false };
    }
    return { kind: this.#hasHeard ? 'up' : 'opening' };
  }

  /** Asks again, unless another node did so a moment ago. */
  round(): void {
    const nowMs = this.#options.nowMs();
    const isAsked = nowMs - this.#foreignQueryMs < QUESTION_FRESH_MS;
    if (isAsked && nowMs - this.#ownQueryMs < OWN_QUERY_EVERY_MS_MAX) return;
    this.#query();
  }

  /** @param goodbye tell the network that this node is gone; false where only the socket is replaced */
  async close(goodbye: boolean): Promise<void> {
    if (this.#isClosed) return;
    for (const timer of this.#timers) clearTimeout(timer);
    if (goodbye && this.#isReady && this.#fatal === null) {
      await new Promise<void>((resolve) => {
        setTimeout(resolve, GOODBYE_MS_MAX).unref();
        this.#bonjour.unpublishAll(() => resolve());
      });
    }
    this.#destroy();
  }

  #destroy(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#browser?.stop();
    this.#bonjour.destroy();
  }

  /** The announced host itself, where that is the only one: then packets come from it too. */
  #bindAddress(): string {
    const { advertised, link } = this.#options;
    const only = advertised.length === 1 ? advertised[0] : undefined;
    return only === undefined || isIPv6(only) ? link.address : only;
  }

  /** Everything from the network passes here first; what the library throws at odd packets ends here too. */
  #guardSocket(): void {
    const socket = this.#socket;
    const emit = socket.emit.bind(socket) as (event: string, ...args: unknown[]) => boolean;
    const guarded = (event: string, ...args: unknown[]): boolean => {
      if (event !== 'message') return emit(event, ...args);
      const [datagram, from] = args as [Buffer, RemoteInfo];
      if (!this.#admits(datagram, from.address)) return false;
      try {
        return emit(event, ...args);
      } catch (error) {
        this.#warning = `a packet of ${from.address}: ${messageOf(error)}`;
        return false;
      }
    };
    socket.emit = guarded as Socket['emit'];
  }

  #admits(datagram: Buffer, source: string): boolean {
    const { gate, isElsewhere, nowMs } = this.#options;
    if (this.#isClosed || isElsewhere(source)) return false;
    this.#unheardQueries = 0;
    if (!this.#hasHeard) {
      this.#hasHeard = true;
      this.#options.onChange();
    }
    const verdict = gate.judge(datagram, source, nowMs());
    switch (verdict.kind) {
      case 'irrelevant':
        return false;
      case 'excess':
        this.#options.onExcess();
        return false;
      case 'query':
        if (!this.link.addresses.includes(source)) this.#foreignQueryMs = nowMs();
        return true;
      case 'response':
        return true;
    }
  }

  #begin(): void {
    if (this.#isClosed) return;
    this.#isReady = true;
    const { settings, advertised } = this.#options;
    if (advertised.length > 0) {
      this.#bonjour.publish({
        ...SERVICE,
        name: settings.nodeId,
        host: `${settings.nodeId}.local`,
        port: settings.port,
        // The name is unique, so there is nothing to probe for; a lost probe would print on stdout and say goodbye
        // in the name of the first owner.
        probe: false,
        disableIPv6: !advertised.some((address) => isIPv6(address)),
        txt: { id: settings.nodeId, port: settings.port, version: settings.productVersion },
      });
    }
    this.#query();
    for (const delayMs of EARLY_QUERIES_MS) this.#timers.push(setTimeout(() => this.#query(), delayMs));
    const settled = (): void => {
      this.#isSettled = true;
      this.#options.onChange();
    };
    this.#timers.push(setTimeout(settled, SETTLE_MS));
  }

  #query(): void {
    if (this.#isClosed || !this.#isReady) return;
    this.#ownQueryMs = this.#options.nowMs();
    this.#unheardQueries += 1;
    // The library's browser asks once, when it is made.
    if (this.#browser !== null) this.#browser.update();
    else {
      this.#browser = this.#bonjour.find(SERVICE, (service) => this.#saw(service));
      this.#browser.on('srv-update', (service) => this.#saw(service));
      this.#browser.on('txt-update', (service) => this.#saw(service));
    }
  }

  #saw(service: Service): void {
    if (this.#browser !== null) forgetServices(this.#browser);
    const source = service.referer?.address;
    const id: unknown = service.txt?.id;
    if (source === undefined || id !== service.name) return;
    this.#options.onSighting({ id, port: service.port, source, addresses: service.addresses ?? [] });
  }

  /**
   * The library answers with the addresses of every interface, container bridges included: only those announced here
   * may leave. A goodbye must not retract the service type, which other nodes have as well.
   */
  #restrict(packet: DnsPacket): DnsPacket {
    const { advertised } = this.#options;
    const isOurs = (record: DnsRecord): boolean => {
      if (record.type === 'A' || record.type === 'AAAA') return advertised.some((address) => address === record.data);
      return record.ttl > 0 || !record.name.startsWith('_services.');
    };
    return {
      ...packet,
      ...(packet.answers === undefined ? {} : { answers: packet.answers.filter(isOurs) }),
      ...(packet.additionals === undefined ? {} : { additionals: packet.additionals.filter(isOurs) }),
    };
  }

  #sent(error: unknown): void {
    const message = error === undefined || error === null ? null : messageOf(error);
    if (message === this.#sendError || this.#isClosed) return;
    this.#sendError = message;
    this.#options.onChange();
  }

  #fail(error: unknown): void {
    if (this.#fatal !== null || this.#isClosed) return;
    this.#fatal =
      systemCodeOf(error) === 'EADDRINUSE'
        ? 'UDP port 5353 is held by another program that does not share it'
        : messageOf(error);
    for (const timer of this.#timers) clearTimeout(timer);
    this.#destroy();
    this.#options.onChange();
  }
}

/**
 * The browser reports a name once and keeps it for ever. Emptied after each report, every answer is news (a changed
 * address is noticed, a killed node is not remembered as up) and forged names cannot pile up.
 */
function forgetServices(browser: Browser): void {
  browser.services.length = 0;
  Reflect.set(browser, 'serviceMap', {});
}

function innerMdnsOf(bonjour: Bonjour): InnerMdns {
  const server: unknown = Reflect.get(bonjour, 'server');
  const mdns: unknown = typeof server === 'object' && server !== null ? Reflect.get(server, 'mdns') : null;
  assert(isInnerMdns(mdns), 'this version of bonjour-service has another inside');
  return mdns;
}

function isInnerMdns(value: unknown): value is InnerMdns {
  return value instanceof EventEmitter && 'send' in value && typeof value.send === 'function';
}
