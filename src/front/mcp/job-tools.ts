import type { JobRecord } from '../../node/api-types.ts';
import type { DaemonApi } from './daemon-connection.ts';
import { askDaemon, failed } from './daemon-question.ts';
import { jobFacts, jobNameOf, jobNotices, listedJob } from './job-facts.ts';
import { outputDocument, outputless } from './job-output.ts';
import { asManyAsFit } from './listed.ts';
import { jobListSchema, jobOutputSchema, jobSchema } from './result-schemas.ts';
import { briefNotices, RESULT_CHARS_MAX } from './run-report.ts';
import {
  jobCancelArguments,
  jobListArguments,
  jobOutputArguments,
  jsonSchemaOf,
  parseArguments,
} from './tool-arguments.ts';
import type { ToolParts } from './tool-parts.ts';
import type { JsonDocument, Tool } from './tool.ts';
import { waitOf } from './wait-time.ts';

/** TERM, 5 s, KILL, and the way there and back. */
const CANCEL_WAIT_MS_MAX = 8000;

const NO_JOB = { state: null, return_code: null, success: null, reason: null, job_id: null };

/** `job_output`: what a job writes, from an offset on, and how it stands. */
export function jobOutput(parts: ToolParts): Tool {
  return {
    name: 'job_output',
    title: 'Output and state of a job',
    description: `Reads the output of a job that was started by cluster_bash, offload_to or parallel_execute on any machine of the user's own mesh, and says how the job stands. Use it with the job_id of a result whose state is not "finished", instead of starting the command again, and for the rest of an output that was cut.

It returns \`output\` from byte \`offset\` on, \`next_offset\` to read on from, and \`at_end\`: true when all output has been read and the job has ended. Without a stream, stdout and stderr come in the order in which they were written, and offsets count both; a stream counts its own. With wait_s it waits for new output or for the end.

When the job has ended, state is "finished" and return_code, success and reason say how; \`next\` says what to call while there is more. It changes nothing and can be called again.`,
    inputSchema: jsonSchemaOf(jobOutputArguments, 'input'),
    outputSchema: jobOutputSchema,
    readOnly: true,
    alwaysLoad: true,
    run: async (args, { signal, progress, client }) => {
      const none = { notices: [], ...NO_JOB, next_offset: null, output: '' };
      const parsed = parseArguments(jobOutputArguments, args);
      if (!parsed.ok) return failed(none, parsed.error);
      const { job_id, offset, stream, wait_s, max_bytes } = parsed.value;
      progress(() => `waiting for output of job ${job_id}`);
      return askDaemon(parts, none, async ({ api, settings }) => {
        const { usualS } = waitOf(undefined, settings, client);
        const wish = { job: jobNameOf(job_id), offset, stream, waitS: wait_s, bytesMax: max_bytes, usualS, signal };
        try {
          return { document: await outputDocument(api, wish), isError: false };
        } catch (error) {
          return { document: await outputless(api, wish, error), isError: true };
        }
      });
    },
  };
}

/** `job_cancel`: ends a job of any node. */
export function jobCancel(parts: ToolParts): Tool {
  return {
    name: 'job_cancel',
    title: 'End a job',
    description: `Ends a job that runs or waits anywhere in the user's own mesh, with all the processes it started, and returns how it ended. Output that it wrote until then stays readable by job_output. A job that has finished already is an error that says how it ended.`,
    inputSchema: jsonSchemaOf(jobCancelArguments, 'input'),
    outputSchema: jobSchema,
    readOnly: false,
    alwaysLoad: false,
    run: async (args) => {
      const none = { notices: [], ...NO_JOB };
      const parsed = parseArguments(jobCancelArguments, args);
      if (!parsed.ok) return failed(none, parsed.error);
      const { job_id } = parsed.value;
      return askDaemon(parts, none, async ({ api }) => ({
        document: await cancelDocument(api, jobNameOf(job_id)),
        isError: false,
      }));
    },
  };
}

async function cancelDocument(api: DaemonApi, name: string): Promise<JsonDocument> {
  const { job } = await api.call('cancel', { job: name });
  const record = await api.call('wait', { job, wait_ms: CANCEL_WAIT_MS_MAX });
  return { notices: jobNotices(record, cancelNotices(record)), ...jobFacts(record) };
}

function cancelNotices(record: JobRecord): string[] {
  if (record.state !== 'finished') {
    return ['its end was asked for and is not confirmed yet: see job_output'];
  }
  return record.reason === 'cancelled' ? [] : ['it ended by itself before it could be cancelled'];
}

/** `job_list`: the jobs of the whole mesh. */
export function jobList(parts: ToolParts): Tool {
  return {
    name: 'job_list',
    title: 'Jobs of the mesh',
    description: `Lists the jobs of the user's own mesh: those that wait or run first, then those that ended, newest first, each with its job_id, state, command, where it was submitted and where it runs, and how it ended. Use it to find a job whose id was lost; then use job_output to read it or job_cancel to end it.`,
    inputSchema: jsonSchemaOf(jobListArguments, 'input'),
    outputSchema: jobListSchema,
    readOnly: true,
    alwaysLoad: false,
    run: async (args) => {
      const none = { notices: [], jobs: [], jobs_left_out: 0 };
      const parsed = parseArguments(jobListArguments, args);
      if (!parsed.ok) return failed(none, parsed.error);
      return askDaemon(parts, none, async ({ api }) => {
        const { notices, jobs, more } = await api.call('jobs', parsed.value);
        const document = (shown: readonly JobRecord[]): JsonDocument => ({
          notices: briefNotices(notices),
          jobs: shown.map(listedJob),
          jobs_left_out: more + jobs.length - shown.length,
        });
        return { document: asManyAsFit(jobs, document, RESULT_CHARS_MAX), isError: false };
      });
    },
  };
}
