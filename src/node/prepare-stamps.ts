import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { z } from 'zod';
import { findExecutable } from '../adapters/os/tool-scan.ts';
import type { NodeProbe } from '../adapters/os/system-probe.ts';
import { systemCodeOf } from '../base/errors.ts';
import { isJobId, type JobId } from '../base/ids.ts';
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
/** A step that has begun, in the folder `tree`, as that job. */
const begunSchema = z.strictObject({ job: z.string().refine(isJobId), tree: z.string() });
const noteSchema = z.strictObject({
  v: z.literal(1),
  begun: begunSchema.nullable(),
  entries: z.array(entrySchema).max(ENTRIES_MAX),
});
type Note = z.infer<typeof noteSchema>;
const NO_NOTE: Note = { v: 1, begun: null, entries: [] };

type NoteFiles = Pick<WorkspaceFiles, 'readNote' | 'writeNote'>;

/** The note in a slot's folder that tells which steps were carried out there, and on what. */
export class PrepareNotes {
  readonly #files: NoteFiles;
  readonly #workspace: string;
  #note: Note;

  private constructor(files: NoteFiles, workspace: string, note: Note) {
    this.#files = files;
    this.#workspace = workspace;
    this.#note = note;
  }

  /** A note that cannot be read counts as none: then all is prepared again. */
  static async open(files: NoteFiles, workspace: string, log: Logger): Promise<PrepareNotes> {
    const text = await files.readNote(workspace, NOTE);
    if (text === null) return new PrepareNotes(files, workspace, NO_NOTE);
    const parsed = noteSchema.safeParse(parseJson(text));
    if (!parsed.success) log.warn('a note of what was prepared is damaged: it is prepared again', { workspace });
    return new PrepareNotes(files, workspace, parsed.success ? parsed.data : NO_NOTE);
  }

  get(step: PrepareStep): PrepareEntry | null {
    return this.#note.entries.find(({ key }) => key === keyOf(step)) ?? null;
  }

  /** What an earlier daemon began in this very folder and did not see the end of; a copy of a folder has its note too. */
  begunIn(tree: string): JobId | null {
    return this.#note.begun?.tree === tree ? this.#note.begun.job : null;
  }

  /** From here what it makes may be half made: nothing counts until `put`. */
  begin(step: PrepareStep, job: JobId, tree: string): Promise<void> {
    return this.#write({ v: 1, begun: { job, tree }, entries: this.#others(step) });
  }

  /** Nothing of it runs any more. */
  end(): Promise<void> {
    return this.#write({ ...this.#note, begun: null });
  }

  put(step: PrepareStep, entry: Omit<PrepareEntry, 'key'>): Promise<void> {
    const entries = [...this.#others(step), { key: keyOf(step), ...entry }].slice(-ENTRIES_MAX);
    return this.#write({ v: 1, begun: null, entries });
  }

  #others(step: PrepareStep): PrepareEntry[] {
    return this.#note.entries.filter(({ key }) => key !== keyOf(step));
  }

  async #write(note: Note): Promise<void> {
    this.#note = note;
    await this.#files.writeNote(this.#workspace, NOTE, JSON.stringify(note));
  }
}

export interface StampContext {
  readonly workspaceId: string;
  /** The workspace's root. */
  readonly tree: string;
  /** The PATH that the step is run with. */
  readonly path: string;
  readonly files: Pick<WorkspaceFiles, 'digest'>;
  readonly probe: Pick<NodeProbe, 'facts' | 'whenLooked'>;
}

/** A hash over everything that decides what a step makes: if it is another one, the step has to be run. */
export async function stampOf(step: PrepareStep, context: StampContext): Promise<string> {
  // Versions that come only after the node has started would make another stamp of the same tools.
  await context.probe.whenLooked();
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
