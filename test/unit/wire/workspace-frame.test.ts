import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  encodeChangedHeader,
  encodeFrameHeader,
  type WorkspaceFrame,
  WorkspaceFrameDecoder,
} from '../../../src/wire/workspace-frame.ts';
import { CHANGED_PACK_BYTES_MAX, MANIFEST_BYTES_MAX, PACK_BYTES_MAX } from '../../../src/wire/workspace.ts';

const frame = (kind: WorkspaceFrame['kind'], payload: Uint8Array = new Uint8Array()): Uint8Array =>
  Buffer.concat([encodeFrameHeader(kind, payload.length), payload]);

const changed = (manifest: Uint8Array, pack: Uint8Array): Uint8Array =>
  Buffer.concat([encodeChangedHeader(manifest.length, pack.length), manifest, pack]);

describe('frames of the up stream', () => {
  it('come out whole, however the stream cuts them', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300 }),
        fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 5 }),
        fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 40 }),
        (manifest, packs, cuts) => {
          const bytes = Buffer.concat([
            frame('manifest', manifest),
            ...packs.map((pack) => frame('pack', pack)),
            frame('end'),
          ]);
          const decoder = new WorkspaceFrameDecoder();
          const frames: WorkspaceFrame[] = [];
          let at = 0;
          for (const size of [...cuts, bytes.length]) {
            const pushed = decoder.push(bytes.subarray(at, at + size));
            if (!pushed.ok) throw new Error(pushed.error);
            frames.push(...pushed.value);
            at += size;
          }
          expect(frames.map(({ kind }) => kind)).toEqual(['manifest', ...packs.map(() => 'pack'), 'end']);
          const payloads = frames.flatMap((each) => (each.kind === 'end' ? [] : [Buffer.from(each.payload)]));
          expect(payloads).toEqual([manifest, ...packs].map((payload) => Buffer.from(payload)));
        },
      ),
      { numRuns: 500 },
    );
  });

  it.each([
    ['a kind that is unknown', Buffer.from([9, 0, 0, 0, 0])],
    [
      'a second manifest that brings a pack',
      Buffer.concat([frame('manifest'), changed(Buffer.from('m'), Buffer.from('p'))]),
    ],
    [
      'a manifest after one that brought a pack',
      Buffer.concat([changed(Buffer.from('m'), Buffer.from('p')), frame('manifest')]),
    ],
    ['a manifest that is longer than its frame', Buffer.concat([frame('changed', Buffer.from([0, 0, 0, 2, 1]))])],
    ['a frame without the length of its manifest', frame('changed', Buffer.from([0, 0, 0]))],
    ['a larger pack than comes unasked', changed(Buffer.from('m'), new Uint8Array(CHANGED_PACK_BYTES_MAX + 1))],
    ['a second manifest', Buffer.concat([frame('manifest'), frame('manifest')])],
    ['a manifest after a pack', Buffer.concat([frame('pack'), frame('manifest')])],
    ['bytes after the end', Buffer.concat([frame('end'), Buffer.from([1])])],
    ['a pack that is too large', Buffer.from(encodeFrameHeader('pack', PACK_BYTES_MAX + 1))],
    ['a manifest that is too large', Buffer.from(encodeFrameHeader('manifest', MANIFEST_BYTES_MAX + 1))],
    ['an end with a payload', Buffer.from([3, 0, 0, 0, 1, 0])],
  ])('refuse %s, before it is there, and all that follows', (_, bytes) => {
    const decoder = new WorkspaceFrameDecoder();
    expect(decoder.push(bytes).ok).toBe(false);
    expect(decoder.push(frame('pack')).ok).toBe(false);
  });

  it('of packs come in memory of packs that were dealt with, where it is large enough', () => {
    const decoder = new WorkspaceFrameDecoder();
    const taken = (size: number): Uint8Array => {
      const pushed = decoder.push(frame('pack', new Uint8Array(size).fill(size % 251)));
      const [first] = pushed.ok ? pushed.value : [];
      if (first?.kind !== 'pack') throw new Error('no pack came');
      expect(Buffer.compare(first.payload, new Uint8Array(size).fill(size % 251))).toBe(0);
      expect(first.payload.byteOffset).toBe(0);
      return first.payload;
    };
    const first = taken(300_000);
    const second = taken(200_000);
    expect(second.buffer).not.toBe(first.buffer);
    decoder.reuse(first.buffer);
    expect(taken(400_000).buffer).toBe(first.buffer);
    decoder.reuse(second.buffer);
    expect(taken(1_000_000).buffer).not.toBe(second.buffer);
  });

  it('bring a manifest with what changed in one, and packs after it', () => {
    const [manifest, pack] = [new Uint8Array(70_000).fill(1), new Uint8Array(CHANGED_PACK_BYTES_MAX).fill(2)];
    const bytes = Buffer.concat([changed(manifest, pack), frame('pack', Buffer.from('more')), frame('end')]);
    const decoder = new WorkspaceFrameDecoder();
    const frames: WorkspaceFrame[] = [];
    for (let at = 0; at < bytes.length; at += 9999) {
      const pushed = decoder.push(bytes.subarray(at, at + 9999));
      if (!pushed.ok) throw new Error(pushed.error);
      frames.push(...pushed.value);
    }
    expect(frames.map(({ kind }) => kind)).toEqual(['changed', 'pack', 'end']);
    const [first] = frames;
    if (first?.kind !== 'changed') throw new Error('no manifest with a pack');
    expect(Buffer.compare(first.payload, manifest)).toBe(0);
    expect(Buffer.compare(first.pack, pack)).toBe(0);
  });

  it('are copied from what came; a pack has its memory for itself', () => {
    const content = new Uint8Array(100_000).map((_, at) => at % 251);
    const bytes = Buffer.concat([frame('manifest', content), frame('pack', content), frame('pack', content)]);
    const decoder = new WorkspaceFrameDecoder();
    const payloads: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += 30_000) {
      const chunk = new Uint8Array(bytes.subarray(at, at + 30_000));
      const pushed = decoder.push(chunk);
      if (!pushed.ok) throw new Error(pushed.error);
      chunk.fill(0);
      for (const each of pushed.value) if (each.kind !== 'end') payloads.push(each.payload);
    }
    expect(payloads.map((payload) => Buffer.compare(payload, content))).toEqual([0, 0, 0]);
    expect(payloads.slice(1).map((payload) => payload.buffer.byteLength)).toEqual([100_000, 100_000]);
    expect(decoder.pendingBytes).toBe(0);
    decoder.push(encodeFrameHeader('pack', 10));
    expect(decoder.pendingBytes).toBe(15);
  });

  it('that come byte by byte take little more memory than they have', () => {
    const bytes = 400_000;
    const content = new Uint8Array(bytes).map((_, at) => at % 251);
    const decoder = new WorkspaceFrameDecoder();
    decoder.push(encodeFrameHeader('manifest', bytes));
    expect(decoder.pendingBytes).toBe(bytes + 5);
    const before = process.memoryUsage().heapUsed;
    for (let at = 0; at < bytes - 1; at++) decoder.push(content.slice(at, at + 1));
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(100 * bytes);
    expect(decoder.push(content.subarray(bytes - 1))).toEqual({
      ok: true,
      value: [{ kind: 'manifest', payload: content }],
    });
    expect(decoder.pendingBytes).toBe(0);
  });
});
