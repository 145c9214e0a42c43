import { open, readFile, rename, rm } from 'node:fs/promises';
import { z } from 'zod';
import { messageOf, systemCodeOf } from '../base/errors.ts';
import { err, ok, type Result } from '../base/result.ts';
import {
  COMPARISONS_MAX,
  KEYS_MAX,
  NODES_MAX,
  SAMPLES_MAX,
  type HistorySnapshot,
} from '../core/history/duration-history.ts';
import { nodeIdSchema } from '../wire/trust.ts';

/** Above what the bounds allow: such a file is not ours. */
const FILE_BYTES_MAX = 8 * 1024 * 1024;
const SAMPLE_NODES_MAX = KEYS_MAX;
const SECONDS_MAX = 1e9;

/** Samples name their node by its place in `ids`. */
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
          .array(z.tuple([z.int().nonnegative(), z.number().min(0).max(SECONDS_MAX)]))
          .min(1)
          .max(SAMPLES_MAX),
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
      runs: runs.flatMap(([key, pairs]) => {
        const samples = pairs.flatMap(([at, seconds]) => {
          const node = ids[at];
          return node === undefined ? [] : [{ node, seconds }];
        });
        return samples.length === 0 ? [] : [{ key, samples }];
      }),
    });
  } catch (error) {
    return systemCodeOf(error) === 'ENOENT' ? ok(null) : err(messageOf(error));
  }
}

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
    samples.map(({ node, seconds }) => [places.get(node) ?? 0, Number(seconds.toPrecision(4))]),
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
