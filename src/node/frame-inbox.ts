import { MeshError } from '../base/errors.ts';
import { STREAM_CREDIT_BYTES_MAX, type IncomingStream, type StreamMux } from '../wire/stream-mux.ts';
import { WorkspaceFrameDecoder, type WorkspaceFrame } from '../wire/workspace-frame.ts';

const FRAME_HEAD_BYTES = 5;
/** An origin that sends nothing for so long holds a slot for nothing. */
const SILENCE_MS_MAX = 60_000;

/**
 * The up stream of a workspace session at its executor: frames, one at a time. The sender has no more under way than its
 * credit, which is given back as frames are dealt with; a manifest, which may be larger, as its bytes come.
 */
export class FrameInbox {
  readonly #stream: IncomingStream;
  readonly #reader = new WorkspaceFrameDecoder();
  readonly #frames: WorkspaceFrame[] = [];
  #expectsManifest = true;
  #failure: string | null = null;
  #bytes = 0;
  #wake: () => void = () => undefined;

  /** Opens the stream without credit. */
  constructor(mux: StreamMux, id: number) {
    this.#stream = mux.openIncoming(id, 0, {
      onData: (bytes) => this.#take(bytes),
      // A sender that ends between frames has said END before; whoever waits for more waits for nothing.
      onEnd: () => this.#fail('the stream of files ended'),
      onAbort: () => this.#fail('the stream of files was cut off'),
    });
  }

  /** The sender may begin. @param withManifest the first frame is to be a manifest */
  begin(withManifest: boolean): void {
    this.#expectsManifest = withManifest;
    this.#stream.grant(STREAM_CREDIT_BYTES_MAX);
  }

  /** @throws MeshError `sync_failed` where the stream ended, was cut off, isn't made of frames, or nothing came for long */
  async next(): Promise<WorkspaceFrame> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame !== undefined) {
        if (frame.kind === 'manifest') this.#expectsManifest = false;
        return frame;
      }
      if (this.#failure !== null) throw new MeshError('sync_failed', this.#failure);
      const given = this.#bytes;
      const timer = setTimeout(() => {
        if (this.#bytes === given) this.close(`nothing came for ${SILENCE_MS_MAX / 1000} s`);
        else this.#wake();
      }, SILENCE_MS_MAX);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      clearTimeout(timer);
    }
  }

  /** That frame is dealt with. */
  done(frame: WorkspaceFrame): void {
    if (frame.kind === 'pack') this.#stream.consumed(FRAME_HEAD_BYTES + frame.payload.byteLength);
  }

  close(why: string): void {
    this.#stream.abort();
    this.#fail(why);
  }

  #take(bytes: Uint8Array): void {
    if (this.#failure !== null) return;
    this.#bytes += bytes.byteLength;
    const isManifest = this.#expectsManifest && this.#frames.length === 0;
    const frames = this.#reader.push(bytes.slice());
    if (!frames.ok) return this.close(frames.error);
    if (isManifest) this.#stream.consumed(bytes.byteLength);
    if (frames.value.length === 0) return;
    this.#frames.push(...frames.value);
    this.#wake();
  }

  #fail(why: string): void {
    this.#failure ??= why;
    this.#wake();
  }
}
