import { expect, test } from 'vitest';
import { receivedManifest } from '../../../../src/adapters/workspace/received-manifest.ts';
import { hashOfManifest } from '../../../../src/adapters/workspace/slot-session.ts';
import { Turn } from '../../../../src/adapters/workspace/turn.ts';
import { encodeManifest } from '../../../../src/wire/manifest-codec.ts';
import { compareManifests, encodeDifference } from '../../../../src/wire/manifest-difference.ts';
import { sentOf } from '../../../fixtures/sent-project.ts';

test('a difference that makes more than may come whole is refused', async () => {
  const [{ manifest }, { manifest: next }] = [sentOf({ a: 'a' }), sentOf({ a: 'a', b: 'b' })];
  const whole = encodeManifest(next);
  const hash = hashOfManifest(encodeManifest(manifest));
  const difference = encodeDifference(hash, compareManifests(manifest, next));
  const received = (bytesMax: number) =>
    receivedManifest(difference, hashOfManifest(whole), { hash, manifest, encoded: null }, new Turn(), bytesMax);
  expect(await received(whole.length)).toMatchObject({ ok: true, value: { manifest: next } });
  expect(await received(whole.length - 1)).toMatchObject({ ok: false, error: expect.stringMatching(/more than/) });
});
