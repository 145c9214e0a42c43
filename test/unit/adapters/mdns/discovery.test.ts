import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createDiscovery } from '../../../../src/adapters/mdns/discovery.ts';
import { RESTARTS_PER_HOUR_MAX, RestartBudget } from '../../../../src/adapters/mdns/restart-budget.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import type { Discovery, DiscoveryState, PeerHint } from '../../../../src/ports/discovery.ts';

const PEER = 'p'.repeat(52);
const OWN = 'o'.repeat(52);
const PRELUDE = `import { parentPort, workerData } from 'node:worker_threads';
const say = (m) => parentPort.postMessage(m);
const answer = () => parentPort.on('message', (m) => { if (m.t === 'ping') say({ t: 'pong' }); if (m.t === 'stop') process.exit(0); });
`;
const threadOf = (code: string): URL => new URL(`data:text/javascript,${encodeURIComponent(PRELUDE + code)}`);

interface Run {
  readonly discovery: Discovery;
  readonly states: DiscoveryState[];
  readonly hints: PeerHint[];
  readonly logged: string[];
}
const running: Discovery[] = [];

/** No thread of a busy machine needs longer for an answer. */
const PATIENT_MS = 20_000;

function run(workerUrl: URL, onlyHost: string | null = null, pingMs = PATIENT_MS): Run {
  const states: DiscoveryState[] = [];
  const hints: PeerHint[] = [];
  const logged: string[] = [];
  const discovery = createDiscovery({
    workerUrl,
    log: { ...silentLogger, debug: (message, fields) => logged.push(`${message} ${JSON.stringify(fields)}`) },
    timing: { pingMs, startMsMax: 60_000, firstRestartMs: 20, stopMsMax: 1000 },
  });
  running.push(discovery);
  discovery.start(
    { nodeId: OWN, name: 'desk', port: 47_470, productVersion: '0.1.0', onlyHost },
    { onHint: (hint) => hints.push(hint), onState: (state) => states.push(state) },
  );
  return { discovery, states, hints, logged };
}

const messageOf = (state: DiscoveryState | undefined): string => (state?.kind === 'failed' ? state.message : '');
const until = async (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 60_000, interval: 10 });

describe('createDiscovery', () => {
  afterEach(async () => {
    await Promise.all(running.splice(0).map(async (discovery) => discovery.stop()));
  });

  it('passes hints and states on, and stops', async () => {
    const hint = { t: 'hint', host: '10.0.0.2', port: 47_470, claimed_id: PEER };
    const { discovery, states, hints } = run(
      threadOf(`answer(); say({ t: 'running' }); say({ t: 'running' }); say(${JSON.stringify(hint)});`),
    );
    await until(() => expect(hints).toHaveLength(1));
    expect(hints[0]).toEqual({ host: '10.0.0.2', port: 47_470, claimedId: PEER, claimedName: null });
    await discovery.stop();
    await discovery.stop();
    expect(states.map((state) => state.kind)).toEqual(['starting', 'running', 'off']);
  });

  it('tells the thread what to announce, all addresses for an unspecified host', async () => {
    const { logged } = run(threadOf(`answer(); console.log(JSON.stringify(workerData));`), '0.0.0.0');
    await until(() => expect(logged.join('')).toContain('onlyHost'));
    expect(logged.join('').replaceAll('\\', '')).toContain(
      `{"nodeId":"${OWN}","port":47470,"productVersion":"0.1.0","onlyHost":null}`,
    );
  });

  it('logs what the thread prints, and lets none of it out', async () => {
    const { logged } = run(threadOf(`answer(); console.log('name conflict'); console.error('to stderr');`));
    await until(() => expect(logged.join(' ')).toMatch(/name conflict.*to stderr|to stderr.*name conflict/s));
  });

  it.each([
    ['throws', `throw new Error('socket trouble');`, /socket trouble/, PATIENT_MS],
    ['exits', `process.exit(3);`, /code 3/, PATIENT_MS],
    ['never answers', `say({ t: 'running' }); setInterval(() => 0, 1000);`, /did not answer/, 100],
    ['is kept busy', `say({ t: 'running' }); for (;;) ;`, /did not answer/, 100],
    [
      'sends something malformed',
      `say({ t: 'hint', host: 'x; rm -rf /', port: 0, claimed_id: '' });`,
      /malformed/,
      PATIENT_MS,
    ],
    // Node.js 24 now and then lets a thread hang that ran into its limit; on a busy machine pings find it out before that.
    [
      'eats all memory',
      `const all = []; for (;;) all.push(new Array(2_000_000).fill(all.length));`,
      /memory|did not (start in time|answer)/,
      100,
    ],
  ])('says so when the thread %s, and starts it again', async (_what, code, reason, pingMs) => {
    const { states } = run(threadOf(code), null, pingMs);
    await until(() => expect(states.map(messageOf)).toContainEqual(expect.stringMatching(reason)));
  });

  it('goes on after a failure', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'meshwork-mdns-'));
    const marker = JSON.stringify(join(folder, 'failed-once'));
    const { states } = run(
      threadOf(`answer(); const fs = await import('node:fs');
        if (fs.existsSync(${marker})) say({ t: 'running' });
        else { fs.writeFileSync(${marker}, ''); throw new Error('once'); }`),
    );
    await until(() => expect(states.map((state) => state.kind)).toEqual(['starting', 'failed', 'running']));
    rmSync(folder, { recursive: true });
  });

  it('reports a missing thread file as a state', async () => {
    const { states } = run(new URL('file:///nowhere/mdns-worker.js'));
    await until(() => expect(messageOf(states.at(-1))).toContain('nowhere'));
  });

  it('keeps a failure that the thread reports, without restarting it', async () => {
    const { states } = run(threadOf(`answer(); say({ t: 'failed', message: 'eth0: port 5353 is held' });`));
    await until(() => expect(messageOf(states.at(-1))).toBe('eth0: port 5353 is held'));
    expect(states).toHaveLength(2);
  });
});

describe('RestartBudget', () => {
  it('backs off with jitter and is bounded per hour', () => {
    const budget = new RestartBudget(1000);
    expect(budget.next(0, 0)).toBe(500);
    expect(budget.next(1000, 0.5)).toBe(2000);
    let nowMs = 3000;
    const restarts: number[] = [];
    for (let n = 0; n < 100; n++) {
      nowMs += budget.next(nowMs, 0.5);
      restarts.push(nowMs);
    }
    for (const atMs of restarts) {
      const inHour = restarts.filter((other) => other >= atMs && other < atMs + 3_600_000);
      expect(inHour.length).toBeLessThanOrEqual(RESTARTS_PER_HOUR_MAX);
    }
  });
});
