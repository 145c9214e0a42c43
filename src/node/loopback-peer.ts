import { StreamMux, type SendFrame } from '../wire/stream-mux.ts';

/**
 * This node as its own executor: two muxes joined in memory, so that a local job goes the same way as a remote one.
 *
 * @returns the origin's end and the executor's end
 */
export function loopbackMuxes(): { readonly origin: StreamMux; readonly executor: StreamMux } {
  // Frames are handed over in a later turn: a stream handler is never called from inside its own write.
  const deliverTo =
    (target: () => StreamMux): SendFrame =>
    (header, payload) => {
      const frame = new Uint8Array(header.byteLength + (payload?.byteLength ?? 0));
      frame.set(header);
      if (payload !== null) frame.set(payload, header.byteLength);
      setImmediate(() => target().receive(frame));
    };
  const origin: StreamMux = new StreamMux(
    deliverTo(() => executor),
    'first',
  );
  const executor: StreamMux = new StreamMux(
    deliverTo(() => origin),
    'second',
  );
  return { origin, executor };
}
