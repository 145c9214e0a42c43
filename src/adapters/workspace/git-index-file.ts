import { createHash } from 'node:crypto';
import { chownSync, copyFileSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { err, ok, type Result } from '../../base/result.ts';
import { normaliseGitIndex, type GitIndex, type IndexTools } from '../../core/workspace/git-index.ts';
import { below, lookThrough, pathOf, readBytes } from './byte-files.ts';
import type { Git } from './git-command.ts';

/** Of a repository with a million files; a larger index is treated as any file. */
export const GIT_INDEX_BYTES_MAX = 256 * 1024 * 1024;
const NO_INDEX: GitIndex = { bytes: new Uint8Array(0), files: [], submodules: [] };

export const SHA1_TOOLS: IndexTools = toolsOf('sha1', 20);
export const SHA256_TOOLS: IndexTools = toolsOf('sha256', 32);

function toolsOf(algorithm: 'sha1' | 'sha256', hashBytes: number): IndexTools {
  return {
    hashBytes,
    hash: (bytes) => createHash(algorithm).update(bytes).digest(),
    text: (bytes, start, end) => bufferOf(bytes).toString('latin1', start, end),
  };
}

const bufferOf = (bytes: Uint8Array): Buffer =>
  bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

/**
 * A work tree's index, as it travels. Forms that aren't read here (version 4, split, sparse) are rewritten by git, in a
 * copy.
 *
 * @param own the work tree's git folder, absolute bytes
 * @returns an index without entries and bytes where there is none yet; the refusal is for people
 */
export async function readGitIndex(own: string, git: Git, tools: IndexTools): Promise<Result<GitIndex, string>> {
  const file = below(own, 'index');
  const source = readBytes(file, GIT_INDEX_BYTES_MAX);
  if (source === null) return lookThrough(file) === null ? ok(NO_INDEX) : err("its index can't be read");
  const read = normaliseGitIndex(source, tools);
  if (read.ok) return read;
  if (read.error === 'damaged') return err('its index is damaged');
  const folder = mkdtempSync(join(tmpdir(), 'meshwork-index-'));
  try {
    const copy = join(folder, 'index');
    copyFileSync(pathOf(below(own, 'index')), copy);
    const owner = statSync(pathOf(own));
    if (process.getuid?.() === 0 && owner.uid !== 0)
      for (const path of [folder, copy]) chownSync(path, owner.uid, owner.gid);
    const args = ['-c', 'index.sparse=false', '-c', 'core.splitIndex=false', 'update-index', '--no-split-index'];
    const written = await git.run([...args, '--force-write-index', '--index-version', '2'], { GIT_INDEX_FILE: copy });
    if (!written.ok) return err(`its index can't be read: ${written.error}`);
    const again = normaliseGitIndex(readFileSync(copy), tools);
    return again.ok ? again : err(`its index can't be read (${again.error})`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
