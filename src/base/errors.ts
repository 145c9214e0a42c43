/**
 * What a caller may branch on. Text in `message` is for people: it says what is wrong, what happened to state (usually
 * nothing) and what to do next.
 */
export type ErrorCode =
  // input
  | 'bad_argument'
  | 'bad_command'
  | 'bad_config'
  | 'bad_token'
  | 'later_stage'
  // trust
  | 'not_paired'
  | 'not_permitted'
  | 'token_expired'
  | 'token_used'
  | 'token_guesses_exhausted'
  | 'already_in_mesh'
  | 'identity_corrupt'
  | 'roster_corrupt'
  | 'protocol_mismatch'
  // placement
  | 'unknown_node'
  | 'ambiguous_node'
  | 'node_unreachable'
  | 'no_capable_node'
  | 'queue_full'
  | 'queue_timeout'
  | 'refused'
  | 'cwd_missing'
  | 'cwd_not_allowed'
  | 'worktree_ambiguous'
  // execution
  | 'spawn_failed'
  | 'lost'
  | 'unknown_outcome'
  | 'cancelled'
  // jobs
  | 'job_unknown'
  | 'job_ambiguous'
  | 'job_expired'
  | 'job_finished'
  | 'job_unreachable'
  | 'offset_out_of_range'
  | 'nested_too_deep'
  // workspaces
  | 'no_project'
  | 'too_large'
  | 'unreadable_file'
  | 'secrets_undecided'
  | 'sync_failed'
  | 'needs_prepare'
  | 'nothing_to_apply'
  // this machine
  | 'daemon_not_running'
  | 'daemon_start_failed'
  | 'already_running'
  | 'port_in_use'
  | 'home_not_writable'
  | 'io'
  | 'limit'
  | 'timeout'
  | 'internal';

/** The one error type for expected failures that cross a module. Bugs throw AssertionError or a plain Error instead. */
export class MeshError extends Error {
  override readonly name = 'MeshError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/** The text of anything thrown, for messages and logs. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a Node.js system error such as `ENOENT`, or '' when there is none. */
export function systemCodeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}

/** Where something thrown comes from, for the log; '' where it doesn't say. */
export function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? '') : '';
}
