import { StreamMux } from '../../../src/wire/stream-mux.ts';

/** Two muxes with a wire between them that delivers when the test says so, in order each way. */
export class JoinedMuxes {
  readonly first: StreamMux;
  readonly second: StreamMux;
  /** What the receiving mux said was wrong. */
  readonly violations: string[] = [];
  readonly #toFirst: Uint8Array[] = [];
  readonly #toSecond: Uint8Array[] = [];

  constructor() {
    this.first = new StreamMux((header, payload) => this.#toSecond.push(frameOf(header, payload)), 'first');
    this.second = new StreamMux((header, payload) => this.#toFirst.push(frameOf(header, payload)), 'second');
  }

  /** Delivers one frame to that side. @returns false where none is under way */
  deliver(to: 'first' | 'second'): boolean {
    const frame = (to === 'first' ? this.#toFirst : this.#toSecond).shift();
    if (frame === undefined) return false;
    const wrong = this[to].receive(frame);
    if (wrong !== null) this.violations.push(wrong);
    return true;
  }

  deliverAll(): void {
    while (this.deliver('first') || this.deliver('second'));
  }

  /** Frames under way. */
  get underWay(): number {
    return this.#toFirst.length + this.#toSecond.length;
  }
}

export function frameOf(header: Uint8Array, payload: Uint8Array | null): Uint8Array {
  const frame = new Uint8Array(header.byteLength + (payload?.byteLength ?? 0));
  frame.set(header);
  if (payload !== null) frame.set(payload, header.byteLength);
  return frame;
}

/** Bytes that tell their own place: any loss, doubling or reordering shows. */
export function numbered(from: number, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, i) => ((from + i) * 31 + ((from + i) >>> 8)) & 0xff);
}
