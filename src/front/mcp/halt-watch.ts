import type { JobRecord } from '../../node/api-types.ts';
import type { DaemonApi } from './daemon-connection.ts';
import { endJob } from './job-end.ts';
import type { Halt } from './tool-arguments.ts';

export interface HandedOut {
  /** Ids of the commands that go on. */
  readonly jobs: readonly string[];
  readonly halt: Halt;
  /** Commands that had failed before. */
  readonly failures: number;
}

const failed = (record: JobRecord): boolean => !(record.reason === 'exited' && record.return_code === 0);

/**
 * Goes on with the halt of a batch after its call was answered, for as long as this server has its connection: once so
 * many commands have failed, the others are ended (`now`), or those of them that have not begun (`soon`).
 *
 * @returns when all have ended, or the halt was carried out
 * @throws MeshError where the daemon is lost
 */
export async function keepHalt(api: DaemonApi, { jobs, halt, failures }: HandedOut): Promise<void> {
  const left = new Set(jobs);
  let failedSoFar = failures;
  let isHalted = false;
  const endOthers = async (): Promise<void> => {
    for (const job of left) {
      if (halt.when === 'soon' && (await api.call('job', { job })).state !== 'queued') continue;
      await endJob(api, job);
    }
  };
  await Promise.all(
    jobs.map(async (job) => {
      const record = await api.call('wait', { job, wait_ms: null });
      left.delete(job);
      if (isHalted || !failed(record)) return;
      failedSoFar += 1;
      if (failedSoFar < halt.failures) return;
      isHalted = true;
      await endOthers();
    }),
  );
}
