import { TOOL_CHARS_MAX, TOOLS_WANTED_MAX, type JobMessageOf } from '../../wire/jobs.ts';
import type { Submission } from './origin-job.ts';

/** True where the project's files are sent to a node that takes the job: at this one it runs in the project itself. */
export const isShippedTo = ({ placement }: Submission, isSelf: boolean): boolean =>
  placement.workspace !== undefined && !isSelf;

interface Asked {
  readonly attempt: number;
  /** Asks whether the node would take it, without a slot: what `explain` sends. */
  readonly dryRun: boolean;
  /** It goes to this node itself. */
  readonly isSelf: boolean;
}

export function reserveMessage(
  submission: Submission,
  { attempt, dryRun, isSelf }: Asked,
): JobMessageOf<'job.reserve'> {
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
    workspace: isShippedTo(submission, isSelf),
    parent: submission.terms?.parent ?? null,
  };
}

/** On a named node, a program that is not here either is what the shell speaks of: 127 there as here. */
function toolsWanted({ placement: { target, tools, toolsHere } }: Submission): string[] {
  const wanted = target.kind === 'node' ? tools.filter((tool) => toolsHere.includes(tool)) : tools;
  return wanted.filter((tool) => tool.length <= TOOL_CHARS_MAX).slice(0, TOOLS_WANTED_MAX);
}
