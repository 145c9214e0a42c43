/** The shapes that fronts may use: the control API's types, without its validation code. */
export type {
  ApiResults,
  ExplainReport,
  InviteReport,
  JobEvent,
  JobsReport,
  JoinReport,
  LeaveReport,
  NodeReport,
  RunObject,
  SettingsReport,
  StatusReport,
} from '../wire/api.ts';
export type { LogRead, LogStream } from '../wire/job-query.ts';
export type { JobRecord } from '../wire/job-record.ts';
export type { Command, JobSpec, Requirements, Target, TerminalSize } from '../wire/job-spec.ts';
