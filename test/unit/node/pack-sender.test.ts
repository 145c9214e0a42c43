import { describe, expect, it } from 'vitest';
import { PackSender } from '../../../src/node/pack-sender.ts';
import { StreamMux } from '../../../src/wire/stream-mux.ts';

const PACK_BYTES = 1000;

describe('PackSender', () => {
  it('gives the memory of a pack back when the last of its bytes left, once', () => {
    const mux = new StreamMux(() => undefined, 'first');
    const sender = new PackSender(mux);
    const grant = (bytes: number): void => {
      const frame = new Uint8Array(9);
      frame[0] = 2;
      new DataView(frame.buffer).setUint32(1, sender.id);
      new DataView(frame.buffer).setUint32(5, bytes);
      expect(mux.receive(frame)).toBeNull();
    };
    const packs = [new Uint8Array(PACK_BYTES), new Uint8Array(PACK_BYTES)];
    sender.send('manifest', new Uint8Array(100));
    for (const pack of packs) sender.send('pack', pack);
    expect(sender.spent()).toBeNull();
    grant(105 + 5 + PACK_BYTES - 1);
    expect(sender.spent()).toBeNull();
    grant(1);
    expect(sender.spent()).toBe(packs[0]?.buffer);
    expect(sender.spent()).toBeNull();
    grant(5 + PACK_BYTES);
    expect(sender.spent()).toBe(packs[1]?.buffer);
    expect(sender.spent()).toBeNull();
  });
});
