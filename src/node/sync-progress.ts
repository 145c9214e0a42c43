import { unreachable } from '../base/assert.ts';
import { MS_PER_SECOND } from '../base/units.ts';
import type { WorkspaceMessageOf } from '../wire/workspace.ts';

const MEGABYTE = 1_000_000;
/** An estimate from less time would jump. */
const ESTIMATE_MS_MIN = 1000;

export interface Wanted {
  readonly objects: number;
  readonly bytes: number;
  /** When that was known, monotonic. */
  readonly atMs: number;
  /** See `ProjectFiles.filesAfter`. */
  readonly filesAfter: readonly number[] | null;
}

/** How far a sync has come, for people: `2,310 of 7,500 files, 41 of 58 MB, 3 s left`. */
export function syncProgress(
  progress: WorkspaceMessageOf<'ws.progress'>,
  wanted: Wanted | null,
  nowMs: number,
): string {
  switch (progress.phase) {
    case 'receiving': {
      if (wanted === null) return 'compares files';
      const { files: objects, bytes } = progress;
      const { filesAfter } = wanted;
      const files = filesAfter === null ? objects : (filesAfter[objects] ?? filesAfter.at(-1) ?? 0);
      const parts = [
        `${grouped(files)} of ${grouped(filesAfter?.at(-1) ?? wanted.objects)} files`,
        `${megabytes(bytes)} of ${megabytes(wanted.bytes)} MB`,
      ];
      const spentMs = nowMs - wanted.atMs;
      const leftBytes = Math.max(0, wanted.bytes - bytes);
      if (spentMs >= ESTIMATE_MS_MIN && bytes > 0 && leftBytes > 0) {
        parts.push(`${Math.ceil((leftBytes / bytes) * (spentMs / MS_PER_SECOND))} s left`);
      }
      return parts.join(', ');
    }
    case 'placing':
      return `${grouped(progress.files)} files are in place`;
    case 'preparing':
      return progress.line;
    default:
      return unreachable(progress.phase);
  }
}

const grouped = (count: number): string => count.toLocaleString('en-US');
const megabytes = (bytes: number): string =>
  grouped(bytes < 10 * MEGABYTE ? Math.round((bytes / MEGABYTE) * 10) / 10 : Math.round(bytes / MEGABYTE));
