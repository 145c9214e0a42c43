import type { Facts, Load } from '../wire/facts.ts';
import type { CwdEvidence } from '../wire/job-spec.ts';

/** What a node measures: everything of `Load` but what only the runtime knows (jobs, slots, thresholds). */
export type MeasuredLoad = Omit<Load, 'jobs_running' | 'jobs_queued' | 'slots_free' | 'overloaded'>;

/** What a node detects: everything of `Facts` but what settings give (name, slots, product version). */
export type DetectedFacts = Omit<Facts, 'name' | 'slots' | 'version'>;

export interface SystemProbe {
  /** Called whenever facts change (tools re-scanned, MESHWORK_FACTS_FILE edited). */
  start(onFacts: (facts: DetectedFacts) => void): Promise<DetectedFacts>;
  /** Cheap (well under a millisecond on Linux): called at most once a second. */
  sampleLoad(): MeasuredLoad;
  stop(): void;
}

/** The environment in which jobs run: HOME and login-shell environment of the executing user, captured once at start. */
export interface LoginEnvironment {
  readonly env: Readonly<Record<string, string>>;
  readonly home: string;
  readonly user: string;
  /** Set where the login shell failed or hung, so that a minimal environment is used instead. */
  readonly warning: string | null;
}

export interface Directories {
  /** Gathers the evidence that the executor judges. Throws MeshError `cwd_missing` where it is no directory. */
  evidence(cwd: string): Promise<CwdEvidence>;
  /**
   * Judges at the executor. Explicit: under the submitter's home the same path relative to this home, else the same
   * path; automatic: provably the same directory, or both clean checkouts of one commit.
   */
  resolve(
    evidence: CwdEvidence,
    explicit: boolean,
  ): Promise<
    | { readonly ok: true; readonly cwd: string }
    | { readonly ok: false; readonly code: 'files' | 'cwd_missing'; readonly message: string }
  >;
}
