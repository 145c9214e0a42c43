import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

/** The layers of ARCHITECTURE.md, checked from the source. A rule here is stated there too. */
const ROOT = resolve(import.meta.dirname, '../../src');
const FILE_LINES_MAX = 400;
const BANNED_NAMES = /(^|-)(utils?|helpers?|common|managers?|misc)(-|\.ts$)/;

/** What each layer may import from inside src; its own folder is always allowed. */
const MAY_IMPORT: Record<string, (target: string, from: string) => boolean> = {
  base: () => false,
  wire: (target) => under(target, 'base'),
  core: (target) => under(target, 'base', 'wire'),
  ports: (target) => under(target, 'base', 'wire', 'core'),
  // The pure rules of workspaces are carried out in a thread of that adapter.
  adapters: (target, from) =>
    under(target, 'base', 'wire', 'ports') ||
    (from.startsWith('adapters/workspace/') && under(target, 'core/workspace')),
  node: (target) => under(target, 'base', 'wire', 'core', 'ports', 'adapters'),
  front: (target) => under(target, 'base') || /^node\/api-[a-z-]+\.ts$/.test(target),
  runner: (target) => under(target, 'base', 'wire', 'adapters/process'),
  'main.ts': () => true,
};

/** The packages that each layer may use. `node:` stands for Node.js itself. */
const MAY_USE: Record<string, RegExp> = {
  base: /^$/,
  wire: /^zod$/,
  core: /^$/,
  ports: /^$/,
  adapters: /./,
  node: /^(node:.*|zod|pino|smol-toml|env-paths)$/,
  front: /^(node:.*|commander|zod|@modelcontextprotocol\/sdk.*)$/,
  runner: /^node:.*$/,
  'main.ts': /^node:.*$/,
};

/** What the pure layers never name: time, randomness and I/O come in as values. */
const PURE = ['base', 'wire', 'core', 'ports'];
const IMPURE =
  /\b(Date\.now|new Date\(\)|Math\.random|performance\.now|setTimeout|setInterval|setImmediate|queueMicrotask|process\.|console\.)/;

const under = (target: string, ...folders: string[]): boolean =>
  folders.some((folder) => target === folder || target.startsWith(`${folder}/`));

interface Source {
  readonly path: string;
  readonly text: string;
  readonly code: string;
  readonly imports: readonly { readonly specifier: string; readonly typeOnly: boolean }[];
}

const sources = list(ROOT).map(read);

function list(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? list(path) : path.endsWith('.ts') ? [path] : [];
  });
}

function read(path: string): Source {
  const text = readFileSync(path, 'utf8');
  const code = text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|\s)\/\/.*$/gm, '');
  const imports = [
    ...code.matchAll(
      /^(?:import|export)\s+(type\s)?[^'";]*?from\s+'([^']+)'|import\('([^']+)'\)|^import\s+'([^']+)'/gm,
    ),
  ].map((match) => ({ specifier: match[2] ?? match[3] ?? match[4] ?? '', typeOnly: match[1] !== undefined }));
  return { path: relative(ROOT, path), text, code, imports };
}

const layerOf = (path: string): string => path.split('/')[0] ?? '';

function targetOf(source: Source, specifier: string): string | null {
  return specifier.startsWith('.') ? relative(ROOT, resolve(ROOT, dirname(source.path), specifier)) : null;
}

describe('the layers', () => {
  it('has sources in every layer', () => {
    expect(sources.length).toBeGreaterThan(20);
    expect(new Set(sources.map((source) => layerOf(source.path)))).toEqual(new Set(Object.keys(MAY_IMPORT)));
  });

  it('imports only downwards, and no adapter knows another', () => {
    const wrong = sources.flatMap((source) =>
      source.imports.flatMap(({ specifier }) => {
        const target = targetOf(source, specifier);
        if (target === null) return [];
        const layer = layerOf(source.path);
        const own = layer === 'adapters' || layer === 'front' ? source.path.split('/').slice(0, 2).join('/') : layer;
        return under(target, own) || MAY_IMPORT[layer]?.(target, source.path) === true
          ? []
          : [`${source.path} imports ${target}`];
      }),
    );
    expect(wrong).toEqual([]);
  });

  it('uses only the packages of its layer', () => {
    const wrong = sources.flatMap((source) =>
      source.imports
        .filter(({ specifier }) => !specifier.startsWith('.'))
        .filter(({ specifier }) => MAY_USE[layerOf(source.path)]?.test(specifier) !== true)
        .map(({ specifier }) => `${source.path} uses ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  it('has no import cycles', () => {
    const graph = new Map(
      sources.map((source) => [
        source.path,
        source.imports
          .filter(({ typeOnly }) => !typeOnly)
          .flatMap(({ specifier }) => targetOf(source, specifier) ?? []),
      ]),
    );
    const done = new Set<string>();
    const visit = (path: string, trail: readonly string[]): string[] => {
      if (trail.includes(path)) return [[...trail.slice(trail.indexOf(path)), path].join(' -> ')];
      if (done.has(path)) return [];
      const found = (graph.get(path) ?? []).flatMap((next) => visit(next, [...trail, path]));
      done.add(path);
      return found;
    };
    expect([...graph.keys()].flatMap((path) => visit(path, []))).toEqual([]);
  });
});

describe('the house rules', () => {
  it('keeps clocks, randomness and I/O out of the pure layers', () => {
    const wrong = sources
      .filter((source) => PURE.includes(layerOf(source.path)))
      .flatMap((source) => (IMPURE.test(source.code) ? [`${source.path}: ${IMPURE.exec(source.code)?.[0]}`] : []));
    expect(wrong).toEqual([]);
  });

  it(`keeps files at or under ${FILE_LINES_MAX} lines and free of catch-all names`, () => {
    const wrong = sources.flatMap((source) => {
      const lines = source.text.split('\n').length - 1;
      const name = source.path.split('/').at(-1) ?? '';
      return [
        ...(lines > FILE_LINES_MAX ? [`${source.path} has ${lines} lines`] : []),
        ...(BANNED_NAMES.test(name) || !/^[a-z0-9-]+\.ts$/.test(name) ? [`${source.path}: name`] : []),
      ];
    });
    expect(wrong).toEqual([]);
  });

  it('has no any, no enum, no swallowed error, nothing left for later', () => {
    const banned =
      /:\s*any\b|\bas any\b|<any>|\benum\s+[A-Z]|catch\s*(\([^)]*\))?\s*\{\s*\}|\.catch\(\(\)\s*=>\s*(\{\s*\}|undefined|null)\)|@ts-(ignore|expect-error|nocheck)/;
    const later = /\b(TODO|FIXME|XXX|HACK)\b/;
    const wrong = sources.flatMap((source) => {
      const hit = banned.exec(source.code) ?? later.exec(source.text);
      return hit === null ? [] : [`${source.path}: ${hit[0]}`];
    });
    expect(wrong).toEqual([]);
  });

  it('never starts a front without the API: deleting front/mcp breaks nothing else', () => {
    const wrong = sources.flatMap((source) =>
      source.imports.flatMap(({ specifier }) => {
        const target = targetOf(source, specifier);
        const outside = !under(source.path, 'front/mcp') && source.path !== 'main.ts';
        return target !== null && under(target, 'front/mcp') && outside ? [`${source.path} imports ${target}`] : [];
      }),
    );
    expect(wrong).toEqual([]);
  });
});

describe('the package', () => {
  const manifest = JSON.parse(readFileSync(join(ROOT, '../package.json'), 'utf8')) as Record<
    string,
    Record<string, string>
  >;

  it('pins every dependency exactly', () => {
    const all = Object.entries({ ...manifest['dependencies'], ...manifest['devDependencies'] });
    expect(all.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
  });

  it('justifies every dependency by a line in ARCHITECTURE.md', () => {
    const text = readFileSync(join(ROOT, '../ARCHITECTURE.md'), 'utf8');
    const names = Object.keys({ ...manifest['dependencies'], ...manifest['devDependencies'] });
    expect(names.filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
  });
});
