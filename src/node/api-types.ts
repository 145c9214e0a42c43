/** The shapes that fronts may use: the control API's types, without its validation code. */
export type { Changes, LeftThere } from '../wire/changes.ts';
export type {
  ApiResults,
  ApplyReport,
  ExplainReport,
  InviteReport,
  JobEvent,
  JobsReport,
  JoinReport,
  LeaveReport,
  NodeReport,
  RunObject,
  SecretsReport,
  SettingsReport,
  StatusReport,
  WorkspacesReport,
} from '../wire/api.ts';
export type { LogRead, LogStream } from '../wire/job-query.ts';
export type { JobRecord } from '../wire/job-record.ts';
export type { Command, JobSpec, Requirements, SyncSpec, Target, TerminalSize } from '../wire/job-spec.ts';
