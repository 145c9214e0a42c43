import { z } from 'zod';
import { isMeshId, type MeshId, NODE_NAME_CHARS_MAX } from '../base/ids.ts';
import { err, ok, type Result } from '../base/result.ts';
import { PROTOCOL_VERSION } from './version.ts';

/** The subprotocols of the WebSocket upgrade. The number is that of the upgrade; versions are compared in the hello. */
export const CONTROL_SUBPROTOCOL = 'meshwork.control.1';
export const BULK_SUBPROTOCOL = 'meshwork.bulk.1';
/** One request of at most PAIR_REQUEST_BYTES_MAX, one reply: the only thing an unknown key may say. */
export const PAIR_SUBPROTOCOL = 'meshwork.pair.1';
export const LINK_PATH = '/meshwork';
/** On the upgrade of a bulk socket: the `link_id` of the control socket that it belongs to. */
export const LINK_ID_HEADER = 'x-meshwork-link';
/** Label of the TLS exporter (RFC 8446 §7.5) that pairing proofs are bound to; empty context, 32 bytes. */
export const PAIR_EXPORTER_LABEL = 'EXPORTER-meshwork-pair-1';
export const PAIR_EXPORTER_BYTES = 32;
export const PAIR_REQUEST_BYTES_MAX = 4096;
/** A hello or its refusal, in UTF-16 code units, looked at before it is parsed. */
export const HELLO_CHARS_MAX = 4096;
/** 128 random bits, base32. */
export const LINK_ID = /^[a-z2-7]{26}$/;

/** The first message on a control socket, both ways. */
export const helloSchema = z.strictObject({
  type: z.literal('hello'),
  protocol: z.int().nonnegative(),
  mesh: z.string().refine((text): text is MeshId => isMeshId(text), { message: 'not a mesh id' }),
  /** Grows with every start of the node and every refutation; of two instances the one with the higher wins. */
  incarnation: z.int().nonnegative(),
  name: z
    .string()
    .regex(/^[A-Za-z0-9._-]+$/)
    .max(NODE_NAME_CHARS_MAX),
  /** Chosen by the dialling side, echoed by the other. */
  link_id: z.string().regex(LINK_ID),
});
export type Hello = z.infer<typeof helloSchema>;

/** Sent in place of a hello, before the socket is closed, so that both sides know why. */
export const helloRefusalSchema = z.object({
  type: z.literal('refuse'),
  code: z.enum(['protocol_mismatch', 'wrong_mesh', 'bad_hello']),
  /** The version that the refusing side speaks. */
  protocol: z.int().nonnegative(),
});
export type HelloRefusal = z.infer<typeof helloRefusalSchema>;

/** What every version's hello begins with: read first, so that a later version's other fields do no harm. */
const versionSchema = z.object({ type: z.literal('hello'), protocol: z.int().nonnegative() });

export type HelloFault =
  | { readonly code: 'protocol_mismatch'; readonly theirs: number }
  | { readonly code: 'wrong_mesh'; readonly theirs: MeshId }
  | { readonly code: 'bad_hello'; readonly detail: string };

/** Reads a peer's hello: the version first, then the shape, then the mesh. */
export function readHello(text: string, mesh: MeshId): Result<Hello, HelloFault> {
  const json = parseJson(text);
  if (json === undefined) return err({ code: 'bad_hello', detail: 'not JSON, or too long' });
  const version = versionSchema.safeParse(json);
  if (!version.success) return err({ code: 'bad_hello', detail: 'not a hello' });
  if (version.data.protocol !== PROTOCOL_VERSION) {
    return err({ code: 'protocol_mismatch', theirs: version.data.protocol });
  }
  const hello = helloSchema.safeParse(json);
  if (!hello.success) {
    const issue = hello.error.issues[0];
    return err({ code: 'bad_hello', detail: `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'invalid'}` });
  }
  if (hello.data.mesh !== mesh) return err({ code: 'wrong_mesh', theirs: hello.data.mesh });
  return ok(hello.data);
}

/** Reads the answer to our hello: the peer's own, or why it refused. */
export function readHelloAnswer(
  text: string,
  mesh: MeshId,
): Result<Hello, HelloFault | { readonly code: 'refused'; readonly refusal: HelloRefusal }> {
  const refusal = helloRefusalSchema.safeParse(parseJson(text));
  if (refusal.success) return err({ code: 'refused', refusal: refusal.data });
  return readHello(text, mesh);
}

function parseJson(text: string): unknown {
  if (text.length > HELLO_CHARS_MAX) return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    // Undefined is no JSON value, so callers tell it apart; what was wrong with a stranger's text is of no use.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
