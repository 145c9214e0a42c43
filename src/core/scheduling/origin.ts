import type { Random } from '../../base/random.ts';
import type { Candidate, NodeView } from './candidate.ts';
import type { OriginEffect, OriginInput } from './origin-job.ts';
import type { ToolRules } from './placement.ts';

export interface OriginOptions {
  /** A pure getter: every node as known now, this one included. */
  readonly nodes: () => readonly NodeView[];
  readonly rules: ToolRules;
  readonly random: Random;
}

export interface Origin {
  step(input: OriginInput, nowMs: number): OriginEffect[];
  nextDeadlineMs(): number | null;
  /** Every node with this origin's own reservations and freshest load: what `explain` gives to `place`. */
  candidates(): Candidate[];
  /** Jobs that wait for a slot: `jobs_queued` of this node's load. */
  readonly jobsQueued: number;
  readonly jobsKept: number;
}
