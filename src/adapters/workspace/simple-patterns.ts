/**
 * Most ignore files have nothing but names (`dist/`), endings (`*.o`) and single places (`/out`), which sets answer much
 * faster than expressions do. What has more than that (wildcards, negation) is left to the package `ignore`.
 */
export interface SimplePatterns {
  /** Of the ignore file, relative to its repository's top. */
  readonly folder: string;
  /** At any depth below the folder. */
  readonly names: ReadonlySet<string>;
  readonly folderNames: ReadonlySet<string>;
  /** With the dot. */
  readonly endings: ReadonlySet<string>;
  /** Relative to the top. */
  readonly places: ReadonlySet<string>;
  readonly folderPlaces: ReadonlySet<string>;
}

const NAME = /^[^\\*?[\]!#\s/]+(\/?)$/;
const ENDING = /^\*(\.[^\\*?[\]!#\s/.]+)$/;
const PLACE = /^\/?((?:[^\\*?[\]!#\s/]+\/)*[^\\*?[\]!#\s/]+)(\/?)$/;

/** @param patterns of gitignore(5). @returns null where one of them is more than simple */
export function simplePatterns(patterns: readonly string[], folder: string): SimplePatterns | null {
  const simple = {
    folder,
    names: new Set<string>(),
    folderNames: new Set<string>(),
    endings: new Set<string>(),
    places: new Set<string>(),
    folderPlaces: new Set<string>(),
  };
  for (const pattern of patterns) {
    const name = NAME.exec(pattern);
    const ending = ENDING.exec(pattern)?.[1];
    const place = PLACE.exec(pattern);
    if (name !== null) {
      if (name[1] === '') simple.names.add(pattern);
      else simple.folderNames.add(pattern.slice(0, -1));
    } else if (ending !== undefined) simple.endings.add(ending);
    else if (place?.[1] !== undefined) {
      const path = folder === '' ? place[1] : `${folder}/${place[1]}`;
      (place[2] === '' ? simple.places : simple.folderPlaces).add(path);
    } else return null;
  }
  return simple;
}

/** @param path relative to the top. True also where a folder above it is ignored */
export function isIgnoredBy(chain: readonly SimplePatterns[], path: string, isFolder: boolean): boolean {
  let start = 0;
  for (;;) {
    const slash = path.indexOf('/', start);
    const isLast = slash === -1;
    const name = isLast ? path.slice(start) : path.slice(start, slash);
    const isHere = chain.some(
      (patterns) =>
        (patterns.folder === '' || start > patterns.folder.length) &&
        matches(patterns, name, isLast ? path : path.slice(0, slash), isFolder || !isLast),
    );
    if (isHere) return true;
    if (isLast) return false;
    start = slash + 1;
  }
}

function matches(patterns: SimplePatterns, name: string, path: string, isFolder: boolean): boolean {
  if (patterns.names.has(name)) return true;
  if (patterns.endings.size > 0) {
    const dot = name.lastIndexOf('.');
    if (dot !== -1 && patterns.endings.has(name.slice(dot))) return true;
  }
  if (patterns.places.size > 0 && patterns.places.has(path)) return true;
  return isFolder && (patterns.folderNames.has(name) || patterns.folderPlaces.has(path));
}
