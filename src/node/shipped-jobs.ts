import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { messageOf } from '../base/errors.ts';
import { isJobId, type JobId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { GLOB_CHARS_MAX, OUTPUT_GLOBS_MAX } from '../wire/changes.ts';
import { ATTEMPTS_MAX, jobIdSchema } from '../wire/jobs.ts';
import { PATH_CHARS_MAX } from '../wire/job-spec.ts';
import { manifestHashSchema } from '../wire/manifest.ts';
import { nodeIdSchema } from '../wire/trust.ts';
import { projectKeySchema } from '../wire/workspace.ts';

const WITHHELD_MAX = 64;
const NAME_CHARS_MAX = 8192;
/** Files of this folder that are read at a start; as many as jobs are kept (jobs.keep_max), and more are no use. */
const SHIPPED_MAX = 10_000;

const shippedJobSchema = z.strictObject({
  job: jobIdSchema,
  attempt: z.int().min(1).max(ATTEMPTS_MAX),
  /** Where its files went. */
  node: nodeIdSchema,
  node_name: z.string().max(63),
  project: z.strictObject({
    root: z.string().max(PATH_CHARS_MAX),
    key: projectKeySchema,
    kind: z.enum(['git', 'plain']),
  }),
  /** What was sent. */
  manifest: manifestHashSchema,
  /** Untracked secrets that were not, for people. */
  withheld: z.array(z.string().max(NAME_CHARS_MAX)).max(WITHHELD_MAX),
  returns: z.boolean(),
  /** Globs of ignored products that come back, relative to the root. */
  outputs: z.array(z.string().max(GLOB_CHARS_MAX)).max(OUTPUT_GLOBS_MAX),
  /** Of them, those that the job itself asked for: what the project's settings name needn't be made by every job. */
  asked: z.array(z.string().max(GLOB_CHARS_MAX)).max(OUTPUT_GLOBS_MAX),
  /** When the project was scanned. */
  scanned_ms: z.number(),
  /** What waits for `meshwork apply`; null: the job has not ended, as far as is known, or all came back. */
  held: z
    .strictObject({ pack_bytes: z.int().nonnegative(), pack_sha256: z.string().regex(/^[0-9a-f]{64}$/) })
    .nullable(),
  /** When it was sent; where something is held, since when. */
  at_ms: z.number(),
});
/** A job whose project's files were sent to another node: what is needed to bring its changes back. */
export type ShippedJob = z.infer<typeof shippedJobSchema>;

/**
 * `MESHWORK_HOME/workspaces/changes/`: for every job that was sent with its files and is not over, or has changes that are
 * held, a JOB.json; beside it JOB.ATTEMPT.pack once that is here. Written before the job is started.
 */
export class ShippedJobs {
  readonly #folder: string;
  readonly #log: Logger;
  readonly #jobs = new Map<JobId, ShippedJob>();

  constructor(folder: string, log: Logger) {
    this.#folder = folder;
    this.#log = log;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
    for (const name of names.slice(-SHIPPED_MAX)) this.#read(name);
  }

  /** As they are now. */
  get all(): readonly ShippedJob[] {
    return [...this.#jobs.values()];
  }

  get(job: JobId): ShippedJob | null {
    return this.#jobs.get(job) ?? null;
  }

  /** Where that attempt's changes are, or will be. */
  packOf({ job, attempt }: { readonly job: JobId; readonly attempt: number }): string {
    return join(this.#folder, `${job}.${attempt}.pack`);
  }

  /** @throws a system error where the disk refuses it */
  note(shipped: ShippedJob, durably = false): void {
    const path = join(this.#folder, `${shipped.job}.json`);
    const file = openSync(`${path}.new`, 'w', 0o600);
    try {
      writeSync(file, JSON.stringify(shipped));
      if (durably) fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(`${path}.new`, path);
    this.#jobs.set(shipped.job, shipped);
  }

  /** Nothing of it is to come back any more. */
  forget(job: JobId): void {
    const shipped = this.#jobs.get(job);
    if (shipped === undefined) return;
    this.#jobs.delete(job);
    rmSync(join(this.#folder, `${job}.json`), { force: true });
    for (let attempt = 1; attempt <= shipped.attempt; attempt += 1) {
      rmSync(this.packOf({ job, attempt }), { force: true });
      rmSync(`${this.packOf({ job, attempt })}.part`, { force: true });
    }
  }

  #read(name: string): void {
    const path = join(this.#folder, name);
    try {
      const parsed = shippedJobSchema.safeParse(JSON.parse(readFileSync(path, 'utf8')));
      if (parsed.success && isJobId(parsed.data.job)) this.#jobs.set(parsed.data.job, parsed.data);
      else this.#log.error('what is known of a job that was sent is not understood', { path });
    } catch (error) {
      this.#log.error('what is known of a job that was sent cannot be read', { path, error: messageOf(error) });
    }
  }
}
