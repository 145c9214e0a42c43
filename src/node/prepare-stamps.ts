import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { z } from 'zod';
import { findExecutable } from '../adapters/os/tool-scan.ts';
import type { NodeProbe } from '../adapters/os/system-probe.ts';
import { systemCodeOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { isMovable, runtimeOf } from '../core/workspace/package-recipes.ts';
import type { WorkspaceFiles } from '../ports/workspace.ts';
import { PREPARE_INPUTS_MAX, type PrepareStep } from '../wire/workspace.ts';

/** The name of the note in the slot's folder. */
const NOTE = 'prepare';
/** Steps remembered of one folder; the latest stay. */
const ENTRIES_MAX = 64;

/** What a step left behind when it last went well. */
const entrySchema = z.strictObject({
  key: z.string().max(64),
  stamp: z.string().max(64),
  /** The absolute path of the root then: an environment of Python works nowhere else. */
  tree: z.string(),
  /** What was there afterwards of what the step should make: it is missed when it is gone. */
  made: z.array(z.string()).max(PREPARE_INPUTS_MAX),
});
export type PrepareEntry = z.infer<typeof entrySchema>;
const noteSchema = z.strictObject({ v: z.literal(1), entries: z.array(entrySchema).max(ENTRIES_MAX) });

type NoteFiles = Pick<WorkspaceFiles, 'readNote' | 'writeNote'>;

/** The note in a slot's folder that tells which steps were carried out there, and on what. */
export class PrepareNotes {
  readonly #files: NoteFiles;
  readonly #workspace: string;
  #entries: readonly PrepareEntry[];

  private constructor(files: NoteFiles, workspace: string, entries: readonly PrepareEntry[]) {
    this.#files = files;
    this.#workspace = workspace;
    this.#entries = entries;
  }

  /** A note that cannot be read counts as none: then all is prepared again. */
  static async open(files: NoteFiles, workspace: string, log: Logger): Promise<PrepareNotes> {
    const text = await files.readNote(workspace, NOTE);
    if (text === null) return new PrepareNotes(files, workspace, []);
    const parsed = noteSchema.safeParse(parseJson(text));
    if (!parsed.success) log.warn('a note of what was prepared is damaged: it is prepared again', { workspace });
    return new PrepareNotes(files, workspace, parsed.success ? parsed.data.entries : []);
  }

  get(step: PrepareStep): PrepareEntry | null {
    return this.#entries.find(({ key }) => key === keyOf(step)) ?? null;
  }

  async remove(step: PrepareStep): Promise<void> {
    if (this.get(step) !== null) await this.#write(this.#others(step));
  }

  async put(step: PrepareStep, entry: Omit<PrepareEntry, 'key'>): Promise<void> {
    await this.#write([...this.#others(step), { key: keyOf(step), ...entry }].slice(-ENTRIES_MAX));
  }

  #others(step: PrepareStep): readonly PrepareEntry[] {
    return this.#entries.filter(({ key }) => key !== keyOf(step));
  }

  async #write(entries: readonly PrepareEntry[]): Promise<void> {
    this.#entries = entries;
    await this.#files.writeNote(this.#workspace, NOTE, JSON.stringify({ v: 1, entries }));
  }
}

export interface StampContext {
  readonly workspaceId: string;
  /** The workspace's root. */
  readonly tree: string;
  /** The PATH that the step is run with. */
  readonly path: string;
  readonly files: Pick<WorkspaceFiles, 'digest'>;
  readonly probe: Pick<NodeProbe, 'facts'>;
}

/** A hash over everything that decides what a step makes: if it is another one, the step has to be run. */
export async function stampOf(step: PrepareStep, context: StampContext): Promise<string> {
  const { os, arch, tools } = context.probe.facts();
  const runtime = runtimeOf(step.tool);
  const inputs = await context.files.digest(context.workspaceId, step.inputs);
  const versionOf = (tool: string | null): Promise<string> | string =>
    tool === null || tool === '' ? '' : tools[tool] || identityOf(tool, context.path);
  return hash([
    step.run,
    step.folder,
    step.inputs.map((path, at) => [path, inputs[at] ?? null]),
    [os, arch, await versionOf(step.tool), await versionOf(runtime)],
    isMovable(step.tool) ? '' : context.tree,
  ]);
}

/** Of a tool that nobody asks for its version: which file it is. '' where it is missing. */
async function identityOf(tool: string, path: string): Promise<string> {
  const file = await findExecutable(tool, path);
  if (file === null) return '';
  try {
    const { ino, size, mtimeMs } = await stat(file);
    return `${file} ${ino} ${size} ${mtimeMs}`;
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return '';
    throw error;
  }
}

const keyOf = (step: PrepareStep): string => hash([step.folder, step.run]);

function hash(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
