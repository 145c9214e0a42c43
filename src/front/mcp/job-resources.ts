import { MeshError } from '../../base/errors.ts';
import type { DaemonApi } from './daemon-connection.ts';
import { JOB_URI_PREFIX, jobFacts, jobNameOf, jobNotices, listedJob } from './job-facts.ts';
import { readOutput } from './job-reading.ts';
import { brief, RESULT_CHARS_MAX } from './run-report.ts';
import { jsonChars, shown } from './shown-text.ts';
import type { ToolParts } from './tool-parts.ts';
import type { JsonDocument } from './tool.ts';

/** Newest first; more of them are a list that nobody picks from. */
const LISTED_MAX = 50;
const NAME_CHARS_MAX = 80;
/** Of the end of a job's output: what a reader looks for first. */
const TAIL_BYTES_MAX = 24 * 1024;
const SLACK_CHARS = 1000;

export interface Resource {
  readonly uri: string;
  readonly name: string;
  readonly description: string;
}

/** Jobs as MCP resources: each has an address that stays. */
export class JobResources {
  readonly template = {
    uriTemplate: `${JOB_URI_PREFIX}{job_id}`,
    name: 'job',
    title: 'A job of the mesh',
    description: 'How a job stands, and the end of its output',
    mimeType: 'application/json',
  };
  readonly #parts: ToolParts;

  constructor(parts: ToolParts) {
    this.#parts = parts;
  }

  /** @throws MeshError where the daemon cannot be asked */
  async list(): Promise<readonly Resource[]> {
    const { api } = await this.#parts.connection.daemon();
    const { jobs } = await api.call('jobs', { all: false });
    return jobs.slice(0, LISTED_MAX).map((record) => ({
      ...jobResource(record.job),
      name: brief(record.command.replaceAll(/\s+/g, ' '), NAME_CHARS_MAX),
      description: Object.values({
        state: record.state,
        on: shown(record.executed_on ?? ''),
        at: listedJob(record)['submitted'],
      })
        .filter((part) => part !== '')
        .join(', '),
    }));
  }

  /**
   * @param uri as listed, or after the template
   * @throws MeshError `job_unknown`, `job_ambiguous`, `job_expired`, `job_unreachable`; `bad_argument` for another address
   */
  async read(uri: string): Promise<JsonDocument> {
    if (!uri.startsWith(JOB_URI_PREFIX)) {
      throw new MeshError('bad_argument', `${shown(uri)} is no address of a job: give ${JOB_URI_PREFIX}JOB_ID`);
    }
    const { api } = await this.#parts.connection.daemon();
    return resourceDocument(api, jobNameOf(uri));
  }
}

export const jobResource = (job: string): Resource => ({
  uri: `${JOB_URI_PREFIX}${job}`,
  name: `job ${job}`,
  description: 'How the job stands, and the end of its output',
});

async function resourceDocument(api: DaemonApi, name: string): Promise<JsonDocument> {
  const record = await api.call('job', { job: name });
  const facts = { notices: jobNotices(record), ...jobFacts(record) };
  if (record.executed_on_id === null) return { ...facts, output: '' };
  const offset = Math.max(0, record.stdout_bytes + record.stderr_bytes - TAIL_BYTES_MAX);
  const reading = await readOutput(api, {
    job: record.job,
    stream: 'merged',
    offset,
    bytesMax: TAIL_BYTES_MAX,
    waitMs: 0,
    signal: new AbortController().signal,
  });
  const piece = reading.piece(TAIL_BYTES_MAX, RESULT_CHARS_MAX - jsonChars(facts) - SLACK_CHARS);
  return { ...facts, stream: 'merged', offset: piece.offset, next_offset: piece.nextOffset, output: shown(piece.text) };
}
