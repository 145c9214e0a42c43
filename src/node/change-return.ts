import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { OutputGlobs } from '../adapters/workspace/output-globs.ts';
import { bytesOfText } from '../base/byte-text.ts';
import { MeshError, messageOf } from '../base/errors.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { bindsProject } from '../core/workspace/newest-products.ts';
import type { Applied, ProjectFiles } from '../ports/workspace.ts';
import { NO_CHANGES, NONE_MORE, type ChangePack, type Changes } from '../wire/changes.ts';
import type { Ended, Outcome } from '../wire/jobs.ts';
import { changeNotices, namesOf } from './api-changes.ts';
import type { ChangeFetch, FetchRefusal } from './change-fetch.ts';
import type { ProjectBook } from './project-book.ts';
import type { ShippedJob, ShippedJobs } from './shipped-jobs.ts';
import type { WorkspaceLink } from './change-packs.ts';
import { Turns } from './turns.ts';

/** So long the answer to a job waits for a node that went away with its changes. */
const PATIENCE_MS = 30_000;
/** For `meshwork apply`, which can be asked again. */
const APPLY_PATIENCE_MS = 5000;
const LEFT_NAMES_MAX = 3;
const HELD_NAMES_MAX = 3;
const UNMATCHED_NAMES_MAX = 4;

export interface ChangeReturnOptions {
  readonly files: ProjectFiles;
  readonly shipped: ShippedJobs;
  readonly book: ProjectBook;
  readonly fetch: ChangeFetch;
  readonly log: Logger;
  /** A node that says it has more is not believed: it would fill this disk. */
  readonly packBytesMax: number;
  /** MESHWORK_HOME/conflicts */
  readonly conflicts: string;
  /** Null where no link is up. */
  readonly executor: (node: ShippedJob['node']) => WorkspaceLink | null;
}

export interface Returned {
  readonly changes: Changes;
  readonly notices: readonly string[];
}

/** Brings what jobs changed in workspaces back into their projects here, when they end or when `meshwork apply` asks. */
export class ChangeReturn {
  readonly #options: ChangeReturnOptions;
  /** One at a time in a project: two jobs may change the same file. */
  readonly #turns = new Turns();
  /** By job: `meshwork apply` of the same one, twice at once. */
  readonly #asked = new Turns();
  readonly #underWay = new Map<JobId, AbortController>();
  /** Of which nothing is to come any more, once their ends are in the journal: a daemon that dies before does it all again. */
  readonly #settled = new Set<JobId>();

  constructor(options: ChangeReturnOptions) {
    this.#options = options;
  }

  /** Was that attempt sent there with its project's files? */
  shippedAs(job: JobId, attempt: number): ShippedJob | null {
    const shipped = this.#options.shipped.get(job);
    return shipped?.attempt === attempt ? shipped : null;
  }

  /** That attempt never ran: the next one may run here, and then nothing waits for `meshwork apply`. */
  notStarted(job: JobId, attempt: number): void {
    const shipped = this.shippedAs(job, attempt);
    if (shipped !== null) this.#forget(shipped);
  }

  /** The job goes on without its changes: they are held. */
  giveUp(job: JobId): void {
    this.#underWay.get(job)?.abort();
  }

  /** Of a job that has ended. Takes as long as its node is in reach, or some seconds. Never throws. */
  async bringBack(shipped: ShippedJob, ended: Ended): Promise<Returned> {
    const { job } = shipped;
    const { changes: pack, outcome } = ended;
    const withheld = withheldNotices(shipped, outcome);
    try {
      if (pack === null) {
        this.#settled.add(job);
        return { changes: NO_CHANGES, notices: withheld };
      }
      this.#noteProducts(shipped, pack);
      const problem = pack.problem === null ? [] : [`${shipped.node_name}: ${pack.problem}`];
      const told = [...withheld, ...problem, ...unmatchedNotices(shipped, pack)];
      const changes = withLeft(NO_CHANGES, pack);
      // A node that sends changes that nobody wants is not heard.
      if (pack.pack_bytes === 0 || !shipped.returns) {
        this.#settled.add(job);
        return { changes, notices: told };
      }
      if (!isAutomatic(outcome) && isNothingOfIts(pack)) {
        this.#settled.add(job);
        return { changes, notices: told };
      }
      const held = this.#hold(shipped, pack);
      if (!isAutomatic(outcome))
        return {
          changes: heldChanges(changes, pack),
          notices: [...told, heldNotice(shipped, outcomeOf(outcome), pack)],
        };
      const applied = await this.#apply(held, false, PATIENCE_MS);
      if (!applied.ok)
        return { changes: heldChanges(changes, pack), notices: [...told, heldNotice(shipped, applied.why, pack)] };
      if (applied.value.counts.heldBack === 0) this.#settled.add(job);
      const all = withLeft(applied.value.changes, pack);
      const folder = join(this.#options.conflicts, job);
      return {
        changes: all,
        notices: [...told, ...applied.value.notices, ...changeNotices(all, job, folder)],
      };
    } catch (error) {
      this.#options.log.error('changes could not be brought back', { job, error: messageOf(error) });
      const notice = heldNotice(shipped, `they could not be applied here (${messageOf(error)})`, pack);
      const changes = pack === null ? NO_CHANGES : withLeft(NO_CHANGES, pack);
      return { changes: pack === null ? changes : heldChanges(changes, pack), notices: [...withheld, notice] };
    }
  }

  /** Its end is in the journal. */
  finished(job: JobId): void {
    const shipped = this.#options.shipped.get(job);
    if (this.#settled.delete(job) && shipped !== null) this.#forget(shipped);
  }

  /** Nobody knows what became of it. @returns for people, where its files were sent there */
  lost(job: JobId, node: NodeId): readonly string[] {
    const shipped = this.#options.shipped.get(job);
    if (shipped === null || shipped.node !== node) return [];
    const { node_name: name } = shipped;
    return [
      `what it may have changed on ${name} stays there; once ${name} is back, \`meshwork apply ${job}\` applies it`,
    ];
  }

  /** An attempt that had been given up ended after all: what it changed waits. @returns for people */
  hold(job: JobId, ended: Ended): string | null {
    const shipped = this.shippedAs(job, ended.attempt);
    const pack = ended.changes;
    if (shipped === null || !shipped.returns || pack === null || isNothingOfIts(pack)) return null;
    this.#hold(shipped, pack);
    return heldNotice(shipped, 'its end came late', pack);
  }

  /**
   * `meshwork apply`: what was held, protected files included.
   *
   * @throws MeshError `nothing_to_apply`, `job_unreachable`, `io`
   */
  async applyHeld(job: JobId): Promise<Returned> {
    // Who asks meanwhile is told what is left after that.
    return this.#asked.take(job, () => this.#applyHeld(job));
  }

  async #applyHeld(job: JobId): Promise<Returned> {
    const shipped = this.#options.shipped.get(job);
    if (shipped !== null && shipped.held === null) {
      const { node_name: name } = shipped;
      const text = `what job ${job} changed on ${name} is not known here yet: ${name} tells it when it is back`;
      throw new MeshError('job_unreachable', `${text}; nothing was changed`);
    }
    if (shipped === null || shipped.held === null) {
      throw new MeshError('nothing_to_apply', `job ${job} has no changes that wait here; nothing was changed`);
    }
    const applied = await this.#apply(shipped, true, APPLY_PATIENCE_MS);
    if (!applied.ok) throw new MeshError(applied.code, `${applied.why}; nothing was changed`);
    if (applied.value.counts.heldBack === 0) this.#forget(shipped);
    const { changes, notices } = applied.value;
    return { changes, notices: [...notices, ...changeNotices(changes, job, join(this.#options.conflicts, job))] };
  }

  /** Forgets what nobody asked for in so long, and what was kept for it here. */
  sweep(keep: { readonly heldMs: number; readonly openMs: number }, nowWallMs: number): void {
    for (const shipped of this.#options.shipped.all) {
      if (nowWallMs - shipped.at_ms > (shipped.held === null ? keep.openMs : keep.heldMs)) this.#forget(shipped);
    }
  }

  async #apply(
    shipped: ShippedJob,
    held: boolean,
    patienceMs: number,
  ): Promise<
    | { readonly ok: true; readonly value: Applied }
    | { readonly ok: false; readonly code: 'job_unreachable' | 'nothing_to_apply' | 'io'; readonly why: string }
  > {
    const { job, attempt, node, node_name: name, project, manifest, outputs, scanned_ms: scannedMs } = shipped;
    const pack = shipped.held;
    if (pack === null) return { ok: false, code: 'nothing_to_apply', why: 'there is nothing to apply' };
    const { packBytesMax } = this.#options;
    if (pack.pack_bytes > packBytesMax) {
      const why = `they have ${pack.pack_bytes} bytes, more than workspaces.quota_bytes (${packBytesMax}) here`;
      return { ok: false, code: 'io', why };
    }
    const path = this.#options.shipped.packOf(shipped);
    const control = new AbortController();
    this.#underWay.set(job, control);
    try {
      const request = { node, job, attempt, bytes: pack.pack_bytes, path, patienceMs };
      const fetched = await this.#options.fetch.fetch(request, control.signal);
      if (!fetched.ok) return { ok: false, ...refusedFetch(fetched.error, name) };
      const request2 = { project, manifest, pack: path, packSha256: pack.pack_sha256, outputs, scannedMs, held };
      const conflicts = join(this.#options.conflicts, job);
      const applied = await this.#turns.take(project.root, () => this.#options.files.apply({ ...request2, conflicts }));
      if (applied.ok) {
        // It was verified: from here on it is on this node's disk, whatever becomes of the executor.
        this.#drop(shipped);
        return { ok: true, value: applied.value };
      }
      // As after a power cut, which took some of it: the next time it is fetched anew.
      rmSync(path, { force: true });
      return { ok: false, code: 'io', why: applied.error.message };
    } finally {
      this.#underWay.delete(job);
    }
  }

  #hold(shipped: ShippedJob, pack: ChangePack): ShippedJob {
    const { pack_bytes, pack_sha256 } = pack;
    const held = { ...shipped, held: { pack_bytes, pack_sha256 }, at_ms: Date.now() };
    this.#options.shipped.note(held, true);
    return held;
  }

  #forget(shipped: ShippedJob): void {
    this.#drop(shipped);
    this.#options.shipped.forget(shipped.job);
    const { log } = this.#options;
    this.#options.files
      .unpinManifest(shipped.job)
      .catch((error: unknown) => log.warn('a manifest stays pinned', { job: shipped.job, error: messageOf(error) }));
  }

  #drop({ node, job, attempt }: ShippedJob): void {
    // Where it does not arrive, the executor drops it in time.
    this.#options.executor(node)?.send({ t: 'ws.drop', job, attempt });
  }

  /** The newest products are where they were left last, until all of them were asked for from there. */
  #noteProducts({ project, node, node_name: name, outputs }: ShippedJob, { left_there: all }: ChangePack): void {
    const { book } = this.#options;
    const left = all.filter(bindsProject).map(({ path }) => path);
    const known = book.productsAt(project);
    const earlier = known?.node === node ? known.paths : [];
    const globs = new OutputGlobs(outputs);
    const paths = [...new Set([...left, ...earlier.filter((path) => !isAllOf(globs, path))])];
    if (paths.length === 0) {
      if (earlier.length > 0) book.productsAre(project, null);
      return;
    }
    if (left.length === 0 && paths.length === earlier.length) return;
    const more = paths.length > LEFT_NAMES_MAX ? ' and more' : '';
    book.productsAre(project, { node, what: `${paths.slice(0, LEFT_NAMES_MAX).join(', ')}${more} on ${name}`, paths });
  }
}

/** A glob may name a file of a folder alone; one that fits what lies anywhere below takes all. */
const isAllOf = (globs: OutputGlobs, path: string): boolean => globs.matches(`${bytesOfText(path)}/ / `);

/** Products of earlier jobs alone: whoever wants them asks for them again. */
const isNothingOfIts = ({ changed, deleted }: ChangePack): boolean => changed + deleted === 0;

const isAutomatic = ({ kind }: Outcome): boolean => kind === 'exited' || kind === 'signaled';

function outcomeOf({ kind }: Outcome): string {
  return kind === 'timeout' ? 'it timed out' : kind === 'cancelled' ? 'it was cancelled' : 'how it ended is not known';
}

function heldNotice({ job, node_name: name }: ShippedJob, why: string, pack: ChangePack | null): string {
  const named = pack === null || pack.named.length === 0 ? '' : ` (${heldNames(pack)})`;
  return `what it changed on ${name}${named} is held, since ${why}: \`meshwork apply ${job}\` applies it here`;
}

const heldNames = ({ named, changed, deleted }: ChangePack): string =>
  namesOf(named, changed + deleted, HELD_NAMES_MAX);

/** The first names came with the job's end, all of them are in the pack. */
function heldChanges(changes: Changes, { named, changed, deleted }: ChangePack): Changes {
  const rest = Math.max(0, changed + deleted - named.length);
  const more = { ...(changes.more ?? NONE_MORE), held_back: rest };
  return { ...changes, held_back: named, ...(rest > 0 ? { more } : {}) };
}

function withLeft(changes: Changes, { left_there: left, left_more: rest }: ChangePack): Changes {
  const more = { ...(changes.more ?? NONE_MORE), left_there: rest };
  return { ...changes, left_there: left, ...(rest > 0 ? { more } : {}) };
}

/** Only what this job asked for: its node may say anything, and settings name what not every job makes. */
function unmatchedNotices({ asked, node_name: name }: ShippedJob, { unmatched }: ChangePack): string[] {
  const globs = asked.filter((glob) => unmatched.includes(glob));
  const named = namesOf(
    globs.map((glob) => `'${glob}'`),
    globs.length,
    UNMATCHED_NAMES_MAX,
  );
  return globs.length === 0
    ? []
    : [`no file on ${name} matched the output ${named}, from the project's root, when the job ended`];
}

function withheldNotices({ withheld }: ShippedJob, outcome: Outcome): string[] {
  const isFailure = outcome.kind !== 'exited' || outcome.code !== 0;
  return isFailure && withheld.length > 0 ? [`failed without ${withheld.join(', ')}`] : [];
}

function refusedFetch(
  { kind, message }: FetchRefusal,
  name: string,
): { readonly code: 'job_unreachable' | 'nothing_to_apply' | 'io'; readonly why: string } {
  switch (kind) {
    case 'gone':
      return { code: 'nothing_to_apply', why: `${name} does not keep them any more (${message})` };
    case 'away':
      return { code: 'job_unreachable', why: `${name}, where they are, is out of reach` };
    case 'bad':
      return { code: 'io', why: `${name} did not send them: ${message}` };
  }
}
