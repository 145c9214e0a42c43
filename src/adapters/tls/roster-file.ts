import { readFileSync, statSync } from 'node:fs';
import { z } from 'zod';
import { MeshError, messageOf, systemCodeOf } from '../../base/errors.ts';
import type { MeshId } from '../../base/ids.ts';
import { MIB } from '../../base/units.ts';
import type { Verifier } from '../../ports/identity.ts';
import { meshIdSchema, statementSchema, STATEMENTS_MAX, type Statement } from '../../wire/trust.ts';
import { writeFileAtomic } from './atomic-file.ts';
import { verifySet, type Genuine } from './statement-signatures.ts';

/** Above the largest set that the store ever keeps, about 5 MiB. */
const ROSTER_BYTES_MAX = 16 * MIB;

const rosterSchema = z.strictObject({
  version: z.literal(1),
  mesh_id: meshIdSchema,
  statements: z.array(statementSchema).min(1).max(STATEMENTS_MAX),
});

export interface Roster {
  readonly meshId: MeshId;
  readonly statements: readonly Genuine[];
}

/**
 * Reads `MESHWORK_HOME/trust.json`: the mesh's id and its signed statements, every signature checked again.
 *
 * @returns null where there is no such file
 * @throws MeshError `roster_corrupt`; the file is left as it is
 */
export function loadRoster(path: string, verifier: Verifier): Roster | null {
  let text: string;
  try {
    if (statSync(path).size > ROSTER_BYTES_MAX) throw corrupt(path, `is larger than ${ROSTER_BYTES_MAX} bytes`);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return null;
    if (error instanceof MeshError) throw error;
    throw corrupt(path, `cannot be read (${messageOf(error)})`, error);
  }
  const roster = parseRoster(path, text);
  const statements = verifySet(verifier, roster.statements);
  if (statements.length !== roster.statements.length) {
    const wrong = roster.statements.length - statements.length;
    throw corrupt(path, `holds ${wrong} statements that are not signed as they say`);
  }
  if (!statements.some(({ hash }) => hash === roster.mesh_id)) {
    throw corrupt(path, 'lacks the first statement of its mesh');
  }
  return { meshId: roster.mesh_id, statements };
}

function parseRoster(path: string, text: string): z.infer<typeof rosterSchema> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw corrupt(path, `is not JSON (${messageOf(error)})`, error);
  }
  const parsed = rosterSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw corrupt(path, `is malformed at "${issue?.path.join('.') ?? ''}": ${issue?.message ?? 'unknown'}`, parsed.error);
}

/**
 * Replaces the roster file, readable by its owner alone, all or nothing and on the disk when it returns.
 *
 * @throws MeshError `io` with the old file still in place
 */
export function saveRoster(path: string, meshId: MeshId, statements: readonly Statement[]): void {
  try {
    writeFileAtomic(path, `${JSON.stringify({ version: 1, mesh_id: meshId, statements }, null, 1)}\n`);
  } catch (error) {
    const what = `cannot write ${path} (${messageOf(error)})`;
    throw new MeshError('io', `${what}. The old file is unchanged. Check its folder's owner and free space`, error);
  }
}

function corrupt(path: string, what: string, cause?: unknown): MeshError {
  const remedy =
    'To go on, restore it from a backup, or move it away: the node then starts as a mesh of one and must be invited again';
  return new MeshError('roster_corrupt', `${path} ${what}. Nothing was changed. ${remedy}`, cause);
}
