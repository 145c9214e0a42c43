import { z } from 'zod';
import { isMeshId, isNodeId, type MeshId, type NodeId } from '../base/ids.ts';
import { KIB, MS_PER_SECOND } from '../base/units.ts';
import { factsSchema, loadSchema } from './facts.ts';

/** Messages of membership, on the control socket between any two linked nodes (DESIGN §4). */
export const ADDRESSES_MAX = 16;
export const MEMBERS_MAX = 1024;
/** Record and state of one member, with whatever facts the schema lets through. */
export const RECORD_BYTES_MAX = 64 * KIB;
/** A longer list of records is sent as several messages. */
export const MEMBER_MESSAGE_BYTES_MAX = 256 * KIB;
export const RECORDS_PER_MESSAGE_MAX = 256;
/** Far above what restarts and refutations reach, far below where adding 1 stops working. */
export const INCARNATION_MAX = 2 ** 48;
/** How long a dead or left member is remembered, and a dead one redialled. */
export const TOMBSTONE_MS = 24 * 3600 * MS_PER_SECOND;

const nodeId = z.string().refine((text): text is NodeId => isNodeId(text), { message: 'is not a node id' });
const meshId = z.string().refine((text): text is MeshId => isMeshId(text), { message: 'is not a mesh id' });
const incarnation = z.int().min(0).max(INCARNATION_MAX);
const version = z.int().min(0).max(INCARNATION_MAX);
const signature = z
  .string()
  .regex(/^[A-Za-z0-9+/]+={0,2}$/)
  .max(128);
const ageMs = z.int().min(0).max(TOMBSTONE_MS);

export const memberAddressSchema = z.strictObject({
  /** A literal address or a host name, never with a port, brackets or blanks. */
  host: z
    .string()
    .regex(/^[A-Za-z0-9:][A-Za-z0-9._:%-]*$/)
    .max(255),
  port: z.int().min(1).max(65_535),
});
export type MemberAddress = z.infer<typeof memberAddressSchema>;

/** What a member says of itself, signed by it. Within one incarnation a higher version replaces a lower one. */
export const memberRecordSchema = z.strictObject({
  mesh: meshId,
  id: nodeId,
  /** Raised by its subject at each start, to refute an accusation, and on waking. Persisted before it is announced. */
  incarnation,
  version,
  state_claim: z.enum(['here', 'left']),
  addresses: z.array(memberAddressSchema).max(ADDRESSES_MAX),
  facts: factsSchema,
});
export type MemberRecord = z.infer<typeof memberRecordSchema>;

const MEMBER_STATES = ['alive', 'suspect', 'dead', 'left'] as const;
const memberState = z.enum(MEMBER_STATES);
export type MemberState = z.infer<typeof memberState>;

/** Every 2 s, and early when the load changed much. Unsigned: it counts on its subject's own link only. */
const heartbeatSchema = z.strictObject({
  t: z.literal('member.heartbeat'),
  /** Of the sender's record, so that the receiver notices that it lacks the newest. */
  incarnation,
  version,
  /** Grows by one within a run of the sender: an overtaken heartbeat's load is dropped. */
  seq: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
  /** Null until the first sample. */
  load: loadSchema.nullable(),
});

const digestEntrySchema = z.strictObject({
  id: nodeId,
  incarnation,
  version,
  state: memberState,
  /** How long the member has been dead or left in the sender's view; 0 otherwise. */
  age_ms: ageMs,
});
export type DigestEntry = z.infer<typeof digestEntrySchema>;

/** The sender's whole table in short. The receiver sends back the records that are newer or missing here. */
const digestSchema = z.strictObject({
  t: z.literal('member.digest'),
  /** Send your digest too (push-pull). */
  reply: z.boolean(),
  entries: z.array(digestEntrySchema).max(MEMBERS_MAX),
});

const recordItemSchema = z.strictObject({
  record: memberRecordSchema,
  /** base64 of the subject's signature over `recordBytes(record)`. */
  sig: signature,
  /** The sender's view of the member: hearsay. */
  state: memberState,
  age_ms: ageMs,
});
export type RecordItem = z.infer<typeof recordItemSchema>;

const recordsSchema = z.strictObject({
  t: z.literal('member.records'),
  items: z.array(recordItemSchema).min(1).max(RECORDS_PER_MESSAGE_MAX),
});

/** To its subject alone: I hold this of you, at this incarnation. The answer is a record of a higher incarnation. */
const accuseSchema = z.strictObject({
  t: z.literal('member.accuse'),
  incarnation,
  state: z.enum(['suspect', 'dead', 'left']),
});

export const memberMessageSchema = z.discriminatedUnion('t', [
  heartbeatSchema,
  digestSchema,
  recordsSchema,
  accuseSchema,
]);
export type MemberMessage = z.infer<typeof memberMessageSchema>;
export type MemberMessageOf<T extends MemberMessage['t']> = Extract<MemberMessage, { t: T }>;
