import { lstatSync } from 'node:fs';
import { textOfBytes } from '../../base/byte-text.ts';
import { CHANGES_SHOWN_CHARS_MAX, LEFT_THERE_MAX, type LeftThere } from '../../wire/changes.ts';
import { TREE_PATH_BYTES_MAX } from '../../wire/manifest.ts';
import type { OutputGlobs } from './output-globs.ts';
import { at, namesIn, type TreeFolders } from './tree-folders.ts';
import type { Turn } from './turn.ts';

/** Looked at for what a job left; the counts of what lies beyond are too low. */
const FILES_LOOKED_AT_MAX = 200_000;
/** Tools make these for themselves. */
const CACHES = new Set([
  '__pycache__',
  '.cache',
  '.pytest_cache',
  '.mypy_cache',
  '.ruff_cache',
  '.turbo',
  '.parcel-cache',
  '.vite',
  '.gradle',
  '.tox',
  '.nox',
  '.eslintcache',
  '.DS_Store',
]);

export interface Product {
  readonly path: string;
  readonly isFolder: boolean;
}

/** What a walk of ignored files found. */
export interface ProductFindings {
  readonly leftThere: readonly LeftThere[];
  /** How many there are beyond those. */
  readonly leftMore: number;
  /** Files and links that `outputs` names. */
  readonly outputs: readonly string[];
  /** Those of them that were there before the job, as they are. */
  readonly earlier: ReadonlySet<string>;
  /** False where there were so many that some were not looked at. */
  readonly isComplete: boolean;
}

/**
 * Looks through ignored products.
 *
 * @param products the highest ignored folders and files
 * @param prepared folders that were prepared, relative to the root
 * @param sinceMs what changed later was made by the job
 */
export async function lookThroughProducts(
  folders: TreeFolders,
  products: readonly Product[],
  settings: { readonly outputs: OutputGlobs; readonly prepared: readonly string[]; readonly sinceMs: number },
  turn: Turn,
): Promise<ProductFindings> {
  const leftThere: LeftThere[] = [];
  const outputs: string[] = [];
  const earlier = new Set<string>();
  const prepared = new Set(settings.prepared);
  let budget = FILES_LOOKED_AT_MAX;
  for (const product of products) {
    const mayBeOutput = product.isFolder
      ? settings.outputs.mayMatchBelow(product.path)
      : settings.outputs.matches(product.path);
    if (isLeftOut(product.path, prepared) && !mayBeOutput) continue;
    const counts = { files: 0, bytes: 0 };
    for await (const file of filesOf(folders, product, turn)) {
      if (budget-- <= 0) break;
      const isOfNow = file.ctimeMs >= settings.sinceMs;
      if (settings.outputs.matches(file.path)) {
        outputs.push(file.path);
        if (!isOfNow) earlier.add(file.path);
      } else if (isOfNow && !isLeftOut(file.path, prepared)) {
        counts.files++;
        counts.bytes += file.bytes;
      }
    }
    if (counts.files > 0) leftThere.push({ path: textOfBytes(product.path), ...counts });
  }
  leftThere.sort((a, b) => b.bytes - a.bytes);
  let chars = 0;
  const first = leftThere.slice(0, LEFT_THERE_MAX);
  const shown = first.filter(({ path }) => (chars += path.length) <= CHANGES_SHOWN_CHARS_MAX);
  return { leftThere: shown, leftMore: leftThere.length - shown.length, outputs, earlier, isComplete: budget > 0 };
}

function isLeftOut(path: string, prepared: ReadonlySet<string>): boolean {
  const parts = path.split('/');
  let above = '';
  for (const part of parts) {
    above = above === '' ? part : `${above}/${part}`;
    if (CACHES.has(part) || prepared.has(above)) return true;
  }
  return path.endsWith('.pyc');
}

interface FoundFile {
  readonly path: string;
  readonly bytes: number;
  readonly ctimeMs: number;
}

async function* filesOf(folders: TreeFolders, product: Product, turn: Turn): AsyncGenerator<FoundFile> {
  if (!product.isFolder) {
    const slash = product.path.lastIndexOf('/');
    const found = fileAt(folders.enter(product.path.slice(0, Math.max(slash, 0))), product.path, slash + 1);
    if (found !== null) yield found;
    return;
  }
  const waiting = [product.path];
  for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
    if (turn.isOver()) await turn.pass();
    const prefix = folders.enter(folder);
    if (prefix === null) continue;
    for (const entry of namesIn(prefix)) {
      const path = `${folder}/${entry.name.toString('latin1')}`;
      if (path.length > TREE_PATH_BYTES_MAX) continue;
      if (entry.isDirectory()) waiting.push(path);
      else {
        const found = fileAt(prefix, path, folder.length + 1);
        if (found !== null) yield found;
      }
    }
  }
}

/** Null for what is neither file nor link, or gone. */
function fileAt(prefix: string | null, path: string, nameAt: number): FoundFile | null {
  if (prefix === null) return null;
  const stat = lstatSync(at(prefix, path.slice(nameAt)), { throwIfNoEntry: false });
  if (stat === undefined || !(stat.isFile() || stat.isSymbolicLink())) return null;
  return { path, bytes: stat.size, ctimeMs: stat.ctimeMs };
}
