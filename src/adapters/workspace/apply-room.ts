import { statfsSync } from 'node:fs';
import { MeshError } from '../../base/errors.ts';
import { bytesOfText } from '../../base/byte-text.ts';
import { formatSize } from '../../base/units.ts';
import type { FileEntry, Manifest, ManifestEntry, TreePath } from '../../wire/manifest.ts';
import { lookAt } from './byte-files.ts';

/**
 * A few bytes of a pack may be files that fill the disk; what they take the place of makes room, and what an applying
 * that was cut off put there already needs none.
 *
 * @param changed of the pack
 * @param sent null where it is not known any more
 * @throws MeshError `io` where the project's disk has no room for them
 */
export function checkRoom(root: string, changed: readonly ManifestEntry[], sent: Manifest | null): void {
  const growth = new Map<TreePath, number>();
  const files = changed.filter((entry) => entry.kind === 'file');
  for (const { path, size } of files) growth.set(path, size);
  for (const entry of sent?.entries ?? []) {
    const size = entry.kind === 'file' ? growth.get(entry.path) : undefined;
    if (size !== undefined && entry.kind === 'file') growth.set(entry.path, size - entry.size);
  }
  const { bavail, bsize } = statfsSync(root);
  const freeBytes = bavail * bsize;
  if (sumOf(growth) <= freeBytes) return;
  for (const entry of files) if (seemsThere(root, entry)) growth.delete(entry.path);
  const needed = sumOf(growth);
  if (needed <= freeBytes) return;
  const what = `what came back needs ${formatSize(needed)}, the disk has ${formatSize(freeBytes)} free`;
  throw new MeshError('io', `${what}; nothing was changed`);
}

function sumOf(growth: ReadonlyMap<TreePath, number>): number {
  let sum = 0;
  for (const bytes of growth.values()) sum += bytes;
  return sum;
}

/** By its size and its time alone, which every file gets that is applied: this is about room, not about what is right. */
function seemsThere(root: string, { path, size, mtimeMs }: FileEntry): boolean {
  const stat = lookAt(`${bytesOfText(root)}/${path}`);
  return stat !== null && stat.isFile() && stat.size === size && Math.abs(stat.mtimeMs - mtimeMs) < 1;
}
