/** The shapes that fronts may use: the control API's types, without its validation code. */
export type {
  ApiResults,
  ExplainReport,
  InviteReport,
  JobEvent,
  JoinReport,
  LeaveReport,
  NodeReport,
  RunObject,
  SettingsReport,
  StatusReport,
} from '../wire/api.ts';
export type { Command, JobSpec, Requirements, Target } from '../wire/job-spec.ts';
