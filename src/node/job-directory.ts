import { setMaxListeners } from 'node:events';
import { MeshError, type ErrorCode } from '../base/errors.ts';
import { isJobId, type JobId, type NodeId } from '../base/ids.ts';
import type { ApiResults, JobsReport } from '../wire/api.ts';
import type { JobAnswer } from '../wire/job-query.ts';
import type { JobRecord } from '../wire/job-record.ts';
import {
  contested,
  endOf,
  fittingRecords,
  listRecords,
  mergeTold,
  sortRecords,
  toldBy,
  withinBytes,
  type Told,
} from './job-lists.ts';
import type { JobQuestions } from './job-questions.ts';
import type { OwnJobs, PlainQuestion } from './own-jobs.ts';

/** How long a member may take to say what it knows, where others may do without it. */
const ANSWER_MS_MAX = 2000;
/**
 * The same where the answer would be that there is no such job, or that it runs on: longer than a machine with much to do
 * stands still, and than one that is gone has a link.
 */
const SURE_ANSWER_MS_MAX = 10_000;
/** One question of a `wait`; then the next, so that a link that hangs is noticed. */
const WAIT_SLICE_MS = 20_000;
/** While neither the origin nor the executor of a job can tell of it, they are asked again so often, and for so long. */
const LOOK_AGAIN_MS = 500;
export const UNREACHABLE_MS_MAX = 60_000;
/** Once a node says that a job was submitted at it, the others have so long to say the same of themselves. */
const CLAIMS_MS = 100;
const PREFIX_CHARS_MIN = 4;
const PREFIX = /^[0-9A-HJKMNP-TV-Z]{4,26}$/;
const MATCHES_SHOWN_MAX = 8;
const COMMAND_SHOWN_CHARS = 60;
/** Whole ids whose origin is known: asked first. */
const ORIGINS_KNOWN_MAX = 4096;

/** Another node of this mesh. */
export interface DirectoryMember {
  readonly id: NodeId;
  readonly name: string;
}

export interface JobDirectoryOptions {
  readonly self: () => NodeId;
  readonly own: OwnJobs;
  readonly questions: JobQuestions;
  readonly members: () => readonly DirectoryMember[];
}

interface Asking {
  readonly told: readonly Told[];
  readonly more: number;
  readonly dropped: { readonly name: string; readonly atMs: number } | null;
  /** One line for each member that did not tell. */
  readonly silent: readonly string[];
}

/** Jobs of the whole mesh, from any of its nodes. */
export class JobDirectory {
  readonly #options: JobDirectoryOptions;
  readonly #origins = new Map<JobId, NodeId>();

  constructor(options: JobDirectoryOptions) {
    this.#options = options;
  }

  /** This node's jobs and those of every member in reach; who did not answer is named in the notices. */
  async jobs(all: boolean, signal: AbortSignal): Promise<JobsReport> {
    const { told, more, silent } = await this.#askAll({ kind: 'list', all }, signal, () => false);
    const merged = mergeTold(told).map(({ record }) => record);
    const listed = listRecords(merged, all);
    const fitting = withinBytes(listed.records);
    const claims = [...contested(told, this.#options.self())].map(([job, by]) => this.#contestedText(job, by));
    const shown = [
      ...claims.slice(0, MATCHES_SHOWN_MAX),
      ...silent.map((line) => `${line}: jobs of that node may be missing here`),
    ];
    return { notices: shown, jobs: fitting.records, more: more + listed.more + fitting.more };
  }

  /**
   * The one job whose id begins so, as its origin tells it, else as an executor does.
   *
   * @throws MeshError `job_unknown`, `job_ambiguous`, `job_expired`
   */
  async find(name: string, signal: AbortSignal): Promise<JobRecord> {
    return (await this.locate(name, signal)).record;
  }

  /** @returns the job, and which node told of it */
  async locate(name: string, signal: AbortSignal): Promise<Told> {
    const prefix = name.trim().toUpperCase();
    if (!PREFIX.test(prefix)) {
      throw new MeshError(
        'job_unknown',
        `"${name.slice(0, 64)}" is no job id: give one, or at least ${PREFIX_CHARS_MIN} characters of its beginning, as \`meshwork jobs\` shows it`,
      );
    }
    const question = { kind: 'find', prefix } as const;
    const toldByOrigin = (told: readonly Told[]): boolean =>
      isJobId(prefix) && told.some(({ record, by }) => record.origin_id === by);
    const known = isJobId(prefix) ? this.#origins.get(prefix) : undefined;
    const first = known === undefined ? null : await this.#askOne(known, question, signal);
    const asking =
      first !== null && toldByOrigin(first.told) ? first : await this.#askAll(question, signal, toldByOrigin);
    const [found, ...others] = mergeTold(asking.told);
    if (found === undefined) throw notFound(prefix, asking);
    if (others.length > 0) throw ambiguous(prefix, [found, ...others], asking.more);
    const claims = contested(asking.told, this.#options.self()).get(found.record.job);
    if (claims !== undefined) throw new MeshError('job_ambiguous', this.#contestedText(found.record.job, claims));
    this.#remember(found.record);
    return found;
  }

  /**
   * @param waitMs null: until it has finished
   * @returns the job once it has finished, or as it is after `waitMs`
   * @throws MeshError as `find`, and `job_unreachable` where no node that knows of it has been in reach for a minute
   */
  async wait(name: string, waitMs: number | null, signal: AbortSignal): Promise<JobRecord> {
    const startedMs = performance.now();
    let toldMs = startedMs;
    let { record, by } = await this.locate(name, signal);
    const leftMs = (): number => (waitMs === null ? Infinity : waitMs - (performance.now() - startedMs));
    while (record.state !== 'finished' && leftMs() > 0 && !signal.aborted) {
      const next = await this.#waitOnce(record, by, Math.min(WAIT_SLICE_MS, leftMs()), signal);
      if (next !== null) {
        ({ record, by } = next);
        toldMs = performance.now();
      } else if (performance.now() - toldMs > UNREACHABLE_MS_MAX) {
        throw new MeshError('job_unreachable', `${whereOf(record)}; ask again, it may be back later`);
      }
    }
    return record;
  }

  /**
   * Asks for its end where it runs, or at its origin while it waits.
   *
   * @throws MeshError as `find`, `job_finished` (it says how it ended), `job_unreachable`
   */
  async cancel(name: string, signal: AbortSignal): Promise<ApiResults['cancel']> {
    const { record, by } = await this.locate(name, signal);
    const { job } = record;
    if (record.state === 'finished') {
      throw new MeshError('job_finished', `job ${job} ${endOf(record)}; nothing was done`);
    }
    // Who told of it can end it: its origin, under whatever id that was then, else the node that runs it.
    const targets = new Set([by, record.origin_id, record.executed_on_id ?? by]);
    let failure: JobAnswer | null = null;
    for (const node of targets) {
      const answer = await this.ask(node, { kind: 'cancel', job }, SURE_ANSWER_MS_MAX, signal);
      if (answer.kind === 'records') return { cancelled: true, job };
      failure = answer;
      // Only a node that can't be asked has its stand-in asked.
      if (answer.kind !== 'error' || answer.code !== 'job_unreachable') break;
    }
    if (failure?.kind === 'error' && failure.code !== 'job_unreachable') throw errorOf(failure);
    throw new MeshError('job_unreachable', `${whereOf(record)}, so it may run on; cancel it again later`);
  }

  /** Asks a node, possibly this one. Every question is answered, see JobQuestions. */
  ask(node: NodeId, question: PlainQuestion, waitMs: number, signal: AbortSignal): Promise<JobAnswer> {
    const { self, own, questions } = this.#options;
    if (node === self()) return own.answer(question, signal);
    return this.#askOther(questions.ask(node, question, waitMs, signal), node, question);
  }

  async #askOther(asked: Promise<JobAnswer>, node: NodeId, question: PlainQuestion): Promise<JobAnswer> {
    const answer = await asked;
    if (answer.kind !== 'records') return answer;
    return { ...answer, records: fittingRecords(node, question, answer.records) };
  }

  #contestedText(job: JobId, by: readonly NodeId[]): string {
    const names = by.map((id) => this.#options.members().find((member) => member.id === id)?.name ?? id);
    return `${names.join(' and ')} each say that job ${job} was submitted at them: one of them lies; ask where you submitted it`;
  }

  /** @returns the job as it is then; null where nobody in reach knows */
  async #waitOnce(record: JobRecord, by: NodeId, waitMs: number, signal: AbortSignal): Promise<Told | null> {
    const { job } = record;
    if (by === record.origin_id) {
      const question = { kind: 'wait', job, wait_ms: Math.ceil(waitMs) } as const;
      const askedMs = performance.now();
      const answer = await this.ask(by, question, waitMs + ANSWER_MS_MAX, signal);
      const told = answer.kind === 'records' ? answer.records[0] : undefined;
      if (told !== undefined) {
        // It may have too many who wait, or not care: it is not asked again at once.
        const isEarly = told.state !== 'finished' && performance.now() - askedMs < waitMs;
        if (isEarly) await pause(Math.min(LOOK_AGAIN_MS, waitMs), signal);
        return { record: told, by };
      }
    }
    await pause(Math.min(LOOK_AGAIN_MS, waitMs), signal);
    try {
      return await this.locate(job, signal);
    } catch (error) {
      // Not known for now: its nodes are out of reach.
      if (error instanceof MeshError && error.code === 'job_unknown') return null;
      throw error;
    }
  }

  async #askOne(node: NodeId, question: PlainQuestion, signal: AbortSignal): Promise<Asking> {
    const answer = await this.ask(node, question, ANSWER_MS_MAX, signal);
    const told = answer.kind === 'records' ? toldBy(node, answer.records) : [];
    return { told, more: 0, dropped: null, silent: [] };
  }

  /** Asks this node and then all members at once, until all have answered or `enough` is there. */
  async #askAll(
    question: PlainQuestion,
    signal: AbortSignal,
    enough: (told: readonly Told[]) => boolean,
  ): Promise<Asking> {
    const members = this.#options.members();
    const self = this.#options.self();
    const waitMs = question.kind === 'find' ? SURE_ANSWER_MS_MAX : ANSWER_MS_MAX;
    const told: Told[] = [];
    const silent: string[] = [];
    let more = 0;
    let dropped: Asking['dropped'] = null;
    const take = (id: NodeId, name: string, answer: JobAnswer): void => {
      if (answer.kind !== 'records') {
        const why = answer.kind === 'error' ? answer.message : 'it answered something else';
        if (id !== self) silent.push(why.startsWith(name) ? why : `${name}: ${why}`);
        return;
      }
      told.push(...toldBy(id, answer.records));
      more += answer.more;
      if (answer.dropped_ms !== null) dropped = { name, atMs: answer.dropped_ms };
    };
    take(self, 'this node', await this.ask(self, question, waitMs, signal));
    if (!enough(told)) {
      const others = new AbortController();
      const stop = (): void => others.abort();
      signal.addEventListener('abort', stop);
      // Each member's question listens.
      setMaxListeners(members.length, others.signal);
      await new Promise<void>((resolve) => {
        let open = members.length;
        let claims: NodeJS.Timeout | null = null;
        const done = (): void => {
          if (claims !== null) clearTimeout(claims);
          resolve();
        };
        const askMember = async ({ id, name }: DirectoryMember): Promise<void> => {
          const answer = await this.ask(id, question, waitMs, others.signal);
          if (!others.signal.aborted) take(id, name, answer);
          open -= 1;
          if (open === 0) done();
          else if (enough(told)) claims ??= setTimeout(done, CLAIMS_MS);
        };
        if (open === 0) done();
        for (const member of members) void askMember(member);
      });
      signal.removeEventListener('abort', stop);
      stop();
    }
    return { told, more, dropped, silent };
  }

  #remember({ job, origin_id: origin }: JobRecord): void {
    this.#origins.delete(job);
    this.#origins.set(job, origin);
    const oldest = this.#origins.keys().next();
    if (this.#origins.size > ORIGINS_KNOWN_MAX && oldest.done !== true) this.#origins.delete(oldest.value);
  }
}

function notFound(prefix: string, { dropped, silent }: Asking): MeshError {
  if (dropped !== null) {
    const when = new Date(dropped.atMs).toISOString();
    const text = `job ${prefix} is not kept any more: ${dropped.name} dropped it at ${when} (settings jobs.keep_days, jobs.keep_max, jobs.keep_max_bytes)`;
    return new MeshError('job_expired', text);
  }
  const unasked = silent.length === 0 ? '' : `; not every node could be asked: ${silent.join('; ')}`;
  return new MeshError('job_unknown', `no node of this mesh knows a job ${prefix}${unasked}`);
}

/** Names them as `jobs` lists them: the job that somebody means is most often one of the newest. */
function ambiguous(prefix: string, told: readonly Told[], unsent: number): MeshError {
  const sorted = sortRecords(told.map(({ record }) => record));
  const shown = sorted.slice(0, MATCHES_SHOWN_MAX).map((record) => {
    const command =
      record.command.length > COMMAND_SHOWN_CHARS ? `${record.command.slice(0, COMMAND_SHOWN_CHARS)}…` : record.command;
    return `${record.job} (${record.state}: ${command})`;
  });
  const left = sorted.length - shown.length + unsent;
  const more = left > 0 ? `, and ${left} more` : '';
  return new MeshError(
    'job_ambiguous',
    `several jobs begin with ${prefix}: ${shown.join(', ')}${more}; give more of the id`,
  );
}

/** Codes that a member may answer with; any other is one of a version that this node does not know. */
const ANSWER_CODES: readonly string[] = [
  'bad_argument',
  'not_permitted',
  'job_unknown',
  'job_expired',
  'job_finished',
  'job_unreachable',
  'offset_out_of_range',
  'limit',
  'io',
  'internal',
] satisfies readonly ErrorCode[];

/** What a member refused, as this node's own refusal. */
export function errorOf(answer: Extract<JobAnswer, { kind: 'error' }>): MeshError {
  const code = ANSWER_CODES.includes(answer.code) ? (answer.code as ErrorCode) : 'refused';
  return new MeshError(code, answer.message);
}

/** Who would know more, for a job that nobody in reach knows. */
function whereOf({ job, origin, executed_on: executor }: JobRecord): string {
  const nodes = executor === null || executor === origin ? `${origin} is` : `${origin} and ${executor} are`;
  return `job ${job} was submitted at ${origin}${executor === null ? '' : ` and ran on ${executor}`}: ${nodes} out of reach`;
}

/** Settles early where the signal is aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (signal.aborted) done();
    else signal.addEventListener('abort', done);
  });
}
