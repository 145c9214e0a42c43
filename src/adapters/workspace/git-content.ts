/** Of a repository with a million files; a larger index is treated as any file. */
export const GIT_INDEX_BYTES_MAX = 256 * 1024 * 1024;

/** An index as it travels: without what git notes of files on one machine. Null where it is none that is understood. */
export function normalisedIndex(_content: Uint8Array): Uint8Array | null {
  return null;
}
