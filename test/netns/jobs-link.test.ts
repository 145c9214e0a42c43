import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { background, finished, GatedCommand, jobSpec, numberedLines, readLog } from '../fixtures/job-rig.ts';
import { LanPair, lasted } from '../fixtures/lan-pair.ts';
import { residentBytes, until } from '../fixtures/mesh-nodes.ts';

const MIB = 2 ** 20;
const CUT_MS = 5_000;
const LONG_CUT_MS = 30_000;
const GROWTH_BYTES_MAX = 64 * MIB;
const END_MS_MAX = 120_000;
const MEMORY_POLL_MS = 50;
const soak = process.env['MESHWORK_SOAK'] === '1';
/** `seq` of this many lines writes 200 MB. */
const LINES_SOAK = 23_500_000;
const LINES = 6_000_000;
const ROUNDS = soak ? 20 : 1;

const pair = new LanPair('jobs across a link that is cut');
const { unavailable, set } = pair;
if (!soak) console.log('once with 46 MB, cut for 5 s; 20 times with 200 MB, and a cut of 30 s, under --soak');

/** Resident memory of the daemons: the most that each grew since this was called. */
function watchMemory(): { readonly grown: () => number; readonly stop: () => void } {
  const { nodes } = pair;
  const before = nodes.map(({ pid }) => residentBytes(pid));
  let most = 0;
  const look = (): void => {
    for (const [index, { pid }] of nodes.entries()) {
      most = Math.max(most, residentBytes(pid) - (before[index] ?? 0));
    }
  };
  const timer = setInterval(look, MEMORY_POLL_MS);
  return {
    grown: () => {
      look();
      return most;
    },
    stop: () => clearInterval(timer),
  };
}

describe.skipIf(unavailable !== null)('the link is cut for 5 s in the middle of much output', () => {
  it.each(Array.from({ length: ROUNDS }, (_, i) => i + 1))(
    'what the reader gets is identical, it ran once, the daemons stay small (%i)',
    async (round) => {
      const { a, b } = pair;
      const expected = numberedLines(soak ? LINES_SOAK : LINES);
      const runs = join(set.folder, `cut-${round}.runs`);
      const line = `echo run >> ${runs}; seq 1 ${soak ? LINES_SOAK : LINES}; exit 6`;
      // What a daemon takes for its first bulk stream is not what it keeps.
      await a.run(`seq 1 1000000`, { on: 'b' });
      const memory = watchMemory();
      const hash = createHash('sha256');
      let bytes = 0;
      let healed: Promise<void> | null = null;
      const { result } = (await a.api()).submit(jobSpec(line, 'b'), {
        stdin: null,
        onStdout: (chunk) => {
          hash.update(chunk);
          bytes += chunk.length;
          // In another place each time.
          if (bytes > (expected.bytes * (1 + (round % 7))) / 9) healed ??= pair.silenceFor(CUT_MS);
        },
        onStderr: () => undefined,
      });
      try {
        expect(await result).toMatchObject({ reason: 'exited', return_code: 6, attempts: 1 });
      } finally {
        memory.stop();
        pair.lan.heal();
      }
      expect(healed, 'the link was cut').not.toBeNull();
      await healed;
      expect(bytes).toBe(expected.bytes);
      expect(hash.digest('hex')).toBe(expected.digest);
      expect(readFileSync(runs, 'utf8')).toBe('run\n');
      expect(memory.grown(), 'growth of a daemon, bytes').toBeLessThan(GROWTH_BYTES_MAX);
      await pair.linked();
      await until('its slot is free', END_MS_MAX, async () => (await b.row(b))?.jobs_running === 0);
    },
  );
});

describe.skipIf(unavailable !== null)('the link is cut for so long that each holds the other dead', () => {
  it.each(soak ? [12_000, LONG_CUT_MS] : [12_000])('jobs that end meanwhile and after %i ms', async (cutMs) => {
    const { a, b, nodes } = pair;
    const [shown, kept, after] = [1, 2, 3].map(() => new GatedCommand(set.folder));
    if (shown === undefined || kept === undefined || after === undefined) throw new Error('three commands');
    const foregroundEnd = a.run(shown.line(11), { on: 'b' });
    const jobs = [await background(a, jobSpec(kept.line(12), 'b')), await background(a, jobSpec(after.line(13), 'b'))];
    for (const command of [shown, kept, after]) await command.started();
    const cutAt = performance.now();
    await pair.silenceWhile(async () => {
      // A daemon that did not run for a while accuses nobody of what it did not hear: that may take longer than the cut.
      await until('each holds the other dead', END_MS_MAX, async () => {
        const rows = await Promise.all([a.row(b), b.row(a)]);
        return rows.every((row) => row?.state === 'dead');
      });
      for (const command of [shown, kept]) command.open();
      await Promise.all([shown, kept].map((command) => command.done()));
      await lasted(cutAt, cutMs);
    });
    await pair.linked();
    after.open();
    expect(await foregroundEnd).toMatchObject({ reason: 'exited', return_code: 11, attempts: 1, out: 'one\ntwo\n' });
    for (const [index, job] of jobs.entries()) {
      expect(await finished(a, job, END_MS_MAX)).toMatchObject({ reason: 'exited', return_code: 12 + index });
      for (const asked of nodes) expect(await readLog(asked, job)).toBe('one\ntwo\n');
    }
    for (const command of [shown, kept, after]) expect(command.runs).toBe(1);
  });
});
