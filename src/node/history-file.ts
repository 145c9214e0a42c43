import { open, readFile, rename, rm } from 'node:fs/promises';
import { z } from 'zod';
import { messageOf, systemCodeOf } from '../base/errors.ts';
import type { NodeId } from '../base/ids.ts';
import { err, ok, type Result } from '../base/result.ts';
import {
  COMPARISONS_MAX,
  KEYS_MAX,
  NODES_MAX,
  SAMPLES_MAX,
  type HistorySnapshot,
  type Sample,
} from '../core/history/duration-history.ts';
import { nodeIdSchema } from '../wire/trust.ts';

/** Above what the bounds allow: such a file is not ours. */
const FILE_BYTES_MAX = 8 * 1024 * 1024;
const SAMPLE_NODES_MAX = KEYS_MAX;
const SECONDS_MAX = 1e9;

/** A run is its key and, for each sample, the place of its node in `ids` and the seconds: flat, since that is read fast. */
const historyFileSchema = z.strictObject({
  version: z.literal(1),
  ids: z.array(nodeIdSchema).max(SAMPLE_NODES_MAX),
  nodes: z
    .array(z.strictObject({ node: nodeIdSchema, comparisons: z.array(z.number()).max(COMPARISONS_MAX) }))
    .max(NODES_MAX),
  runs: z
    .array(
      z.tuple([
        z.string().regex(/^[0-9a-f]{16}$/),
        z
          .array(z.number().min(0).max(SECONDS_MAX))
          .min(2)
          .max(2 * SAMPLES_MAX),
      ]),
    )
    .max(KEYS_MAX),
});

/** @returns null where there is no file, or a message where it cannot be used */
export async function readHistory(path: string): Promise<Result<HistorySnapshot | null, string>> {
  try {
    const text = await readFile(path, 'utf8');
    if (text.length > FILE_BYTES_MAX) return err(`it is longer than ${FILE_BYTES_MAX} bytes`);
    const parsed = historyFileSchema.safeParse(JSON.parse(text));
    if (!parsed.success) return err(z.prettifyError(parsed.error).slice(0, 300));
    const { ids, nodes, runs } = parsed.data;
    return ok({
      nodes,
      runs: runs.map(([key, figures]) => ({ key, samples: samplesOf(figures, ids) })).filter(hasSamples),
    });
  } catch (error) {
    return systemCodeOf(error) === 'ENOENT' ? ok(null) : err(messageOf(error));
  }
}

function samplesOf(figures: readonly number[], ids: readonly NodeId[]): Sample[] {
  const samples: Sample[] = [];
  for (let at = 0; at + 1 < figures.length; at += 2) {
    const [node, seconds] = [ids[figures[at] ?? -1], figures[at + 1]];
    if (node !== undefined && seconds !== undefined) samples.push({ node, seconds });
  }
  return samples;
}

const hasSamples = ({ samples }: { readonly samples: readonly Sample[] }): boolean => samples.length > 0;

/**
 * A crash leaves the old content or the new.
 *
 * @throws the system's error, with the old file untouched
 */
export async function writeHistory(path: string, snapshot: HistorySnapshot): Promise<void> {
  const ids = [...new Set(snapshot.runs.flatMap(({ samples }) => samples.map(({ node }) => node)))];
  const places = new Map(ids.map((id, at) => [id, at]));
  const runs = snapshot.runs.map(({ key, samples }) => [
    key,
    samples.flatMap(({ node, seconds }) => [places.get(node) ?? 0, seconds]),
  ]);
  const temporary = `${path}.new`;
  try {
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(JSON.stringify({ version: 1, ids, nodes: snapshot.nodes, runs }));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
