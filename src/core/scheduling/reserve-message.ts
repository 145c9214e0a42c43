import type { JobMessageOf } from '../../wire/jobs.ts';
import type { Submission } from './origin-job.ts';

/** @param dryRun asks whether the node would take it, without a slot: what `explain` sends */
export function reserveMessage(submission: Submission, attempt: number, dryRun: boolean): JobMessageOf<'job.reserve'> {
  return {
    t: 'job.reserve',
    job: submission.job,
    attempt,
    dry_run: dryRun,
    command: submission.command,
    requires: submission.placement.requires,
    cwd: submission.cwd,
    explicit: submission.placement.target.kind === 'node',
  };
}
