import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { writeFileAtomic } from '../adapters/tls/atomic-file.ts';
import { messageOf, systemCodeOf } from '../base/errors.ts';
import type { NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { Address } from '../ports/links.ts';
import { INCARNATION_MAX, memberAddressSchema } from '../wire/membership.ts';
import { nodeIdSchema } from '../wire/trust.ts';
import { ADDRESSES_MAX } from './address.ts';

/** Peers whose last addresses are kept: as many as a mesh has members. */
const PEERS_KEPT_MAX = 1024;

const stateSchema = z.strictObject({ version: z.literal(1), incarnation: z.int().min(0).max(INCARNATION_MAX) });
const membersSchema = z.strictObject({
  version: z.literal(1),
  peers: z
    .array(z.strictObject({ id: nodeIdSchema, addresses: z.array(memberAddressSchema).max(ADDRESSES_MAX) }))
    .max(PEERS_KEPT_MAX),
});

/**
 * The incarnation of this run: above every one that this node has had. A lost or damaged `state.json` is no reason to
 * refuse a start: the seconds since 1970 are above any count of restarts.
 */
export function nextIncarnation(path: string, log: Logger): number {
  const stored = readJson(path, stateSchema, log);
  const incarnation =
    stored === 'absent' ? 1 : stored === 'damaged' ? Math.floor(Date.now() / 1000) : stored.incarnation + 1;
  saveIncarnation(path, incarnation);
  return incarnation;
}

/** On the disk when it returns. Throws the file system's error. */
export function saveIncarnation(path: string, incarnation: number): void {
  writeFileAtomic(path, `${JSON.stringify({ version: 1, incarnation })}\n`);
}

/** Where peers were last reached: hints, so a damaged file costs nothing but time. */
export function loadAddresses(path: string, log: Logger): ReadonlyMap<NodeId, readonly Address[]> {
  const stored = readJson(path, membersSchema, log);
  if (stored === 'absent' || stored === 'damaged') return new Map();
  return new Map(stored.peers.map(({ id, addresses }) => [id, addresses]));
}

export function saveAddresses(path: string, book: ReadonlyMap<NodeId, readonly Address[]>, log: Logger): void {
  const peers = [...book].slice(0, PEERS_KEPT_MAX).map(([id, addresses]) => ({ id, addresses }));
  try {
    writeFileAtomic(path, `${JSON.stringify({ version: 1, peers }, null, 1)}\n`);
  } catch (error) {
    log.warn('the last addresses of peers were not saved', { path, error: messageOf(error) });
  }
}

function readJson<T>(path: string, schema: z.ZodType<T>, log: Logger): T | 'absent' | 'damaged' {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return 'absent';
    throw error;
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    log.warn('a damaged file is made anew', { path, error: messageOf(error) });
    return 'damaged';
  }
}
