import { GIT_CONFIG_BYTES_MAX, sanitiseGitConfig } from '../../core/workspace/git-config.ts';
import { carryIndexStat, normaliseGitIndex, type IndexTools } from '../../core/workspace/git-index.ts';
import { SHA1_TOOLS, SHA256_TOOLS } from './git-index-file.ts';

/** An index as it travels: without what git notes of files on one machine. Null where it is none that is understood. */
export function normalisedIndex(content: Uint8Array): Uint8Array | null {
  const tools = toolsOf(content);
  if (tools === null) return null;
  const read = normaliseGitIndex(content, tools);
  return read.ok ? read.value.bytes : null;
}

/** @returns `sent` with what the index that lies there knows of files that are staged alike */
export function withStatOf(sent: Uint8Array, there: Uint8Array): Uint8Array {
  const tools = toolsOf(sent);
  return tools === null ? sent : carryIndexStat(sent, there, tools);
}

/** The repository's object format shows in the trailer: a hash of all before it, or zeros (index.skipHash). */
export function toolsOf(content: Uint8Array): IndexTools | null {
  const fitting = [SHA1_TOOLS, SHA256_TOOLS].find((tools) => {
    const end = content.length - tools.hashBytes;
    return end > 0 && Buffer.from(tools.hash(content.subarray(0, end))).equals(content.subarray(end));
  });
  if (fitting !== undefined) return fitting;
  return content.length > SHA1_TOOLS.hashBytes && content.subarray(-SHA1_TOOLS.hashBytes).every((byte) => byte === 0)
    ? SHA1_TOOLS
    : null;
}

/** May a `.git/config` be written as it came? It must be one that `writeGitConfig` made: nothing in it runs a program. */
export function isPlainGitConfig(content: Uint8Array): boolean {
  if (content.length > GIT_CONFIG_BYTES_MAX) return false;
  const text = Buffer.from(content).toString('latin1');
  return sanitiseGitConfig(text) === text;
}
