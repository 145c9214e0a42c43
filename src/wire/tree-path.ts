import { isUtf8, textOfBytes } from '../base/byte-text.ts';
import { escapeControls } from '../base/escape.ts';
import { err, ok, type Result } from '../base/result.ts';
import { TREE_PATH_BYTES_MAX, type ManifestEntry, type TreePath } from './manifest.ts';

/**
 * Which paths a manifest or a change pack may name. Every path comes through here, from the disk and from other nodes:
 * nothing else makes a TreePath.
 */

const SLASH = 0x2f;
const DOT = 0x2e;
const SHOWN_BYTES_MAX = 200;
const NOT_BYTES = /[^\0-\xff]/;
/** Code points that HFS+ leaves out of names when it compares them (CVE-2014-9390). */
const INVISIBLE = /[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g;
/** What NTFS takes for `.git` too: its short name, dots and spaces at the end, streams. */
const TAKEN_FOR_GIT = /^(?:\.git|git~1)[. ]*(?::.*)?$/;

/** One name within `.git` that has no folder: HEAD, MERGE_HEAD, ORIG_HEAD, FETCH_HEAD, AUTO_MERGE, MERGE_MSG … */
const GIT_FILE = /^(?:[A-Z]+(?:_[A-Z]+)*|packed-refs|shallow|index|config)$/;
const GIT_INFO = /^info\/(?:exclude|attributes|sparse-checkout|grafts)$/;
const GIT_OBJECT =
  /^objects\/(?:[0-9a-f]{2}\/(?:[0-9a-f]{38}|[0-9a-f]{62})|pack\/(?:pack-[0-9a-f]+\.[a-z]+|multi-pack-index(?:-[0-9a-f]+\.[a-z]+)?)|info\/(?:packs|commit-graph|commit-graphs\/[a-z0-9.-]+))$/;
/** No part begins with a dot (git-check-ref-format), and none is a lock. */
const GIT_REF = /^(?:refs|reftable)(?:\/(?!\.)(?![^/]*\.lock(?:\/|$))[^/]+)+$/;
/** What makes a folder a repository, and what `git init` makes in one, where it holds nothing that travels. */
const GIT_FOLDER = /^(?:objects|objects\/info|objects\/pack|refs|refs\/heads|refs\/tags|reftable|hooks|info|branches)$/;

const PROTECTED = new Set(['.git', '.claude', '.mcp.json', '.vscode', '.idea', '.envrc', '.husky', '.meshwork.toml']);

/**
 * A path below a root, of a manifest.
 *
 * @param bytes one character per byte
 * @returns the refusal names the path and says what is wrong with it
 */
export function parseTreePath(bytes: string): Result<TreePath, string> {
  const wrong = wrongWithPath(bytes);
  return wrong === null ? ok(trusted(bytes)) : err(`${shownPath(bytes)} ${wrong}`);
}

/** As `parseTreePath`, for what a job changed: below `.git` everything is allowed, since it is held back (`isProtected`). */
export function parseChangedPath(bytes: string): Result<TreePath, string> {
  const wrong = wrongWithParts(bytes);
  return wrong === null ? ok(trusted(bytes)) : err(`${shownPath(bytes)} ${wrong}`);
}

/** @returns what forbids the path in a manifest, null where nothing does: then it is a TreePath */
export function wrongWithPath(bytes: string): string | null {
  const plain = wrongWithParts(bytes);
  if (plain !== null) return plain;
  const inside = insideGit(bytes);
  return inside === null || isGitContent(inside) ? null : 'is not among the files of .git that travel';
}

/** @returns what forbids an entry of that kind where the path is allowed: within `.git` there are no links */
export function wrongWithKind(path: string, kind: ManifestEntry['kind']): string | null {
  const inside = insideGit(path);
  if (inside === null || kind === 'folder') return null;
  if (kind === 'link') return 'is a link within .git';
  return GIT_FOLDER.test(inside) ? 'is a file in the place of a folder of .git' : null;
}

/** What only `meshwork apply` writes or deletes: what tools run or trust without asking. At any depth, in any case. */
export function isProtected(path: TreePath): boolean {
  // All of them begin with a dot; names that HFS+ or NTFS take for one of them may begin otherwise.
  if (!path.includes('.') && !/git~1/i.test(path)) return false;
  return path.split('/').some((part) => PROTECTED.has(foldedName(part)) || TAKEN_FOR_GIT.test(foldedName(part)));
}

/**
 * Two paths with the same key are one file where a file system folds case or normalises names (APFS, HFS+, ext4 with
 * casefold). Paths that aren't UTF-8 have keys of their own.
 */
export function foldedPath(path: string): string {
  if (/^[\0-\x7f]*$/.test(path)) return path.toLowerCase();
  if (!isUtf8(path)) return `\0${path}`;
  // Upper and back is close to full case folding: ß and SS, the Kelvin sign and k.
  return textOfBytes(path).normalize('NFD').toUpperCase().toLowerCase().normalize('NFC');
}

/**
 * The portable rule for links: relative, and by its words within the root. What it leads to over other links isn't
 * asked: nothing is ever written through a link. At the origin a link that breaks the rule is left out, with a notice;
 * one that a job made is held back.
 */
export function isPortableLink(path: TreePath, target: string): boolean {
  if (target === '' || target.startsWith('/') || target.includes('\0') || NOT_BYTES.test(target)) return false;
  if (target.length > TREE_PATH_BYTES_MAX) return false;
  let depth = path.split('/').length - 1;
  for (const part of target.split('/')) {
    if (part === '' || part === '.') continue;
    depth += part === '..' ? -1 : 1;
    if (depth < 0) return false;
  }
  return true;
}

/** The folder that a path lies in, '' for the root. */
export function folderOf(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf('/'), 0));
}

function wrongWithParts(bytes: string): string | null {
  if (bytes === '') return 'is empty';
  if (bytes.length > TREE_PATH_BYTES_MAX) return `has more than ${TREE_PATH_BYTES_MAX} bytes`;
  if (bytes.charCodeAt(0) === SLASH) return 'is absolute';
  let start = 0;
  let isSuspect = false;
  for (let at = 0; at <= bytes.length; at++) {
    const code = at === bytes.length ? SLASH : bytes.charCodeAt(at);
    if (code === SLASH) {
      const wrong = wrongWithPart(bytes, start, at, isSuspect);
      if (wrong !== null) return wrong;
      start = at + 1;
      isSuspect = false;
    } else if (code === 0) return 'has a NUL byte';
    else if (code > 0xff) return 'is not made of bytes';
    // The first byte of every code point that HFS+ leaves out.
    else if (code === 0xe2 || code === 0xef) isSuspect = true;
  }
  return null;
}

function wrongWithPart(bytes: string, start: number, end: number, isSuspect: boolean): string | null {
  if (start === end) return 'has an empty part';
  const first = bytes.charCodeAt(start);
  if (first === DOT) {
    if (end - start === 1) return "has '.' as a part";
    if (end - start === 2 && bytes.charCodeAt(start + 1) === DOT) return "has '..' as a part";
  }
  // Cheap for the many: only what begins as '.g' or 'g' can be taken for .git, or has invisible code points.
  const letter = bytes.charCodeAt(first === DOT ? start + 1 : start) | 0x20;
  if (letter !== 0x67 && !isSuspect) return null;
  const part = bytes.slice(start, end);
  if (part === '.git') return null;
  return TAKEN_FOR_GIT.test(foldedName(part))
    ? `has '${shownPath(part)}' as a part, which some file systems take for .git`
    : null;
}

function foldedName(part: string): string {
  return foldedPath(part).replaceAll(INVISIBLE, '');
}

/** What follows the first `.git` part: '' for that part itself, null where there is none. */
function insideGit(path: string): string | null {
  if (!path.includes('.git')) return null;
  const at = path === '.git' || path.startsWith('.git/') ? 0 : nestedGitAt(path);
  return at < 0 ? null : path.slice(at + '.git/'.length);
}

function nestedGitAt(path: string): number {
  const at = path.indexOf('/.git/');
  if (at >= 0) return at + 1;
  return path.endsWith('/.git') ? path.length - '.git'.length : -1;
}

function isGitContent(inside: string): boolean {
  return (
    GIT_FILE.test(inside) ||
    GIT_OBJECT.test(inside) ||
    GIT_REF.test(inside) ||
    GIT_INFO.test(inside) ||
    GIT_FOLDER.test(inside)
  );
}

function trusted(bytes: string): TreePath {
  return bytes as TreePath;
}

/** A path in a message for people. */
export function shownPath(bytes: string): string {
  const text = escapeControls(textOfBytes(bytes.slice(0, SHOWN_BYTES_MAX)));
  return bytes.length > SHOWN_BYTES_MAX ? `${text}…` : text;
}
