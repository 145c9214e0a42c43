import { unreachable } from '../../base/assert.ts';
import type { ChangeList } from '../../wire/change-pack.ts';
import type { Manifest, ManifestEntry, ObjectHash, TreePath } from '../../wire/manifest.ts';
import { isPortableLink, isProtected } from '../../wire/tree-path.ts';

/**
 * What becomes of each path that a job changed elsewhere, decided from three sides: what was sent, what the job made of
 * it, and what lies here now. Nothing that people changed meanwhile is overwritten or deleted; nothing that tools run
 * without asking is touched before someone says so (`held`).
 */

/** What lies at a path of the project now. */
export type LocalState =
  | { readonly kind: 'absent' }
  /** Its hash is in the form in which it was sent: of an index of git, without what git adds in use. */
  | { readonly kind: 'file'; readonly hash: ObjectHash; readonly mode: number }
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'folder' }
  /** Something that is none of these, or a file that can't be read. */
  | { readonly kind: 'other' }
  /** A file or a link is where a folder above it should be. */
  | { readonly kind: 'blocked' };

export type WriteDecision =
  /** `mode`: for files, the bits to give it. */
  | { readonly kind: 'write'; readonly mode: number }
  | { readonly kind: 'there' }
  | { readonly kind: 'held' }
  | { readonly kind: 'conflict' };

export type DeleteDecision = { readonly kind: 'delete' | 'gone' | 'held' | 'conflict' | 'never_sent' };

/** What is decided once for a whole list of changes. */
export interface ApplyRules {
  /** True for `meshwork apply`: nothing is held back. */
  readonly held: boolean;
  /** More than half of the project's files go: none of them goes before someone says so. */
  readonly isMassDeletion: boolean;
}

/** What only moved is not lost: a file that has its content at a new path is no deleted one. */
export function applyRules(sent: Manifest, list: Pick<ChangeList, 'changed' | 'deleted'>, held: boolean): ApplyRules {
  const files = new Map<TreePath, ManifestEntry>();
  for (const entry of sent.entries) if (entry.kind !== 'folder' && !isInGit(entry.path)) files.set(entry.path, entry);
  const arrived = new Map<string, number>();
  for (const entry of list.changed) {
    if (files.has(entry.path) || isProtected(entry.path)) continue;
    const content = contentOf(entry);
    arrived.set(content, (arrived.get(content) ?? 0) + 1);
  }
  let lost = 0;
  for (const path of list.deleted) {
    const entry = files.get(path);
    if (entry === undefined) continue;
    const content = contentOf(entry);
    const copies = arrived.get(content) ?? 0;
    if (copies > 0) arrived.set(content, copies - 1);
    else lost += 1;
  }
  return { held, isMassDeletion: lost * 2 > files.size };
}

function contentOf(entry: ManifestEntry): string {
  return entry.kind === 'file' ? entry.hash : entry.kind === 'link' ? `link ${entry.target}` : 'folder';
}

/**
 * @param entry what the job made
 * @param sent what it was given, null where there was nothing
 */
export function decideWrite(
  entry: ManifestEntry,
  sent: ManifestEntry | null,
  local: LocalState,
  rules: ApplyRules,
): WriteDecision {
  if (isThere(entry, sent, local)) return { kind: 'there' };
  if (!isAsSent(sent, local)) return { kind: 'conflict' };
  // What a repository's place holds decides where its files are: no other node says that.
  if (isGitItself(entry.path)) return { kind: 'conflict' };
  const leadsOut = entry.kind === 'link' && !isPortableLink(entry.path, entry.target);
  if (!rules.held && (isProtected(entry.path) || leadsOut)) return { kind: 'held' };
  if (entry.kind !== 'file') return { kind: 'write', mode: 0 };
  if (sent?.kind !== 'file' || local.kind !== 'file') return { kind: 'write', mode: entry.mode };
  const mode = modeOf(entry.mode, sent.mode, local.mode);
  return mode === local.mode && local.hash === entry.hash ? { kind: 'conflict' } : { kind: 'write', mode };
}

/** @param sent null where nothing was sent: then the job can't have deleted it (a sparse checkout, an ignored file) */
export function decideDeletion(
  path: TreePath,
  sent: ManifestEntry | null,
  local: LocalState,
  rules: ApplyRules,
): DeleteDecision {
  if (sent === null) return { kind: 'never_sent' };
  if (local.kind === 'absent' || local.kind === 'blocked') return { kind: 'gone' };
  // What became a folder of others, here or in an apply that was cut off.
  if (local.kind === 'folder' && sent.kind !== 'folder') return { kind: 'gone' };
  if (!isAsSent(sent, local) || isGitItself(path)) return { kind: 'conflict' };
  if (!rules.held && (rules.isMassDeletion || isProtected(path))) return { kind: 'held' };
  return { kind: 'delete' };
}

/**
 * What lies here in the place of a product that the job found as an earlier one had made it. Here and on other slots it
 * may have been made anew since; which is the newer one, their times tell.
 *
 * @param modifiedMs of what lies here
 */
export function beforeEarlier(
  entry: ManifestEntry,
  local: LocalState,
  modifiedMs: number,
): 'same' | 'as_new' | 'older' | 'other' {
  if (isThere(entry, null, local)) return 'same';
  if (local.kind !== 'file' && local.kind !== 'link') return 'other';
  // Entries have no times of links.
  if (local.kind === 'link' || entry.kind !== 'file') return 'as_new';
  return Math.floor(modifiedMs) >= entry.mtimeMs ? 'as_new' : 'older';
}

/** Bits that were changed here meanwhile stay, else the job's hold. */
function modeOf(made: number, sent: number, local: number): number {
  return local === sent ? made : local;
}

function isThere(entry: ManifestEntry, sent: ManifestEntry | null, local: LocalState): boolean {
  switch (entry.kind) {
    case 'file':
      if (local.kind !== 'file' || local.hash !== entry.hash) return false;
      // Where the job changed nothing but the bits, these are what counts.
      return local.mode === entry.mode || sent?.kind !== 'file' || sent.hash !== entry.hash;
    case 'link':
      return local.kind === 'link' && local.target === entry.target;
    case 'folder':
      return local.kind === 'folder';
    default:
      return unreachable(entry);
  }
}

/** By content: bits alone lose nobody's work. */
function isAsSent(sent: ManifestEntry | null, local: LocalState): boolean {
  switch (local.kind) {
    case 'absent':
      return sent === null || sent.kind === 'folder';
    case 'file':
      return sent?.kind === 'file' && sent.hash === local.hash;
    case 'link':
      return sent?.kind === 'link' && sent.target === local.target;
    case 'folder':
      return sent?.kind === 'folder';
    case 'other':
    case 'blocked':
      return false;
    default:
      return unreachable(local);
  }
}

function isInGit(path: string): boolean {
  return path.startsWith('.git/') || path.includes('/.git/');
}

function isGitItself(path: string): boolean {
  return path === '.git' || path.endsWith('/.git');
}
