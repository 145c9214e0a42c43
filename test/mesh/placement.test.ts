import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { NodeSet, type RunEnd } from '../fixtures/mesh-nodes.ts';

const soak = process.env['MESHWORK_SOAK'] === '1';
const ORIGINS = soak ? 20 : 5;
const JOBS_PER_ORIGIN = soak ? 50 : 20;
const SLOTS = 2;

let set: NodeSet | null = null;
afterEach(async () => set?.close());

const countBy = (items: readonly string[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const item of items) counts[item] = (counts[item] ?? 0) + 1;
  return counts;
};

/** The most of these spans that overlap. */
function concurrencyMax(spans: readonly (readonly [startNs: bigint, endNs: bigint])[]): number {
  const edges = spans.flatMap(([start, end]) => [
    { at: start, by: 1 },
    { at: end, by: -1 },
  ]);
  edges.sort((x, y) => (x.at === y.at ? x.by - y.by : x.at < y.at ? -1 : 1));
  let [now, max] = [0, 0];
  for (const { by } of edges) {
    now += by;
    max = Math.max(max, now);
  }
  return max;
}

describe('placement over real daemons', () => {
  it('twelve at once on three equal nodes of four slots: four each', async () => {
    set = new NodeSet();
    const [a] = await set.mesh(['a', 'b', 'c'], { flags: ['--slots', '4'] });
    if (a === undefined) throw new Error('no node');
    const folder = join(set.folder, 'up');
    mkdirSync(folder);
    // Each goes on once all of them run, however long it takes to start them.
    const line = 'touch $$; until [ $(ls | wc -l) -ge 12 ]; do sleep 0.05; done';
    const ends = await Promise.all(Array.from({ length: 12 }, () => a.run(line, { cwd: folder })));
    expect(countBy(ends.map(({ executed_on: on }) => on ?? '?'))).toEqual({ a: 4, b: 4, c: 4 });
  });

  it(`${ORIGINS} origins × ${JOBS_PER_ORIGIN} jobs at once: no node above its slots, each runs exactly once`, async () => {
    set = new NodeSet();
    const names = Array.from({ length: ORIGINS }, (_, index) => `n${index}`);
    const nodes = await set.mesh(names, { flags: ['--slots', String(SLOTS)] });
    const folder = join(set.folder, 'marks');
    mkdirSync(folder);
    const ends = await Promise.all(
      nodes.flatMap((origin) =>
        Array.from({ length: JOBS_PER_ORIGIN }, async (_, index): Promise<RunEnd & { file: string }> => {
          const file = `${origin.name}-${index}`;
          const mark = 'date +%s%N';
          const end = await origin.run(`${mark} >> ${file}; sleep 0.0${index % 10}; ${mark} >> ${file}`, {
            cwd: folder,
          });
          return { ...end, file };
        }),
      ),
    );
    expect(countBy(ends.map(({ reason, return_code: code }) => `${reason} ${code}`))).toEqual({
      'exited 0': ORIGINS * JOBS_PER_ORIGIN,
    });
    expect(readdirSync(folder).length).toBe(ends.length);
    const spans = new Map<string, (readonly [bigint, bigint])[]>();
    for (const { file, executed_on: on } of ends) {
      const marks = readFileSync(join(folder, file), 'utf8').trim().split('\n');
      expect(marks.length, `${file} ran once`).toBe(2);
      const [start, end] = marks.map(BigInt);
      const known = spans.get(on ?? '?') ?? [];
      known.push([start ?? 0n, end ?? 0n]);
      spans.set(on ?? '?', known);
    }
    expect([...spans.keys()].sort()).toEqual(names.sort());
    for (const [name, own] of spans) expect(concurrencyMax(own), name).toBeLessThanOrEqual(SLOTS);
  });
});
