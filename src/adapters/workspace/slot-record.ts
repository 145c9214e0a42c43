import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { systemCodeOf } from '../../base/errors.ts';
import { ATTEMPTS_MAX, jobIdSchema } from '../../wire/jobs.ts';
import { type ManifestHash, manifestHashSchema } from '../../wire/manifest.ts';
import { ignoreRulesSchema } from '../../wire/workspace.ts';

/** What is kept of a project beside its slots. */
const projectRecordSchema = z.object({ label: z.string().min(1), root: z.string() });
export type ProjectRecord = z.infer<typeof projectRecordSchema>;

export const slotRecordSchema = z.object({
  /** The tree's name in the slot's folder. */
  folder: z.string().min(1),
  /** What was last placed completely; null: nothing yet. */
  manifest: manifestHashSchema.nullable(),
  /** Null: free. */
  lease: z.object({ job: jobIdSchema, attempt: z.int().min(1).max(ATTEMPTS_MAX) }).nullable(),
  usedMs: z.number(),
  /** How the tree's ignored files are told from others. */
  rules: ignoreRulesSchema,
  isGit: z.boolean(),
  /** What the job that has it asked for; null: it is free, or all is placed. */
  wanted: z.object({ manifest: manifestHashSchema, clean: z.boolean(), quotaBytes: z.number() }).nullable(),
  /** On the disk, when that was last measured. */
  bytes: z.number(),
  measuredMs: z.number(),
});
export type SlotRecord = z.infer<typeof slotRecordSchema>;

export const PRIVATE_FOLDER_MODE = 0o700;
const PRIVATE_FILE_MODE = 0o600;

/** Where things of one slot are. Nothing but the tree is in `holder`: a job that looks at `..` finds no records. */
export class SlotPaths {
  readonly name: string;
  readonly holder: string;
  readonly meta: string;

  constructor(project: string, name: string) {
    this.name = name;
    this.holder = join(project, name);
    this.meta = join(project, `${name}.slot`);
  }

  get record(): string {
    return join(this.meta, 'slot.json');
  }
  /** An encoded manifest: the one that is placed, or the one that comes. */
  manifest(hash: ManifestHash): string {
    return join(this.meta, `manifest-${hash}`);
  }
  get state(): string {
    return join(this.meta, 'state');
  }
  get notes(): string {
    return join(this.meta, 'notes');
  }
  get trash(): string {
    return join(this.meta, 'trash');
  }
  /** For files that are then renamed into the tree. */
  get scratch(): string {
    return join(this.meta, 'scratch');
  }
  tree(record: SlotRecord): string {
    return join(this.holder, record.folder);
  }
}

/**
 * Replaces a file whole or not at all, as `readReplaced` reads it. Without fsync: what a power cut takes is made again by
 * a sync. On a full disk what isn't longer is written over what is there, since a slot must be given back then too.
 */
export function replaceFile(path: string, content: string | Uint8Array): void {
  const bytes = Buffer.from(content);
  const temporary = temporaryOf(path);
  try {
    writeBytes(openSync(temporary, 'w', PRIVATE_FILE_MODE), bytes);
  } catch (error) {
    rmSync(temporary, { force: true });
    const there = statSync(path, { throwIfNoEntry: false });
    if (!isDiskFull(error) || there === undefined || there.size < bytes.length) throw error;
    writeBytes(openSync(path, 'r+'), bytes);
    truncateSync(path, bytes.length);
    return;
  }
  putInPlace(path);
}

function writeBytes(fd: number, bytes: Buffer): void {
  try {
    for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
  } finally {
    closeSync(fd);
  }
}

const temporaryOf = (path: string): string => `${path}.tmp`;

/**
 * Ends a replacement whose temporary file, `path`.tmp, is complete. Renamed over the old file it would be forced to the disk
 * (ext4, auto_da_alloc), which takes milliseconds: so that one goes first.
 */
export function putInPlace(path: string): void {
  rmSync(path, { force: true });
  renameSync(temporaryOf(path), path);
}

/** @returns null where there is none. A crash between the two steps of `putInPlace` leaves the temporary file alone */
export function readReplaced(path: string): Buffer | null {
  for (const file of [path, temporaryOf(path)]) {
    try {
      return readFileSync(file);
    } catch (error) {
      if (systemCodeOf(error) !== 'ENOENT' && systemCodeOf(error) !== 'ENOTDIR') throw error;
    }
  }
  return null;
}

export const isDiskFull = (error: unknown): boolean => ['ENOSPC', 'EDQUOT'].includes(systemCodeOf(error));

/** @returns null where there is none, or it can't be understood: such a slot is made anew */
export function readSlotRecord(paths: SlotPaths): SlotRecord | null {
  return readRecord(paths.record, slotRecordSchema);
}

export function writeSlotRecord(paths: SlotPaths, record: SlotRecord): void {
  mkdirSync(paths.meta, { recursive: true, mode: PRIVATE_FOLDER_MODE });
  replaceFile(paths.record, JSON.stringify(record));
}

const projectFile = (project: string): string => join(project, 'project.json');

export function readProjectRecord(project: string): ProjectRecord | null {
  return readRecord(projectFile(project), projectRecordSchema);
}

export function writeProjectRecord(project: string, record: ProjectRecord): void {
  replaceFile(projectFile(project), JSON.stringify(record));
}

function readRecord<T>(path: string, schema: z.ZodType<T>): T | null {
  try {
    const bytes = readReplaced(path);
    const parsed = bytes === null ? null : schema.safeParse(JSON.parse(bytes.toString('utf8')));
    return parsed?.success === true ? parsed.data : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

const LABEL_BYTES_MAX = 200;
const LABEL_BYTE_LAST = /[\u{fffd}]+$/u;

/** A project's own name as one part of a path here. */
export function folderNameOf(label: string): string {
  const plain = label.replaceAll(/[/\\\p{Cc}]/gu, '_');
  const cut = Buffer.from(plain).subarray(0, LABEL_BYTES_MAX).toString('utf8').replace(LABEL_BYTE_LAST, '');
  return cut === '' || cut === '.' || cut === '..' || /^\.git$/i.test(cut) ? 'project' : cut;
}
