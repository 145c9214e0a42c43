import { TOOL_CHARS_MAX, TOOLS_WANTED_MAX, type JobMessageOf } from '../../wire/jobs.ts';
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
    tools: toolsWanted(submission),
    cwd: submission.cwd,
    explicit: submission.placement.target.kind === 'node',
    workspace: submission.placement.workspace !== undefined,
    parent: submission.terms?.parent ?? null,
  };
}

/** On a named node, a program that is not here either is what the shell speaks of: 127 there as here. */
function toolsWanted({ placement: { target, tools, toolsHere } }: Submission): string[] {
  const wanted = target.kind === 'node' ? tools.filter((tool) => toolsHere.includes(tool)) : tools;
  return wanted.filter((tool) => tool.length <= TOOL_CHARS_MAX).slice(0, TOOLS_WANTED_MAX);
}
