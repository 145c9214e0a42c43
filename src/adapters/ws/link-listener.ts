import { createServer as createHttpServer, type IncomingMessage, STATUS_CODES } from 'node:http';
import { type AddressInfo, createServer as createNetServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { type WebSocket, WebSocketServer } from 'ws';
import { MeshError, messageOf, systemCodeOf } from '../../base/errors.ts';
import type { LogFields } from '../../base/log.ts';
import type { Listening, ListenOptions } from '../../ports/links.ts';
import { LINK_PATH, PAIR_REQUEST_BYTES_MAX } from '../../wire/hello.ts';
import { formatAddress } from './address-text.ts';
import type { AdmissionGate, Ticket } from './admission-gate.ts';
import { HalfLinks, type HalfLinksOptions } from './half-links.ts';
import { InboundConnection } from './inbound-connection.ts';
import { KnockRoom, knockOf } from './knock.ts';
import { HANDSHAKE_MS, UPGRADE_HEADER_BYTES_MAX } from './limits.ts';
import { servePairing } from './pairing.ts';
import type { RefusalKind } from './refusal-log.ts';
import { exporterOf, peerKeyOf, tlsOptionsOf } from './tls-peer.ts';
import { checkUpgrade, type Upgrade } from './upgrade-check.ts';
import { SOCKET_OPTIONS } from './web-socket.ts';

export interface LinkListenerOptions extends HalfLinksOptions, Pick<ListenOptions, 'onPair'> {
  readonly gate: AdmissionGate;
}

/**
 * The listening side, in the order in which a connection passes: admission by address → TLS → key → upgrade → links or
 * pairing. Four servers in a row, of which only the first has a port.
 */
export class LinkListener {
  readonly #options: LinkListenerOptions;
  readonly #half: HalfLinks;
  readonly #front = createNetServer({ noDelay: true }, (raw) => this.#accept(raw));
  readonly #tls;
  // Without a bound on their number, so that no header slips past the checks unseen; their bytes are bounded.
  readonly #http = createHttpServer({ maxHeaderSize: UPGRADE_HEADER_BYTES_MAX });
  readonly #links = new WebSocketServer({ ...SOCKET_OPTIONS, noServer: true, clientTracking: false });
  readonly #pairs = new WebSocketServer({
    ...SOCKET_OPTIONS,
    maxPayload: PAIR_REQUEST_BYTES_MAX,
    noServer: true,
    clientTracking: false,
  });
  /** By `endpointsOf`, until they are closed. */
  readonly #inbound = new Map<string, InboundConnection>();
  readonly #knocks = new KnockRoom();
  readonly #secured = new WeakMap<Duplex, InboundConnection>();

  constructor(options: LinkListenerOptions) {
    this.#options = options;
    this.#half = new HalfLinks(options);
    this.#tls = createTlsServer({
      ...tlsOptionsOf(options.local),
      requestCert: true,
      handshakeTimeout: HANDSHAKE_MS,
    });
    this.#tls.on('secureConnection', (socket) => this.#secure(socket));
    this.#tls.on('tlsClientError', (error, socket) => {
      this.#note('tls_failed', this.#inbound.get(endpointsOf(socket)), { detail: messageOf(error) });
      socket.destroy();
    });
    this.#http.maxHeadersCount = 0;
    this.#http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    this.#http.on('request', (request, response) => {
      const isLinkPath = request.url === LINK_PATH;
      this.#note(isLinkPath ? 'not_websocket' : 'path', this.#secured.get(request.socket), {});
      response.writeHead(isLinkPath ? 426 : 404, { Connection: 'close', 'Content-Length': 0 });
      response.end(() => request.socket.destroySoon());
    });
    this.#http.on('clientError', (error, socket) => {
      const inbound = this.#secured.get(socket);
      this.#note('bad_http', inbound, { detail: messageOf(error) });
      if (inbound === undefined || !socket.writable) socket.destroy();
      else inbound.refuse(socket, 400, 'Bad Request');
    });
  }

  /** Throws MeshError `port_in_use` or `io`. */
  async listen(host: string | null, port: number): Promise<Listening> {
    try {
      await this.#bind(host ?? '::', port);
    } catch (error) {
      const noIpv6 = ['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL'].includes(systemCodeOf(error));
      if (host !== null || !noIpv6) throw bindError(error, host, port);
      await this.#bind('0.0.0.0', port).catch((second: unknown) => {
        throw bindError(second, host, port);
      });
    }
    const bound = this.#front.address() as AddressInfo;
    return { host: bound.address, port: bound.port, close: () => this.#close() };
  }

  async #bind(host: string, port: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#front.once('error', reject);
      this.#front.listen({ host, port }, () => {
        this.#front.off('error', reject);
        // Such as EMFILE on accept: this connection is lost, the next may do.
        this.#front.on('error', (error) => this.#note('flood', undefined, { detail: messageOf(error) }));
        resolve();
      });
    });
  }

  async #close(): Promise<void> {
    // Its callback would wait for the links as well, which live on; the port is free at once.
    this.#front.close();
    this.#half.close('this node stops listening');
    this.#knocks.close();
    for (const inbound of this.#inbound.values()) inbound.drop();
    await new Promise((resolve) => setImmediate(resolve));
  }

  #accept(raw: Socket): void {
    // What follows an error is 'close', where everything is settled; without a listener it would end the process.
    raw.on('error', () => raw.destroy());
    const { gate, nowMs, local } = this.#options;
    const host = raw.remoteAddress;
    if (host === undefined) return void raw.destroy();
    const evict = (): void => {
      this.#note('evicted', undefined, { address: host });
      raw.resetAndDestroy();
    };
    const ticket = gate.admit(host, nowMs(), evict);
    if (ticket !== null) return this.#handshake(raw, ticket);
    this.#knocks.listen(raw, knockOf(local.hello().mesh), (knocked) => {
      const second = knocked ? gate.admitMember(host, nowMs(), evict) : null;
      if (second !== null) return this.#handshake(raw, second);
      this.#note('flood', undefined, { address: host, knocked });
      raw.resetAndDestroy();
    });
  }

  #handshake(raw: Socket, ticket: Ticket): void {
    const { nowMs } = this.#options;
    const inbound = new InboundConnection(raw, ticket, nowMs, () => this.#note('handshake_timeout', inbound, {}));
    const endpoints = endpointsOf(raw);
    this.#inbound.set(endpoints, inbound);
    raw.once('close', () => this.#inbound.delete(endpoints));
    this.#tls.emit('connection', raw);
  }

  #secure(socket: TLSSocket): void {
    socket.on('error', () => socket.destroy());
    const inbound = this.#inbound.get(endpointsOf(socket));
    if (inbound === undefined) {
      socket.destroy();
      return;
    }
    const { local, bounds, nowMs } = this.#options;
    const key = peerKeyOf(socket, local.nodeIdOf);
    if (key !== null && key.peer !== local.nodeId && local.authorize(key.peer, key.spki) === 'trusted') {
      const release = bounds.admitSocket(key.peer, nowMs());
      inbound.trust(key, release ?? (() => undefined));
      if (release === null) {
        this.#note('peer_limit', inbound, {});
        socket.destroy();
        return;
      }
    } else if (key !== null) {
      inbound.key = { kind: 'stranger', key };
    }
    this.#secured.set(socket, inbound);
    this.#http.emit('connection', socket);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const inbound = this.#secured.get(socket);
    if (inbound === undefined) {
      socket.destroy();
      return;
    }
    const checked = checkUpgrade(request, inbound.peer, this.#options.local);
    if (!checked.ok) {
      const { status, kind } = checked.error;
      this.#note(kind, inbound, {});
      return inbound.refuse(socket, status, STATUS_CODES[status] ?? '');
    }
    const upgrade = checked.value;
    if (upgrade.kind === 'bulk' && !this.#half.has(upgrade.key.peer, upgrade.linkId)) {
      this.#note('unmatched_bulk', inbound, {});
      return inbound.refuse(socket, 409, 'Conflict');
    }
    const server = upgrade.kind === 'pair' ? this.#pairs : this.#links;
    server.handleUpgrade(request, socket, head, (opened) => this.#opened(opened, upgrade, inbound, request));
  }

  #opened(socket: WebSocket, upgrade: Upgrade, inbound: InboundConnection, request: IncomingMessage): void {
    inbound.upgraded();
    switch (upgrade.kind) {
      case 'control':
        this.#half.takeControl(socket, upgrade.key, inbound);
        return;
      case 'bulk':
        this.#half.takeBulk(socket, upgrade.key, inbound, upgrade.linkId);
        return;
      case 'pair':
        servePairing(socket, {
          onPair: this.#options.onPair,
          context: {
            peer: upgrade.key.peer,
            peerSpki: upgrade.key.spki,
            exporter: exporterOf(request.socket as TLSSocket),
            remoteAddress: inbound.remoteAddress,
          },
          onFault: (detail) => this.#note('bad_pairing', inbound, { detail }),
        });
    }
  }

  #note(kind: RefusalKind, inbound: InboundConnection | undefined, fields: LogFields): void {
    const from = inbound === undefined ? {} : { address: inbound.remoteAddress, peer: inbound.peer?.peer };
    this.#options.refusals.note(kind, { ...from, ...fields });
  }
}

/** Names a connection on both its plain and its TLS socket. */
function endpointsOf(socket: Socket): string {
  return `${socket.remoteAddress}|${socket.remotePort}|${socket.localAddress}`;
}

function bindError(error: unknown, host: string | null, port: number): MeshError {
  const at = host === null ? `port ${port}` : formatAddress(host, port);
  if (systemCodeOf(error) === 'EADDRINUSE') {
    const message =
      `${at} is in use by another program, so no peer could connect. ` +
      'Choose another with --listen HOST:PORT, or stop what listens there';
    return new MeshError('port_in_use', message, error);
  }
  return new MeshError(
    'io',
    `cannot listen at ${at}: ${messageOf(error)}. Choose another with --listen HOST:PORT`,
    error,
  );
}
