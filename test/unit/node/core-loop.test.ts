import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { CoreLoop, type Machine } from '../../../src/node/core-loop.ts';
import { onBothClocks } from '../../../src/node/trust-clock.ts';
import type { TrustInput, TrustMachine } from '../../../src/core/trust/trust-machine.ts';

const START_WALL_MS = 1_700_000_000_000;

beforeEach(() => {
  vi.useFakeTimers({ now: START_WALL_MS, toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] });
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** A machine whose steps are written down; 'timer' is its timer input. */
class Recorder implements Machine<string, string> {
  readonly steps: string[] = [];
  deadlineMs: number | null = null;
  onStep: (input: string) => readonly string[] = () => [];

  step(input: string, nowMs: number): readonly string[] {
    this.steps.push(input === 'timer' ? `timer at ${Math.round(nowMs)}` : input);
    if (input === 'timer' && this.deadlineMs !== null && this.deadlineMs <= nowMs) this.deadlineMs = null;
    return this.onStep(input);
  }

  nextDeadlineMs(): number | null {
    return this.deadlineMs;
  }
}

function newLoop() {
  const faults: unknown[] = [];
  return { loop: new CoreLoop((error) => faults.push(error)), faults };
}

describe('the core loop', () => {
  test('handles one input to its end before the next, across machines, and never re-enters one', () => {
    const { loop } = newLoop();
    const log: string[] = [];
    const [a, b] = [new Recorder(), new Recorder()];
    a.onStep = (input) => {
      log.push(`a ${input}`);
      return input === 'go' ? ['to b', 'to a', 'last'] : [];
    };
    b.onStep = (input) => {
      log.push(`b ${input}`);
      return [];
    };
    const toB = loop.add(b, 'timer', () => undefined);
    const toA = loop.add<string, string>(a, 'timer', (effect) => {
      log.push(`effect ${effect}`);
      if (effect === 'to b') toB.post('ping');
      if (effect === 'to a') toA.post('again');
    });
    toA.post('go');
    expect(log).toEqual(['a go', 'effect to b', 'effect to a', 'effect last', 'b ping', 'a again']);
  });

  test('has one timer, for the earliest deadline of all', () => {
    const { loop } = newLoop();
    const [a, b] = [new Recorder(), new Recorder()];
    const posts = [a, b].map((machine) => loop.add(machine, 'timer', () => undefined));
    const startMs = performance.now();
    a.deadlineMs = startMs + 500;
    b.deadlineMs = startMs + 200;
    posts[0]?.post('x');
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(199);
    expect(b.steps).toEqual([]);
    vi.advanceTimersByTime(2);
    expect(b.steps).toHaveLength(1);
    expect(a.steps).toEqual(['x']);
    vi.advanceTimersByTime(400);
    expect(a.steps).toHaveLength(2);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('that did not run for a while takes what came meanwhile before anything counts as overdue', () => {
    const { loop } = newLoop();
    const machine = new Recorder();
    const { post } = loop.add(machine, 'timer', () => undefined);
    machine.deadlineMs = performance.now() + 2000;
    post('asked');
    let frozenMs = 0;
    const clock = performance.now.bind(performance);
    vi.spyOn(performance, 'now').mockImplementation(() => clock() + frozenMs);
    vi.advanceTimersByTime(1999);
    frozenMs = 3000;
    vi.advanceTimersByTime(1);
    expect(machine.steps).toEqual(['asked']);
    machine.onStep = (input) => {
      if (input === 'answer') machine.deadlineMs = null;
      return [];
    };
    post('something else');
    vi.advanceTimersByTime(100);
    post('answer');
    vi.advanceTimersByTime(5000);
    expect(machine.steps).toEqual(['asked', 'something else', 'answer']);
  });

  test('that is always late comes to its deadlines all the same', () => {
    const { loop } = newLoop();
    const machine = new Recorder();
    const { post } = loop.add(machine, 'timer', () => undefined);
    let frozenMs = 0;
    const clock = performance.now.bind(performance);
    vi.spyOn(performance, 'now').mockImplementation(() => clock() + frozenMs);
    machine.deadlineMs = performance.now() + 100;
    post('x');
    for (let turns = 0; turns < 10 && machine.steps.length === 1; turns += 1) {
      frozenMs += 1000;
      vi.advanceTimersByTime(300);
    }
    expect(machine.steps).toHaveLength(2);
  });

  test('waits for deadlines beyond what a timer holds', () => {
    const { loop } = newLoop();
    const machine = new Recorder();
    const { post } = loop.add(machine, 'timer', () => undefined);
    machine.deadlineMs = performance.now() + 3 * 3_600_000;
    post('x');
    vi.advanceTimersByTime(3 * 3_600_000 - 1000);
    expect(machine.steps).toEqual(['x']);
    vi.advanceTimersByTime(2000);
    expect(machine.steps).toHaveLength(2);
  });

  test('outlives a step and an effect that throw: what they left is dropped, reported, and the others go on', () => {
    const { loop, faults } = newLoop();
    const done: string[] = [];
    const machine = new Recorder();
    machine.onStep = (input) => {
      if (input === 'bad step') throw new Error('step');
      return input === 'go' ? ['post bad step', 'post fine', 'bad effect', 'never'] : [input];
    };
    const { post } = loop.add<string, string>(machine, 'timer', (effect) => {
      if (effect === 'bad effect') throw new Error('effect');
      if (effect.startsWith('post ')) post(effect.slice(5));
      else done.push(effect);
    });
    post('go');
    expect(done).toEqual(['fine']);
    expect(faults.map(String)).toEqual(['Error: effect', 'Error: step']);
    post('later');
    expect(done).toEqual(['fine', 'later']);
  });

  test('does not spin where a timer step throws and stays due', () => {
    const { loop, faults } = newLoop();
    const machine: Machine<string, never> = {
      step: (input) => {
        if (input === 'timer') throw new Error('always');
        return [];
      },
      nextDeadlineMs: () => 0,
    };
    loop.add(machine, 'timer', () => undefined).post('x');
    vi.advanceTimersByTime(10_500);
    expect(faults.length).toBeGreaterThanOrEqual(8);
    expect(faults.length).toBeLessThanOrEqual(12);
  });

  test('forgets what is removed, once, and all of it when stopped', () => {
    const { loop } = newLoop();
    const [a, b] = [new Recorder(), new Recorder()];
    const [first, second] = [a, b].map((machine) => loop.add(machine, 'timer', () => undefined));
    first?.remove();
    first?.remove();
    first?.post('x');
    expect(a.steps).toEqual([]);
    b.deadlineMs = performance.now() + 10;
    second?.post('y');
    vi.advanceTimersByTime(20);
    expect(b.steps).toHaveLength(2);
    b.deadlineMs = performance.now() + 10;
    second?.post('z');
    loop.stop();
    second?.post('late');
    vi.advanceTimersByTime(100);
    expect(b.steps.at(-1)).toBe('z');
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('trust on both clocks', () => {
  test('is looked at when a grant ends by the wall clock, also one that was set meanwhile', () => {
    const ticks: number[] = [];
    let expiry: number | null = START_WALL_MS + 90_000;
    const trust = {
      step: (_input: TrustInput, { wallMs }: { wallMs: number }) => {
        ticks.push(wallMs);
        if (expiry !== null && wallMs >= expiry) expiry = null;
        return [];
      },
      get trust() {
        return { nextExpiryWallMs: expiry };
      },
    };
    const { loop } = newLoop();
    const { post } = loop.add(onBothClocks(trust as unknown as TrustMachine), { kind: 'tick' }, () => undefined);
    post({ kind: 'tick' });
    vi.advanceTimersByTime(89_000);
    expect(expiry).not.toBeNull();
    vi.advanceTimersByTime(2000);
    expect(expiry).toBeNull();
    expect(ticks.length).toBeLessThanOrEqual(4);
    expiry = Date.now() + 365 * 86_400_000;
    post({ kind: 'tick' });
    vi.setSystemTime(expiry + 1);
    vi.advanceTimersByTime(61_000);
    expect(expiry).toBeNull();
  });
});
