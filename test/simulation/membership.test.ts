import { expect, test } from 'vitest';
import { pick } from '../../src/base/random.ts';
import { SILENCE_MS } from '../../src/core/membership/suspicion.ts';
import { World, type SimNode } from './membership-world.ts';
import { runSeed, simulationSeeds } from './seeds.ts';

const CHAOS_MS = 40_000;
/** After heal: the longest back-off, a dial that is still timing out, two rounds of anti-entropy, a refutation. */
const AGREE_MS = 75_000;
const CALM_MS = 25_000;

/** Small meshes mostly, up to 30: what goes wrong at 30 nearly always goes wrong at 8, sooner. */
function meshSize(world: World): number {
  return 5 + Math.floor(26 * world.random.next() ** 2.5);
}

function formedMesh(seed: number, count: number): World {
  const world = new World(seed, count);
  for (const node of world.nodes) world.after(world.between(0, 3000), () => world.start(node));
  world.runFor(3000);
  const took = world.runUntil(() => world.disagreement() === '', 30_000);
  if (took === null) throw new Error(`the mesh did not form: ${world.disagreement()}`);
  return world;
}

function misfortune(world: World): void {
  const node = pick(world.random, world.running);
  if (node === undefined) return;
  const forMs = world.between(1000, 15_000);
  const dice = world.random.next();
  if (dice < 0.2) kill(world, node, forMs);
  else if (dice < 0.35) world.freeze(node, forMs);
  else if (dice < 0.42) world.freeze(node, forMs + 10_000, true);
  else if (dice < 0.5) world.changeFacts(node);
  else if (dice < 0.55) world.leave(node);
  else if (dice < 0.75) split(world, forMs);
  else cut(world, node, forMs);
}

function kill(world: World, node: SimNode, forMs: number): void {
  world.kill(node);
  if (world.chance(0.7)) world.after(forMs, () => world.start(node));
}

function split(world: World, forMs: number): void {
  for (const node of world.nodes) world.sides.set(node.id, world.chance(0.5) ? 1 : 0);
  world.after(forMs, () => world.sides.clear());
}

/** One direction between two nodes, or both. */
function cut(world: World, node: SimNode, forMs: number): void {
  const other = pick(world.random, world.nodes);
  if (other === undefined || other === node) return;
  const cuts = world.chance(0.5) ? [`${node.id} ${other.id}`] : [`${node.id} ${other.id}`, `${other.id} ${node.id}`];
  for (const one of cuts) world.cuts.add(one);
  world.after(forMs, () => {
    for (const one of cuts) world.cuts.delete(one);
  });
}

function chaosThenHeal(seed: number): void {
  const count = meshSize(new World(seed, 0));
  const world = formedMesh(seed, count);
  Object.assign(world.weather, {
    loss: world.random.next() ** 2 * 0.25,
    duplication: world.random.next() * 0.2,
    delayMaxMs: world.between(5, 400),
  });
  const troubles = 3 + Math.floor(world.random.next() * 12);
  for (let i = 0; i < troubles; i++) world.after(world.between(0, CHAOS_MS), () => misfortune(world));
  world.runFor(CHAOS_MS);

  // Freezes and restarts that are still under way end within 25 s; no new ones come.
  world.runFor(26_000);
  world.heal();
  world.weather.loss = 0;
  // What was lost just before may still make a suspect.
  world.runFor(SILENCE_MS + 1000);
  const took = world.runUntil(() => world.disagreement() === '', AGREE_MS, 500);
  if (took === null) throw new Error(`views differ ${AGREE_MS} ms after heal: ${world.disagreement()}`);

  world.watch.onChanged = (observer, { peer, was, state, cause }) => {
    if (was !== state) throw new Error(`calm, but ${observer} moved ${peer} from ${was} to ${state} (${cause})`);
  };
  world.runFor(CALM_MS);
  if (world.disagreement() !== '') throw new Error(`views parted again: ${world.disagreement()}`);
}

/**
 * Seeds that once failed: a node that froze while its dials fell due never dialled again (the simulator's own fault); one
 * that froze just after it woke from sleep, for longer than it waits then, did not catch up before it accused.
 */
const FOUND_SEEDS = [2_511_497_652, 3_569_272_628];

test('views agree after heal, nobody is resurrected, incarnations only grow', () => {
  for (const seed of [...FOUND_SEEDS, ...simulationSeeds()]) runSeed(seed, chaosThenHeal);
}, 3_600_000);

test.each([3, 5, 12, 30])(
  'SIGKILL in a mesh of %i: suspect within 3.5 s, dead within 9 s, back within 10 s',
  (count) => {
    const world = formedMesh(count, count);
    const victim = world.node(1);
    const others = world.nodes.filter((node) => node !== victim);
    const all = (state: string) => () => others.every((node) => world.member(node, victim)?.state === state);
    for (const other of others) expect(world.member(other, victim)?.state).toBe('alive');
    world.kill(victim);
    const suspectedAfterMs = world.runUntil(all('suspect'), 3500, 10);
    expect(suspectedAfterMs).not.toBeNull();
    const deadAfterMs = world.runUntil(all('dead'), 9000 - (suspectedAfterMs ?? 0), 10);
    expect(deadAfterMs).not.toBeNull();
    world.start(victim);
    expect(world.runUntil(() => world.disagreement() === '', 10_000)).not.toBeNull();
  },
);

test('a cable pulled: suspect after 5 s of silence, dead 4 s later, back after it is plugged in', () => {
  const world = formedMesh(7, 6);
  const victim = world.node(2);
  const others = world.nodes.filter((node) => node !== victim);
  world.sides.set(victim.id, 1);
  world.runFor(2900);
  for (const other of others) expect(world.member(other, victim)?.state).toBe('alive');
  world.runFor(2200);
  for (const other of others) expect(world.member(other, victim)?.state).toBe('suspect');
  world.runFor(4000);
  for (const other of others) expect(world.member(other, victim)?.state).toBe('dead');
  world.heal();
  expect(world.runUntil(() => world.disagreement() === '', AGREE_MS)).not.toBeNull();
});

test('a calm mesh with slow links accuses nobody for ten minutes', () => {
  const world = formedMesh(11, 10);
  world.weather.delayMaxMs = 800;
  world.weather.duplication = 0.1;
  world.watch.onChanged = (observer, { peer, was, state, cause }) => {
    if (was !== state) throw new Error(`${observer} moved ${peer} from ${was} to ${state} (${cause})`);
  };
  world.runFor(600_000);
  expect(world.disagreement()).toBe('');
});

test('a node that forgot its incarnation (a restored disk) learns it from its own signed record', () => {
  const world = formedMesh(17, 6);
  const node = world.node(3);
  node.disk.incarnation = 40;
  world.kill(node);
  world.start(node);
  expect(world.runUntil(() => world.disagreement() === '', 20_000)).not.toBeNull();
  world.kill(node);
  node.disk.incarnation = 2;
  world.start(node);
  expect(world.runUntil(() => world.disagreement() === '', 20_000)).not.toBeNull();
  expect(world.member(world.node(0), node)?.incarnation).toBe(42);
});

test('two nodes that only third ones can reach keep out of each other, and out of no one else’s view', () => {
  const world = formedMesh(13, 6);
  const [a, b] = [world.node(1), world.node(2)];
  world.cuts.add(`${a.id} ${b.id}`).add(`${b.id} ${a.id}`);
  world.runFor(60_000);
  expect(world.member(a, b)?.state).toBe('dead');
  for (const node of world.nodes.filter((other) => other !== a && other !== b)) {
    expect(world.member(node, a)).toMatchObject({ state: 'alive', incarnation: 1 });
    expect(world.member(node, b)).toMatchObject({ state: 'alive', incarnation: 1 });
  }
  world.heal();
  expect(world.runUntil(() => world.disagreement() === '', AGREE_MS)).not.toBeNull();
});
