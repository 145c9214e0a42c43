import { MeshError } from '../../base/errors.ts';
import type { DaemonApi } from './daemon-connection.ts';
import type { RunReport } from '../../node/api-refusal.ts';

/** Asks for the end of a job. One that has finished meanwhile is as good as ended. */
export async function endJob(api: DaemonApi, job: string): Promise<void> {
  try {
    await api.call('cancel', { job });
  } catch (error) {
    if (!(error instanceof MeshError && error.code === 'job_finished')) throw error;
  }
}

/** Ends what goes on, of a call that was cancelled before it was answered: nobody has these ids. */
export async function endUnanswered(api: DaemonApi, runs: readonly RunReport[]): Promise<void> {
  const jobs = runs.flatMap(({ state, job_id }) => (state === 'finished' || job_id === null ? [] : [job_id]));
  await Promise.all(jobs.map((job) => endJob(api, job)));
}
