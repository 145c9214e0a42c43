import type { NodeId } from '../base/ids.ts';
import { unknownResult, type AttemptFacts, type RunnerHas } from '../core/jobs/attempt-book.ts';
import type { AttemptKey, LeaseKey } from '../core/jobs/executor-state.ts';
import type { ChangePack } from '../wire/changes.ts';

/** What an executor asks of the workspaces that its attempts run in. */
export interface AttemptWorkspaces {
  /** The lease of files under way ended without a start. */
  leaseEnded(key: LeaseKey): void;
  /** @returns false where there is no workspace that is ready for it */
  begin(from: NodeId, key: AttemptKey): boolean;
  /**
   * Frees the folder: it was not given to the runner after all, or what it changed is in the journal. Not before, since the
   * next daemon, should this one die meanwhile, finds it by its lease. Nothing where it has none.
   */
  release(key: AttemptKey): void;
  isInUse(key: AttemptKey): boolean;
  /** @returns what the attempt changed; null where it had no workspace. Never throws */
  collect(key: AttemptKey): Promise<ChangePack | null>;
  /** Of an earlier daemon: is it a directory of a workspace? */
  isWithin(cwd: string): boolean;
  /** Takes up again what attempts of an earlier daemon run in, and frees all else. */
  restore(attempts: readonly (AttemptKey & { readonly from: NodeId })[]): Promise<void>;
}

/**
 * Takes up the workspaces of attempts of an earlier daemon. What those changed that have ended meanwhile, or whose runner
 * is gone, is collected before their ends are told; their folders are to be released when those are written down.
 *
 * @param running what the journal has as running
 * @param kept what the runner has
 * @returns what the runner has, with changes
 */
export async function endsInWorkspaces(
  running: readonly AttemptFacts[],
  kept: readonly RunnerHas[],
  workspaces: AttemptWorkspaces,
): Promise<readonly RunnerHas[]> {
  const inWorkspaces = running.filter(({ cwd }) => workspaces.isWithin(cwd));
  await workspaces.restore(inWorkspaces);
  const ends = new Map<string, RunnerHas>();
  for (const { job, attempt } of inWorkspaces) {
    const known = kept.find((one) => one.job === job && one.attempt === attempt);
    if (known?.kind === 'running') continue;
    const changes = await workspaces.collect({ job, attempt });
    const result = known?.result ?? unknownResult('the runner that ran it is gone');
    ends.set(`${job}/${attempt}`, { kind: 'ended', job, attempt, result: { ...result, changes } });
  }
  const others = kept.filter(({ job, attempt }) => !ends.has(`${job}/${attempt}`));
  return [...others, ...ends.values()];
}
