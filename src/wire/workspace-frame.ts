import { CHANGED_PACK_BYTES_MAX, MANIFEST_BYTES_MAX, PACK_BYTES_MAX } from './workspace.ts';
import { err, ok, type Result } from '../base/result.ts';

/**
 * What an origin sends on the up stream of a workspace's session, on the bulk socket: frames of `u8 kind | u32 length
 * (big endian) | payload`. At most one MANIFEST or CHANGED first, then PACKs, then END; the stream's own chunks cut them
 * anywhere. CHANGED is a MANIFEST with the objects that its receiver is taken to lack, so that it need not ask for them:
 * `u32 length of the manifest (big endian) | manifest | pack`.
 */
export const WORKSPACE_FRAME_KINDS = { manifest: 1, pack: 2, end: 3, changed: 4 } as const;
const HEADER_BYTES = 5;
const LENGTH_BYTES = 4;
const CHANGED_BYTES_MAX = LENGTH_BYTES + MANIFEST_BYTES_MAX + CHANGED_PACK_BYTES_MAX;
/** Chunks below this are put together in blocks: an object of its own for each byte would be a hundred times as much. */
const CHUNK_BYTES_MIN = 8 * 1024;
const BLOCK_BYTES = 64 * 1024;
/** Memory of packs that were dealt with, kept for packs to come: as many as a window holds. */
const SPARES_MAX = 4;
/** Memory for packs of that size comes in steps of it, so that it fits the next one too, which is hardly ever as long. */
const MEMORY_STEP_BYTES = 256 * 1024;

export type WorkspaceFrame =
  /** Compressed, of `encodeManifest` of ProjectFiles. */
  | { readonly kind: 'manifest'; readonly payload: Uint8Array }
  /** A manifest, and a pack of at most CHANGED_PACK_BYTES_MAX; views of the same memory. */
  | { readonly kind: 'changed'; readonly payload: Uint8Array; readonly pack: Uint8Array }
  /** Of `object-pack.ts`. */
  | { readonly kind: 'pack'; readonly payload: Uint8Array }
  /** All that was wanted has been sent. */
  | { readonly kind: 'end' };

/** The header of a frame, which the payload follows: it is not copied. */
export function encodeFrameHeader(kind: WorkspaceFrame['kind'], payloadBytes: number): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES);
  header[0] = WORKSPACE_FRAME_KINDS[kind];
  new DataView(header.buffer).setUint32(1, payloadBytes);
  return header;
}

/** Of a CHANGED: its header, and the length of the manifest, which follows with the pack behind it. */
export function encodeChangedHeader(manifestBytes: number, packBytes: number): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES + LENGTH_BYTES);
  header.set(encodeFrameHeader('changed', LENGTH_BYTES + manifestBytes + packBytes));
  new DataView(header.buffer).setUint32(HEADER_BYTES, manifestBytes);
  return header;
}

/**
 * Puts frames together as bytes arrive. Holds one unfinished frame: of a manifest never much more than its sender has
 * really sent, of a pack all that it will be, so that each byte is copied once.
 */
export class WorkspaceFrameDecoder {
  #pieces: Uint8Array[] = [];
  /** The last piece is a view of it that ends where the next small chunk is put; null: it is none. */
  #block: Uint8Array | null = null;
  #held = 0;
  /** The pack whose header came; `#held` counts nothing of it. */
  #pack: { readonly bytes: Uint8Array; filled: number } | null = null;
  #spares: ArrayBufferLike[] = [];
  #stage: 'first' | 'packs' | 'ended' | 'refused' = 'first';

  /** Takes memory of a pack that was dealt with, for one to come. */
  reuse(memory: ArrayBufferLike): void {
    if (this.#stage === 'packs' && this.#spares.length < SPARES_MAX) this.#spares.push(memory);
  }

  /** Of the frame that is not whole yet, as its header has it, the header itself included; 0: none, or not known yet. */
  get pendingBytes(): number {
    if (this.#pack !== null) return HEADER_BYTES + this.#pack.bytes.byteLength;
    if (this.#held < HEADER_BYTES || this.#stage === 'ended') return 0;
    return HEADER_BYTES + lengthOf(this.#joined(HEADER_BYTES));
  }

  /**
   * @param chunk what is kept of it is copied
   * @returns the frames that are whole now, or what is malformed: nothing is taken after that. A pack has its memory for
   *   itself, of which it is the first part
   */
  push(chunk: Uint8Array): Result<WorkspaceFrame[], string> {
    this.#keep(this.#pack === null ? chunk : chunk.subarray(this.#fill(this.#pack, chunk)));
    const frames: WorkspaceFrame[] = [];
    for (;;) {
      const next = this.#next();
      if (!next.ok) {
        this.#stage = 'refused';
        this.#spares = [];
        this.#pieces = [];
        this.#block = null;
        this.#held = 0;
        return next;
      }
      if (next.value === null) return ok(frames);
      frames.push(next.value);
    }
  }

  #keep(chunk: Uint8Array): void {
    this.#held += chunk.byteLength;
    if (chunk.byteLength >= CHUNK_BYTES_MIN) {
      this.#pieces.push(chunk.slice());
      this.#block = null;
      return;
    }
    if (chunk.byteLength === 0) return;
    const block = this.#block;
    const last = this.#pieces.at(-1);
    const end = block === null || last === undefined ? BLOCK_BYTES : last.byteOffset + last.byteLength;
    if (block !== null && last !== undefined && end + chunk.byteLength <= BLOCK_BYTES) {
      block.set(chunk, end);
      this.#pieces[this.#pieces.length - 1] = block.subarray(last.byteOffset, end + chunk.byteLength);
      return;
    }
    this.#block = new Uint8Array(BLOCK_BYTES);
    this.#block.set(chunk);
    this.#pieces.push(this.#block.subarray(0, chunk.byteLength));
  }

  #next(): Result<WorkspaceFrame | null, string> {
    if (this.#stage === 'refused') return err('bytes after a malformed frame');
    if (this.#pack !== null) return ok(this.#wholePack(this.#pack));
    if (this.#stage === 'ended') return this.#held === 0 ? ok(null) : err('bytes after the end of the files');
    if (this.#held < HEADER_BYTES) return ok(null);
    const head = this.#joined(HEADER_BYTES);
    const length = lengthOf(head);
    const kind = this.#kindOf(head[0] ?? 0, length);
    if (typeof kind === 'object') return err(kind.wrong);
    if (kind === 'pack') return ok(this.#beginPack(length));
    if (this.#held < HEADER_BYTES + length) return ok(null);
    const payload = this.#taken(HEADER_BYTES + length).subarray(HEADER_BYTES);
    this.#stage = kind === 'end' ? 'ended' : 'packs';
    if (kind === 'end') this.#spares = [];
    if (kind === 'changed') return changedOf(payload);
    return ok(kind === 'end' ? { kind } : { kind, payload });
  }

  #beginPack(length: number): WorkspaceFrame | null {
    this.#taken(HEADER_BYTES);
    this.#stage = 'packs';
    const pack = { bytes: this.#memoryFor(length), filled: 0 };
    this.#pack = pack;
    const came = this.#taken(Math.min(length, this.#held));
    this.#fill(pack, came);
    return this.#wholePack(pack);
  }

  #memoryFor(bytes: number): Uint8Array {
    const spare = this.#spares.pop();
    const isEnough = spare !== undefined && spare.byteLength >= bytes;
    if (isEnough) return new Uint8Array(spare, 0, bytes);
    // Small ones, of which there may be many, take no more than they are.
    if (bytes < MEMORY_STEP_BYTES) return new Uint8Array(bytes);
    const steps = Math.ceil(bytes / MEMORY_STEP_BYTES);
    return new Uint8Array(new ArrayBuffer(steps * MEMORY_STEP_BYTES), 0, bytes);
  }

  /** @returns how many bytes of the chunk belong to it */
  #fill(pack: { readonly bytes: Uint8Array; filled: number }, chunk: Uint8Array): number {
    const part = chunk.subarray(0, pack.bytes.byteLength - pack.filled);
    pack.bytes.set(part, pack.filled);
    pack.filled += part.byteLength;
    return part.byteLength;
  }

  #wholePack({ bytes, filled }: { readonly bytes: Uint8Array; readonly filled: number }): WorkspaceFrame | null {
    if (filled < bytes.byteLength) return null;
    this.#pack = null;
    return { kind: 'pack', payload: bytes };
  }

  #kindOf(code: number, length: number): WorkspaceFrame['kind'] | { readonly wrong: string } {
    switch (code) {
      case WORKSPACE_FRAME_KINDS.manifest:
        if (this.#stage !== 'first') return { wrong: 'a manifest that is not the first frame' };
        return length <= MANIFEST_BYTES_MAX ? 'manifest' : { wrong: `a manifest of ${length} bytes` };
      case WORKSPACE_FRAME_KINDS.changed:
        if (this.#stage !== 'first') return { wrong: 'a manifest that is not the first frame' };
        return length <= CHANGED_BYTES_MAX ? 'changed' : { wrong: `a manifest and a pack of ${length} bytes` };
      case WORKSPACE_FRAME_KINDS.pack:
        return length <= PACK_BYTES_MAX ? 'pack' : { wrong: `a pack of ${length} bytes` };
      case WORKSPACE_FRAME_KINDS.end:
        return length === 0 ? 'end' : { wrong: `an end of ${length} bytes` };
      default:
        return { wrong: `an unknown frame kind ${code}` };
    }
  }

  /** The first bytes, contiguous, left where they are. */
  #joined(bytes: number): Uint8Array {
    const first = this.#pieces[0];
    if (first !== undefined && first.byteLength >= bytes) return first.subarray(0, bytes);
    const joined = new Uint8Array(bytes);
    let at = 0;
    for (const piece of this.#pieces) {
      if (at === bytes) break;
      const part = piece.subarray(0, bytes - at);
      joined.set(part, at);
      at += part.byteLength;
    }
    return joined;
  }

  #taken(bytes: number): Uint8Array {
    const taken = this.#joined(bytes);
    let left = bytes;
    let used = 0;
    for (const piece of this.#pieces) {
      if (piece.byteLength > left) break;
      left -= piece.byteLength;
      used++;
    }
    this.#pieces.splice(0, used);
    const first = this.#pieces[0];
    if (left > 0 && first !== undefined) this.#pieces[0] = first.subarray(left);
    this.#held -= bytes;
    if (this.#pieces.length === 0) this.#block = null;
    return taken;
  }
}

function changedOf(bytes: Uint8Array): Result<WorkspaceFrame, string> {
  const manifestBytes = bytes.byteLength < LENGTH_BYTES ? Number.POSITIVE_INFINITY : uint32At(bytes, 0);
  const packBytes = bytes.byteLength - LENGTH_BYTES - manifestBytes;
  if (packBytes < 0 || manifestBytes > MANIFEST_BYTES_MAX || packBytes > CHANGED_PACK_BYTES_MAX) {
    return err(`${bytes.byteLength} bytes that are no manifest with a pack of at most ${CHANGED_PACK_BYTES_MAX}`);
  }
  const end = LENGTH_BYTES + manifestBytes;
  return ok({ kind: 'changed', payload: bytes.subarray(LENGTH_BYTES, end), pack: bytes.subarray(end) });
}

const uint32At = (bytes: Uint8Array, at: number): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(at);

const lengthOf = (head: Uint8Array): number => uint32At(head, 1);
