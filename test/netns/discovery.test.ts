import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { createLan, netnsUnavailable, type Lan, type LanHost } from '../fixtures/netns.ts';
import { startAvahi } from '../fixtures/avahi.ts';

const PORT = 47_470;
const FORGED_NAMES = 5000;
const BUSY_MS_MAX = 250;
const WORKER_URL = pathToFileURL('dist/mdns-worker.js').href;
const unavailable = netnsUnavailable();
if (unavailable !== null) console.log(`skipped: discovery between network namespaces: ${unavailable}`);

const folder = mkdtempSync(join(tmpdir(), 'meshwork-netns-'));
const program = join(folder, 'discovery-probe.mjs');
const idOf = (host: LanHost): string => String.fromCharCode(97 + host.index).repeat(52);
/** Some rounds of questions, 10 to 30 s each: any of them may be lost. */
const END_MS_MAX = 120_000;
const until = async (check: () => void | Promise<void>): Promise<void> =>
  vi.waitFor(check, { timeout: END_MS_MAX, interval: 50 });

interface Event {
  readonly t: string;
  readonly kind?: string;
  readonly message?: string;
  readonly host?: string;
  readonly port?: number;
  readonly claimedId?: string;
  readonly busyMs?: number;
  readonly rssMib?: number;
}

/** The discovery program on one host, with what it has said so far. */
class Probe {
  readonly events: Event[] = [];
  readonly child: ChildProcess;

  constructor(host: LanHost, onlyHost: string | null = null, over: { nodeId?: string; port?: number } = {}) {
    const announcement = { nodeId: idOf(host), name: 'x', port: PORT, productVersion: '0.1.0', onlyHost, ...over };
    this.child = host.lan.spawn(host, [process.execPath, program, WORKER_URL, JSON.stringify(announcement)]);
    const { stdout } = this.child;
    if (stdout === null) throw new Error('no stdout');
    createInterface({ input: stdout }).on('line', (line) => this.events.push(JSON.parse(line) as Event));
  }

  get state(): Event | undefined {
    return this.events.findLast((event) => event.t === 'state');
  }

  get hints(): readonly string[] {
    const hints = this.events.filter((event) => event.t === 'hint');
    return [...new Set(hints.map((hint) => `${hint.claimedId?.slice(0, 1)} ${hint.host}:${hint.port}`))].sort();
  }

  get latestHost(): string | undefined {
    return this.events.findLast((event) => event.t === 'hint')?.host;
  }

  get isAlive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  clear(): void {
    this.events.length = 0;
  }
}

const hintOf = (host: LanHost): string => `${idOf(host).slice(0, 1)} ${host.address}:${PORT}`;

describe.skipIf(unavailable !== null)('discovery between network namespaces', () => {
  let lan: Lan;

  beforeAll(async () => {
    await build({
      entryPoints: ['test/fixtures/discovery-probe.ts'],
      outfile: program,
      bundle: true,
      format: 'esm',
      platform: 'node',
    });
  });
  afterEach(async () => {
    await lan.close();
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('three nodes find each other; avahi sees and resolves them; a goodbye is heard', async (context) => {
    lan = createLan(4);
    const nodes = lan.hosts.slice(0, 3);
    const probes = nodes.map((host) => new Probe(host));
    for (const [index, probe] of probes.entries()) {
      const others = nodes.filter((host) => host.index !== index).map(hintOf);
      await until(() => expect(probe.hints).toEqual(others));
      await until(() => expect(probe.state?.kind).toBe('running'));
    }

    const avahi = await startAvahi(lan.host(3), folder);
    if (typeof avahi === 'string') return context.skip(`avahi: ${avahi}`);
    let text = '';
    const resolved = async (): Promise<string[]> => {
      text = await avahi.browse('_meshwork._tcp');
      const lines = text.split('\n').filter((line) => line.startsWith('='));
      // =;eth0;IPv4;name;type;domain;host;address;port;txt
      return lines.map((line) => [3, 6, 7, 8].map((field) => line.split(';')[field]).join(' ')).sort();
    };
    const expected = nodes.map((host) => `${idOf(host)} ${idOf(host)}.local ${host.address} ${PORT}`);
    await until(async () => expect(await resolved()).toEqual(expected));
    expect(text).toContain(`"id=${idOf(lan.host(0))}"`);
    expect(text).toContain(`"port=${PORT}"`);
    expect(text).toContain('"version=0.1.0"');

    const gone = probes[2];
    gone?.child.stdin?.end();
    await until(() => expect(gone?.isAlive).toBe(false));
    await until(async () => expect(await resolved()).toEqual(expected.slice(0, 2)));
  });

  it('two nodes with two interfaces each announce on each its own address alone', async () => {
    lan = createLan(2);
    const [a, b] = [lan.host(0), lan.host(1)];
    for (const host of [a, b]) {
      // Stands for a container bridge: up, with an address that every machine has, and no other node on it.
      await lan.execOk(host, ['ip', 'link', 'add', 'docker0', 'type', 'veth', 'peer', 'name', 'docker0-end']);
      await lan.execOk(host, ['ip', 'addr', 'add', '172.17.0.1/16', 'dev', 'docker0']);
      for (const end of ['docker0', 'docker0-end']) await lan.execOk(host, ['ip', 'link', 'set', end, 'up']);
      const names = await lan.execOk(host, [process.execPath, '-p', 'Object.keys(os.networkInterfaces())']);
      expect(names).toContain("'docker0'");
    }
    const probe = new Probe(a);
    const other = new Probe(b);
    await until(() => expect(probe.hints).toEqual([hintOf(b)]));
    await until(() => expect(other.hints).toEqual([hintOf(a)]));
    // A second round of answers brings no other address either.
    await until(() => expect(probe.events.filter((event) => event.t === 'second').length).toBeGreaterThan(4));
    expect(probe.hints).toEqual([hintOf(b)]);
  });

  it('a node with a literal address announces that one; with loopback nothing, and still finds others', async () => {
    lan = createLan(3);
    const [a, b, c] = [lan.host(0), lan.host(1), lan.host(2)];
    await lan.execOk(a, ['ip', 'addr', 'add', '10.77.0.200/24', 'dev', 'eth0']);
    const literal = new Probe(a, '10.77.0.200');
    const loopback = new Probe(b, '127.0.0.1');
    const plain = new Probe(c);
    await until(() => expect(loopback.hints).toEqual([`a 10.77.0.200:${PORT}`, hintOf(c)]));
    await until(() => expect(plain.hints).toEqual([`a 10.77.0.200:${PORT}`]));
    await until(() => expect(literal.hints).toEqual([hintOf(c)]));
    await until(() => expect(loopback.state?.kind).toBe('running'));
  });

  it('an exclusive holder of port 5353: the state says so, the process lives and recovers', async () => {
    lan = createLan(2);
    const [a, b] = [lan.host(0), lan.host(1)];
    const holder = lan.spawn(a, [
      process.execPath,
      '-e',
      `require('node:dgram').createSocket('udp4').bind(5353, '0.0.0.0', () => console.log('bound'))`,
    ]);
    await new Promise((resolve) => holder.stdout?.once('data', resolve));
    const probe = new Probe(a);
    const other = new Probe(b);
    await until(() => expect(probe.state?.message).toMatch(/eth0: UDP port 5353 is held by another program/));
    expect(probe.isAlive).toBe(true);
    await lan.kill(holder);
    await until(() => expect(probe.state?.kind).toBe('running'));
    await until(() => expect(probe.hints).toEqual([hintOf(b)]));
    await until(() => expect(other.hints).toEqual([hintOf(a)]));
  });

  it('a switch that drops multicast: no hints, no crash; when it passes again, hints', async () => {
    lan = createLan(2);
    lan.setMulticast(false);
    const probes = lan.hosts.map((host) => new Probe(host));
    for (const probe of probes) {
      await until(() => expect(probe.events.filter((event) => event.t === 'second').length).toBeGreaterThan(4));
      expect(probe.hints).toEqual([]);
      expect(probe.isAlive).toBe(true);
    }
    lan.setMulticast(true);
    await until(() => expect(probes[0]?.hints).toEqual([hintOf(lan.host(1))]));
    await until(() => expect(probes[1]?.hints).toEqual([hintOf(lan.host(0))]));
  });

  it('a firewall that drops multicast, and a machine with no network: the state says so, and heals', async (context) => {
    lan = createLan(2);
    const [a, b] = [lan.host(0), lan.host(1)];
    lan.setCable(b, false);
    const unplugged = new Probe(b);
    await until(() => expect(unplugged.state?.message).toMatch(/no network interface/));
    lan.setCable(b, true);
    await until(() => expect(unplugged.state?.kind).toBe('running'));

    const reason = lan.blockMulticastAt(a);
    if (reason !== null) return context.skip(`firewall: ${reason}`);
    const probe = new Probe(a);
    await until(() => expect(probe.state?.message).toMatch(/eth0: (cannot send multicast|multicast seems)/));
    expect(probe.hints).toEqual([]);
    lan.unblockMulticastAt(a);
    await until(() => expect(probe.state?.kind).toBe('running'));
    await until(() => expect(probe.hints).toEqual([hintOf(b)]));
  });

  it('a changed address is announced and noticed', async () => {
    lan = createLan(2);
    const [a, b] = [lan.host(0), lan.host(1)];
    const probe = new Probe(a);
    const other = new Probe(b);
    await until(() => expect(probe.hints).toEqual([hintOf(b)]));
    const moved = lan.setAddress(b, '10.77.0.99');
    other.child.stdin?.write('refresh\n');
    // What came from the old address may still be on its way.
    await until(() => expect(probe.latestHost).toBe(moved.address));
  });

  it(`${FORGED_NAMES} forged names: the event loop stays responsive, hints stay few, true nodes are found`, async () => {
    lan = createLan(3);
    const [a, b, c] = [lan.host(0), lan.host(1), lan.host(2)];
    const probe = new Probe(a);
    await until(() => expect(probe.state?.kind).toBe('running'));
    probe.clear();
    await lan.execOk(b, [process.execPath, 'test/fixtures/mdns-flood.mjs', b.address, String(FORGED_NAMES)]);
    const late = new Probe(c);
    await until(() => expect(probe.hints).toContain(hintOf(c)));
    await until(() => expect(late.hints).toContain(hintOf(a)));
    await until(() => expect(probe.events.filter((event) => event.t === 'second').length).toBeGreaterThan(3));
    expect(Math.max(...probe.events.map((event) => event.busyMs ?? 0))).toBeLessThan(BUSY_MS_MAX);
    expect(probe.hints.length).toBeLessThanOrEqual(20);
    await until(() => expect(probe.events.some((event) => event.message?.includes('dropped'))).toBe(true));
    expect(probe.isAlive).toBe(true);
  });

  it('malformed and odd packets do no harm', async () => {
    lan = createLan(3);
    const [a, b, c] = [lan.host(0), lan.host(1), lan.host(2)];
    const probe = new Probe(a);
    await until(() => expect(probe.state?.kind).toBe('running'));
    for (const seed of ['1', '2', '3']) {
      await lan.execOk(b, [process.execPath, 'test/fixtures/mdns-oddities.mjs', b.address, '60', seed]);
    }
    const late = new Probe(c);
    await until(() => expect(probe.hints).toContain(hintOf(c)));
    await until(() => expect(late.hints).toContain(hintOf(a)));
    const states = probe.events.filter((event) => event.t === 'state').map((event) => event.kind);
    expect(states.slice(states.indexOf('running'))).toEqual(['running']);
  });

  it('two nodes of one machine find each other', async () => {
    lan = createLan(1);
    const host = lan.host(0);
    const first = new Probe(host);
    const second = new Probe(host, null, { nodeId: 'n'.repeat(52), port: PORT + 1 });
    await until(() => expect(first.hints).toEqual([`n ${host.address}:${PORT + 1}`]));
    await until(() => expect(second.hints).toEqual([hintOf(host)]));
  });
});
