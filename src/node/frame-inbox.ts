import { err, ok, type Result } from '../base/result.ts';
import type { WorkspaceRefusal } from '../ports/workspace.ts';
import { STREAM_CREDIT_BYTES_MAX, type IncomingStream, type StreamMux } from '../wire/stream-mux.ts';
import { WorkspaceFrameDecoder, type WorkspaceFrame } from '../wire/workspace-frame.ts';

const FRAME_HEAD_BYTES = 5;
/**
 * An origin that sends less than so much in so long, while this side waits for it, holds a slot for nothing: a byte now and
 * then would do so for ever. The slowest of links makes a hundred times as much.
 */
export const SLOW_MS_MAX = 60_000;
export const SLOW_BYTES_MIN = 16 * 1024;
/** Of a window's bytes, when the thread is busy: very small ones are no more than this. */
const FRAMES_WAITING_MAX = 65_536;

const NOTHING_MORE: WorkspaceRefusal = { code: 'refused', message: 'nothing more was asked for' };

/** Room in memory for a frame that comes whole. */
export interface FrameRoom {
  /** @returns false where there is none now: nothing is taken */
  take(bytes: number): boolean;
  give(bytes: number): void;
}

/**
 * The up stream of a workspace session at its executor: frames, one at a time. The sender has no more under way than its
 * credit, which is given back as frames are dealt with; a manifest, which may be larger, as its bytes come.
 */
export class FrameInbox {
  readonly #stream: IncomingStream;
  readonly #room: FrameRoom;
  readonly #reader = new WorkspaceFrameDecoder();
  readonly #frames: WorkspaceFrame[] = [];
  #expectsManifest = true;
  #failure: WorkspaceRefusal | null = null;
  /** In which the sender was waited for, and what came meanwhile: since it was looked at last. */
  #waitedMs = 0;
  #waitedBytes = 0;
  #roomTaken = 0;
  #wake: () => void = () => undefined;

  /** Opens the stream without credit. */
  constructor(mux: StreamMux, id: number, room: FrameRoom) {
    this.#room = room;
    this.#stream = mux.openIncoming(id, 0, {
      onData: (bytes) => this.#take(bytes),
      // A sender that ends between frames has said END before; whoever waits for more waits for nothing.
      onEnd: () => this.#fail({ code: 'refused', message: 'the stream of files ended' }),
      onAbort: () => this.#fail({ code: 'refused', message: 'the stream of files was cut off' }),
    });
  }

  /** The sender may begin. @param withManifest the first frame is to be a manifest */
  begin(withManifest: boolean): void {
    this.#expectsManifest = withManifest;
    this.#stream.grant(STREAM_CREDIT_BYTES_MAX);
  }

  /**
   * @returns a refusal where the stream ended, was cut off or isn't made of frames (`refused`), where next to nothing came
   * for long (`expired`), and where a manifest has no room (`busy`)
   */
  async next(): Promise<Result<WorkspaceFrame, WorkspaceRefusal>> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame !== undefined) {
        if (frame.kind === 'manifest' || frame.kind === 'changed') {
          this.#expectsManifest = false;
          // Its sender has shown that it is there; what packs bring together counts from here on.
          this.#waitedMs = 0;
        }
        return ok(frame);
      }
      if (this.#failure !== null) return err(this.#failure);
      await this.#more();
    }
  }

  /** One came that nobody asked for yet. */
  get hasFrame(): boolean {
    return this.#frames.length > 0;
  }

  /** The manifest is dealt with. */
  manifestDone(): void {
    this.free();
  }

  /** A pack is dealt with. @param memory what it was a part of, for one to come */
  packDone(payloadBytes: number, memory: ArrayBufferLike): void {
    this.#reader.reuse(memory);
    this.#stream.consumed(FRAME_HEAD_BYTES + payloadBytes);
  }

  /** All that was asked for has come. The sender ends the stream; one that sends more instead is cut off. */
  finish(): void {
    const isMore = this.#frames.length > 0 || this.#reader.pendingBytes > 0;
    this.#fail(NOTHING_MORE);
    if (isMore) this.#stream.abort();
  }

  close(why: string): void {
    this.#end({ code: 'refused', message: why });
  }

  /** Nothing that came is in memory any more. */
  free(): void {
    if (this.#roomTaken > 0) this.#room.give(this.#roomTaken);
    this.#roomTaken = 0;
  }

  /** Settles when something came, or too little did. */
  async #more(): Promise<void> {
    const sinceMs = performance.now();
    const timer = setTimeout(() => this.#judge(), SLOW_MS_MAX - this.#waitedMs);
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    clearTimeout(timer);
    this.#waitedMs = Math.min(this.#waitedMs + performance.now() - sinceMs, SLOW_MS_MAX);
    if (this.#waitedMs < SLOW_MS_MAX || this.#waitedBytes < SLOW_BYTES_MIN) return;
    this.#waitedMs = 0;
    this.#waitedBytes = 0;
  }

  #judge(): void {
    if (this.#waitedBytes >= SLOW_BYTES_MIN) return this.#wake();
    const seconds = SLOW_MS_MAX / 1000;
    const what = this.#waitedBytes === 0 ? 'nothing' : `no more than ${this.#waitedBytes} bytes`;
    const message = `${what} came within ${seconds} s; what came is kept for the next try`;
    this.#end({ code: 'expired', message });
  }

  #take(bytes: Uint8Array): void {
    // Only after `finish` the stream is still open.
    if (this.#failure !== null) return this.#stream.abort();
    this.#waitedBytes += bytes.byteLength;
    const isManifest = this.#expectsManifest && this.#frames.length === 0;
    const frames = this.#reader.push(bytes);
    if (!frames.ok) return this.close(frames.error);
    if (isManifest) {
      this.#stream.consumed(bytes.byteLength);
      if (frames.value.length === 0 && !this.#takeRoom()) return;
    }
    if (frames.value.length === 0) return;
    this.#frames.push(...frames.value);
    if (this.#frames.length > FRAMES_WAITING_MAX) return this.close(`more than ${FRAMES_WAITING_MAX} packs at once`);
    this.#wake();
  }

  /** For the manifest whose header has come. */
  #takeRoom(): boolean {
    const bytes = this.#reader.pendingBytes;
    if (this.#roomTaken > 0 || bytes === 0) return true;
    if (this.#room.take(bytes)) {
      this.#roomTaken = bytes;
      return true;
    }
    this.#end({ code: 'busy', message: 'too many large projects are on their way there; nothing has run' });
    return false;
  }

  #end(why: WorkspaceRefusal): void {
    this.#stream.abort();
    this.#fail(why);
  }

  #fail(why: WorkspaceRefusal): void {
    this.#failure ??= why;
    this.#wake();
  }
}
