import { STREAM_WINDOW_BYTES, type OutgoingStream, type StreamMux } from '../wire/stream-mux.ts';
import { encodeChangedHeader, encodeFrameHeader, type WorkspaceFrame } from '../wire/workspace-frame.ts';

/** The origin's end of an up stream: frames, no more of them in memory than one beyond the window. */
export class PackSender {
  readonly id: number;
  readonly #stream: OutgoingStream;
  /** Packs that are not known to have left, and where in the stream they end. */
  readonly #packs: { readonly memory: ArrayBufferLike; readonly endsAt: number }[] = [];
  #written = 0;
  #waiting: (() => void) | null = null;

  /** Opens the stream; its receiver grants the first credit. */
  constructor(mux: StreamMux) {
    this.id = mux.nextId();
    this.#stream = mux.openOutgoing(this.id, 0, { onSent: () => this.#look(), onAbort: () => this.#look() });
  }

  send(kind: Exclude<WorkspaceFrame['kind'], 'changed'>, payload: Uint8Array | null): void {
    const head = encodeFrameHeader(kind, payload?.byteLength ?? 0);
    this.#written += head.byteLength + (payload?.byteLength ?? 0);
    if (kind === 'pack' && payload !== null) this.#packs.push({ memory: payload.buffer, endsAt: this.#written });
    this.#stream.write(head);
    if (payload !== null) this.#stream.write(payload);
  }

  /** A manifest, with a pack of at most CHANGED_PACK_BYTES_MAX that nobody asked for yet. */
  sendChanged(manifest: Uint8Array, pack: Uint8Array): void {
    const head = encodeChangedHeader(manifest.byteLength, pack.byteLength);
    for (const part of [head, manifest, pack]) {
      this.#written += part.byteLength;
      this.#stream.write(part);
    }
  }

  /** Memory of a pack all of which has left. Null where there is none; each is told once. */
  spent(): ArrayBuffer | null {
    const first = this.#packs[0];
    if (first === undefined || first.endsAt > this.#written - this.#stream.queuedBytes) return null;
    this.#packs.shift();
    return first.memory instanceof ArrayBuffer ? first.memory : null;
  }

  /** Settles when there is room for another frame, or nobody reads any more. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting = resolve;
      this.#look();
    });
  }

  end(): void {
    this.#stream.end();
  }

  close(): void {
    this.#stream.abort();
  }

  #look(): void {
    if (this.#waiting === null) return;
    if (!this.#stream.closed && this.#stream.queuedBytes >= STREAM_WINDOW_BYTES) return;
    const settle = this.#waiting;
    this.#waiting = null;
    settle();
  }
}
