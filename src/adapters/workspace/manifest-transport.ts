import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import { err, ok, type Result } from '../../base/result.ts';
import { MANIFEST_BYTES_MAX } from '../../wire/workspace.ts';

/** An encoded manifest, or a difference, as one frame: brotli (RFC 7932), since paths repeat each other. */
export function compressManifest(encoded: Uint8Array): Uint8Array {
  return brotliCompressSync(encoded, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 1, [constants.BROTLI_PARAM_SIZE_HINT]: encoded.length },
  });
}

/** @returns at most so many bytes, or why not */
export function expandManifest(frame: Uint8Array, bytesMax: number = MANIFEST_BYTES_MAX): Result<Uint8Array, string> {
  try {
    return ok(brotliDecompressSync(frame, { maxOutputLength: bytesMax }));
  } catch (error) {
    // Whatever the decompressor says of bytes from elsewhere: they are no good.
    if (error instanceof Error) return err(`a manifest that does not decompress to at most ${bytesMax} bytes`);
    throw error;
  }
}
