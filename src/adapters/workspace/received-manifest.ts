import { err, ok, type Result } from '../../base/result.ts';
import { type EncodedManifest, encodeAfter } from '../../wire/encoded-manifest.ts';
import { decodeManifestInSteps } from '../../wire/manifest-codec.ts';
import { applyDifference, isDifference } from '../../wire/manifest-difference.ts';
import type { Manifest, ManifestHash } from '../../wire/manifest.ts';
import { MANIFEST_BYTES_MAX } from '../../wire/workspace.ts';
import { hashOfManifest } from './slot-session.ts';
import type { Turn } from './turn.ts';

export interface ReceivedManifest {
  readonly manifest: Manifest;
  readonly bytes: Uint8Array;
  /** What the next difference is encoded after; null where a whole manifest came. */
  readonly encoded: EncodedManifest | null;
}

/**
 * Decodes what an origin sent, and checks all of it.
 *
 * @param expanded of `expandManifest`: a manifest, or a difference
 * @param base what a difference is one from, and its encoding where that is known; null: there is nothing
 * @param bytesMax only tests give less: what few bytes of differences make, one after the other, is no more than comes whole
 * @returns the refusal says what is wrong, and with which path
 */
export async function receivedManifest(
  expanded: Uint8Array,
  wanted: ManifestHash,
  base: { readonly hash: ManifestHash; readonly manifest: Manifest; readonly encoded: EncodedManifest | null } | null,
  turn: Turn,
  bytesMax = MANIFEST_BYTES_MAX,
): Promise<Result<ReceivedManifest, string>> {
  const isPart = isDifference(expanded);
  if (isPart && base === null) return err('a difference from a manifest that is not here');
  const manifest =
    isPart && base !== null
      ? applyDifference(base.manifest, base.hash, expanded)
      : await turn.through(decodeManifestInSteps(expanded));
  if (!manifest.ok) return manifest;
  const encoded = isPart ? encodeAfter(base?.encoded ?? null, manifest.value) : null;
  const bytes = encoded?.bytes ?? expanded;
  if (bytes.length > bytesMax) return err(`a difference that makes a manifest of more than ${bytesMax} bytes`);
  if (hashOfManifest(bytes) !== wanted) return err('a manifest that is not the one that was announced');
  return ok({ manifest: manifest.value, bytes, encoded });
}
