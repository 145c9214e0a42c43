import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { messageOf, systemCodeOf } from '../base/errors.ts';
import type { NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { Project } from '../ports/workspace.ts';
import { PATH_CHARS_MAX } from '../wire/job-spec.ts';
import { manifestHashSchema, type ManifestHash } from '../wire/manifest.ts';
import { nodeIdSchema } from '../wire/trust.ts';
import { projectKeySchema } from '../wire/workspace.ts';

export const PROJECTS_MAX = 256;
const NODES_MAX = 32;
const WHAT_CHARS_MAX = 500;
const PRODUCTS_MAX = 64;

const factsSchema = z.strictObject({
  key: projectKeySchema,
  root: z.string().max(PATH_CHARS_MAX),
  /** By node, in order of use: what it was last made to be there. */
  warm: z.array(z.strictObject({ node: nodeIdSchema, manifest: manifestHashSchema })).max(NODES_MAX),
  /** Where the newest ignored products are, where that is not here. */
  products_at: z
    .strictObject({
      node: nodeIdSchema,
      what: z.string().max(WHAT_CHARS_MAX),
      /** The highest ignored folders and files that jobs left there, relative to the root. */
      paths: z.array(z.string().max(PATH_CHARS_MAX)).max(PRODUCTS_MAX),
    })
    .nullable(),
});
export type ProductsAt = NonNullable<z.infer<typeof factsSchema>['products_at']>;
type ProjectFacts = z.infer<typeof factsSchema>;
type Named = Pick<Project, 'key' | 'root'>;
const fileSchema = z.array(factsSchema).max(PROJECTS_MAX);

/** What this node remembers of its own projects: `MESHWORK_HOME/workspaces/projects.json`. Of more, the least used goes. */
export class ProjectBook {
  readonly #path: string;
  readonly #log: Logger;
  /** In order of use. */
  readonly #projects = new Map<string, ProjectFacts>();
  /** The project that was used last in this life. */
  #latest: string | null = null;

  /** Never throws: what is not known costs time, not correctness. */
  constructor(path: string, log: Logger) {
    this.#path = path;
    this.#log = log;
    try {
      const parsed = fileSchema.safeParse(JSON.parse(readFileSync(path, 'utf8')));
      if (parsed.success) for (const facts of parsed.data) this.#projects.set(facts.key, facts);
      else log.warn('what was known of projects is not understood, and forgotten', { path });
    } catch (error) {
      if (systemCodeOf(error) !== 'ENOENT') log.warn('what was known of projects is lost', { error: messageOf(error) });
    }
  }

  warm({ key }: Named): readonly { readonly node: NodeId; readonly manifest: ManifestHash }[] {
    return this.#projects.get(key)?.warm ?? [];
  }

  productsAt({ key }: Named): ProductsAt | null {
    return this.#projects.get(key)?.products_at ?? null;
  }

  /** The project that a directory here lies in, where its newest products are elsewhere. */
  awayFrom(cwd: string): Named | null {
    for (const facts of this.#projects.values()) {
      if (facts.products_at !== null && (cwd === facts.root || cwd.startsWith(`${facts.root}/`))) return facts;
    }
    return null;
  }

  sentTo(project: Named, node: NodeId, manifest: ManifestHash): void {
    const facts = this.#factsOf(project);
    const latest = facts.warm.at(-1);
    // As after most jobs: a write would be for nothing, and holds the daemon up for milliseconds.
    if (this.#latest === project.key && latest?.node === node && latest.manifest === manifest) return;
    const others = facts.warm.filter((one) => one.node !== node);
    this.#put({ ...facts, warm: [...others, { node, manifest }].slice(-NODES_MAX) });
  }

  /** @param what for people; null: they are here, or nowhere */
  productsAre(project: Named, at: ProductsAt | null): void {
    if (at === null && this.productsAt(project) === null) return;
    if (at === null) return this.#put({ ...this.#factsOf(project), products_at: null });
    // As another node told them: what could not be read again would be lost with all that is in the file.
    const paths = at.paths.filter((path) => path.length <= PATH_CHARS_MAX).slice(0, PRODUCTS_MAX);
    const what = at.what.slice(0, WHAT_CHARS_MAX);
    this.#put({ ...this.#factsOf(project), products_at: { node: at.node, what, paths } });
  }

  #factsOf({ key, root }: Named): ProjectFacts {
    return this.#projects.get(key) ?? { key, root, warm: [], products_at: null };
  }

  #put(facts: ProjectFacts): void {
    this.#projects.delete(facts.key);
    this.#projects.set(facts.key, facts);
    this.#latest = facts.key;
    for (const oldest of this.#projects.keys()) {
      if (this.#projects.size <= PROJECTS_MAX) break;
      this.#projects.delete(oldest);
    }
    try {
      writeWhole(this.#path, [...this.#projects.values()]);
    } catch (error) {
      this.#log.warn('what is known of projects cannot be written', { error: messageOf(error) });
    }
  }
}

/** @throws a system error */
export function writeWhole(path: string, value: unknown): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(`${path}.new`, JSON.stringify(value, null, 1), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
