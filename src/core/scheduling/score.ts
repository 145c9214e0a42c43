/** Estimated finish time of a job on a node, and what it is made of. All in seconds but where the name says otherwise. */
export interface ScoreTerms {
  /** The sum: lower is better. */
  readonly finishS: number;
  readonly queueWaitS: number;
  readonly runS: number;
  readonly syncS: number;
  readonly rttS: number;
  /** Cores that the job would have for itself. */
  readonly idleCores: number;
}
