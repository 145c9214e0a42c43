import { z } from 'zod';
import type { ArchName, OsName } from './facts.ts';
import type { Changes } from './changes.ts';
import { LOG_STREAMS, type LogRead } from './job-query.ts';
import type { JobRecord } from './job-record.ts';
import { jobIdSchema, type Reason } from './jobs.ts';
import { jobSpecSchema, terminalSizeSchema } from './job-spec.ts';

/**
 * The control socket's messages (`MESHWORK_HOME/control.sock`): what the CLI and the MCP server say to their own daemon.
 * Framing is wire/framing.ts; the bytes of jobs are stream frames on the same socket.
 */
export const PEERS_MAX = 64;
export const ESTIMATES_MAX = 20_000;
export const INVITE_TTL_MS_MAX = 24 * 3_600_000;
const address = z.string().min(1).max(300);
const streamId = z.int().min(1).max(0x7fff_ffff);

export const submitParamsSchema = z.strictObject({
  spec: jobSpecSchema,
  /** Streams of this socket, chosen by the client. The daemon grants credit for stdin once the job starts. */
  streams: z.strictObject({ stdin: streamId.nullable(), stdout: streamId, stderr: streamId }),
  /** Bytes that the daemon may send on each output stream before further credit. */
  window_bytes: z.int().positive(),
});

/** A whole job id, or the beginning of one, as people type it. */
const jobName = z.string().min(1).max(64);

const request = <M extends string, P extends z.ZodType>(method: M, params: P) =>
  z.strictObject({ t: z.literal('request'), id: z.int().positive(), method: z.literal(method), params });

export const apiRequestSchema = z.discriminatedUnion('method', [
  request('status', z.strictObject({})),
  request('settings', z.strictObject({})),
  request('submit', submitParamsSchema),
  request('explain', z.strictObject({ spec: jobSpecSchema })),
  /** A job of any node of the mesh. */
  request('cancel', z.strictObject({ job: jobName })),
  /** A client that lost its connection goes on reading: its foreground job, from these offsets. Answered as `submit`. */
  request(
    'attach',
    z.strictObject({
      job: jobIdSchema,
      streams: z.strictObject({ stdout: streamId, stderr: streamId }),
      stdout_offset: z.int().nonnegative(),
      stderr_offset: z.int().nonnegative(),
      window_bytes: z.int().positive(),
    }),
  ),
  /** The submitter reads no more: the job goes on as a durable one, and its `submit` is answered unfinished. */
  request('detach', z.strictObject({ job: jobIdSchema })),
  request('resize', z.strictObject({ job: jobIdSchema, size: terminalSizeSchema })),
  request('jobs', z.strictObject({ all: z.boolean() })),
  request('job', z.strictObject({ job: jobName })),
  /** Answered when it has finished, or after `wait_ms` as it is then. */
  request('wait', z.strictObject({ job: jobName, wait_ms: z.int().min(0).nullable() })),
  /** Output from `offset` on into the stream, which ends there; answered at its end. */
  request(
    'logs',
    z.strictObject({
      job: jobName,
      /** The one that `offset` counts in; null: the newest. */
      attempt: z.int().positive().nullable(),
      stream: z.enum(LOG_STREAMS),
      offset: z.int(),
      follow: z.boolean(),
      stream_id: streamId,
      window_bytes: z.int().positive(),
    }),
  ),
  /** How long these commands took before, seconds; null where nobody knows. */
  request(
    'estimate',
    z.strictObject({ cwd: z.string().max(4096), commands: z.array(z.string().max(4096)).max(ESTIMATES_MAX) }),
  ),
  /** The daemon ends and leaves its runner and the jobs in it to the one that starts next. */
  request('restart', z.strictObject({})),
  /** Applies what a job changed and what was held back of it. */
  request('apply', z.strictObject({ job: jobName })),
  /** What this node keeps for others, and what it remembers of its own projects. */
  request('workspaces', z.strictObject({})),
  /** `names`: of projects, as `workspaces` shows them; empty: all that no job uses. */
  request('workspaces_rm', z.strictObject({ names: z.array(z.string().min(1).max(300)).max(PEERS_MAX) })),
  /** Decides about files of the project that `cwd` lies in, which are relative to cwd or absolute; none: asks. */
  request(
    'secrets',
    z.strictObject({
      cwd: z.string().max(4096),
      decision: z.enum(['send', 'skip', 'ask']),
      files: z.array(z.string().min(1).max(4096)).max(PEERS_MAX),
    }),
  ),
  request('invite', z.strictObject({ ttl_ms: z.int().min(1000).max(INVITE_TTL_MS_MAX), admin: z.boolean() })),
  request(
    'join',
    z.strictObject({
      token: z.string().max(4096),
      peers: z.array(address).max(PEERS_MAX),
      submit_only: z.boolean(),
    }),
  ),
  request('leave', z.strictObject({})),
  request('down', z.strictObject({ drain: z.boolean() })),
]);
export type ApiRequest = z.infer<typeof apiRequestSchema>;
export type ApiMethod = ApiRequest['method'];
export type ApiParams<M extends ApiMethod> = Extract<ApiRequest, { method: M }>['params'];

/** Client's first message. `parent_job`: MESHWORK_JOB_ID of the client's environment, if any (a guard rail). */
export const apiHelloSchema = z.strictObject({
  t: z.literal('hello'),
  protocol: z.int(),
  client: z.enum(['cli', 'mcp', 'other']),
  parent_job: z.string().max(64).nullable(),
});
export type ApiHello = z.infer<typeof apiHelloSchema>;

export interface ApiErrorBody {
  readonly code: string;
  readonly message: string;
}

/** Daemon → client. */
export type ApiDaemonMessage =
  | { readonly t: 'hello'; readonly protocol: number; readonly pid: number; readonly version: string }
  | { readonly t: 'event'; readonly id: number; readonly event: JobEvent }
  | { readonly t: 'response'; readonly id: number; readonly ok: true; readonly result: unknown }
  | { readonly t: 'response'; readonly id: number; readonly ok: false; readonly error: ApiErrorBody }
  /** Last of all, where the daemon ends in order; `comes_back`: another one takes its jobs over at once. */
  | { readonly t: 'bye'; readonly comes_back: boolean };

/** What happens to a submitted job before its result. */
export type JobEvent =
  | { readonly kind: 'accepted'; readonly job: string }
  | {
      readonly kind: 'state';
      readonly state: 'queued' | 'syncing' | 'preparing' | 'running';
      /** Node name once known. */
      readonly node: string | null;
      /** One line for people: position in the queue, why it waits, why there. */
      readonly detail: string;
    };

export type JobReason = 'exited' | 'signaled' | 'timeout' | 'cancelled' | 'refused' | 'lost' | 'unknown';

/** The run object of the contract, keys in this order. `stdout`/`stderr` are filled in by the front that read them. */
export interface RunObject {
  readonly notices: readonly string[];
  readonly state: 'queued' | 'preparing' | 'syncing' | 'running' | 'finished';
  readonly return_code: number | null;
  readonly executed_on: string | null;
  readonly cwd: string | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly changes: Changes;
  readonly success: boolean | null;
  readonly signal: string | null;
  readonly reason: JobReason | null;
  readonly job_id: string;
  readonly executed_on_id: string | null;
  readonly os: OsName | null;
  readonly arch: ArchName | null;
  readonly tools: Readonly<Record<string, { readonly here: string; readonly there: string }>>;
  readonly route: string;
  readonly auto_routed: boolean;
  readonly attempts: number;
  readonly stdout_bytes: number;
  readonly stderr_bytes: number;
  readonly truncated: boolean;
  readonly queue_ms: number;
  readonly dispatch_ms: number;
  readonly sync_ms: number;
  readonly duration_ms: number;
  readonly error?: ApiErrorBody;
  /** Of an unfinished job: what to call. */
  readonly next?: string;
  /** The outcome came after it had been called unknown. */
  readonly late?: true;
}

export interface JobsReport {
  readonly notices: readonly string[];
  /** Newest first. */
  readonly jobs: readonly JobRecord[];
  readonly more: number;
}

export interface NodeReport {
  readonly id: string;
  readonly name: string;
  readonly state: 'alive' | 'suspect' | 'dead' | 'left';
  readonly reachable: boolean;
  readonly age_ms: number | null;
  readonly os: OsName | null;
  readonly arch: ArchName | null;
  readonly cores: number | null;
  readonly slots: number | null;
  readonly jobs_running: number | null;
  readonly jobs_queued: number | null;
  readonly cpu_percent: number | null;
  readonly memory_percent: number | null;
  readonly load_1m: number | null;
  readonly status: 'healthy' | 'overloaded';
  readonly capabilities: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly string[];
  readonly version: string | null;
  readonly roles: readonly string[];
  /** Present only where MESHWORK_FACTS_FILE overrides what the node says of itself. */
  readonly facts?: 'overridden';
}

export interface StatusReport {
  readonly mesh_id: string;
  readonly local_node: string;
  readonly daemon_pid: number;
  readonly notices: readonly string[];
  readonly nodes: readonly NodeReport[];
  readonly nearby: readonly { readonly name: string; readonly address: string }[];
}

export interface ExplainCandidate {
  readonly id: string;
  readonly name: string;
  /** Estimated finish time; lower is better. */
  readonly score_s: number;
  /** What the score is made of, seconds each. */
  readonly terms: Readonly<Record<string, number>>;
  /** How many times longer it takes there than here, both idle, and from what that is known. */
  readonly slowness: number;
  readonly slowness_source: 'history' | 'cores';
  /** Of the project's files, those that it lacks: 0 where its workspace is warm, null where none are sent. */
  readonly sync_bytes: number | null;
  readonly chosen: boolean;
}

export interface ExplainReport {
  readonly notices: readonly string[];
  readonly class: 'bound' | 'light' | 'heavy' | 'other';
  readonly class_reason: string;
  readonly tools: readonly string[];
  /** Null where nothing can run it: see `error`. */
  readonly would_run_on: string | null;
  readonly would_run_on_id: string | null;
  readonly route: string;
  /** How long it is taken to run on this node, idle, from earlier runs or for its class; null where nothing can run it. */
  readonly expected: { readonly seconds_here: number; readonly source: 'history' | 'class' } | null;
  readonly candidates: readonly ExplainCandidate[];
  /** Every other node with all the reasons against it. */
  readonly rejected: readonly { readonly id: string; readonly name: string; readonly reasons: readonly Reason[] }[];
  readonly error?: ApiErrorBody;
}

export interface InviteReport {
  readonly token: string;
  readonly expires_in_s: number;
  readonly notices: readonly string[];
}

export interface JoinReport {
  readonly mesh_id: string;
  readonly inviter: string;
  readonly inviter_id: string;
  readonly roles: readonly string[];
  /** Who may now run what here, as which user: lines for people. */
  readonly notices: readonly string[];
}

export interface LeaveReport {
  readonly left_mesh_id: string;
  readonly mesh_id: string;
  readonly notices: readonly string[];
}

/** What the running daemon was started with, for `up` on a live daemon. */
export interface SettingsReport {
  readonly name: string;
  /** As asked for, `HOST:PORT`; port 0 stays 0 here. */
  readonly listen: string;
  readonly peers: readonly string[];
  readonly mdns: boolean;
  readonly slots: number;
  readonly labels: Readonly<Record<string, string>>;
  /** What the MCP server follows. */
  readonly mcp: { readonly timeout_s: number; readonly wait_s: number; readonly roots: readonly string[] };
}

export interface WorkspaceReport {
  /** The project's name there; what `workspaces rm` takes. */
  readonly name: string;
  readonly origin: string;
  readonly origin_id: string;
  /** At the origin. */
  readonly root: string;
  readonly slots: number;
  readonly in_use: number;
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly used_ms: number;
}

export interface WorkspacesReport {
  readonly notices: readonly string[];
  readonly workspaces: readonly WorkspaceReport[];
  /** Objects of all origins, besides the trees. */
  readonly store_bytes: number;
}

export interface SecretsReport {
  readonly root: string;
  readonly notices: readonly string[];
  readonly files: readonly { readonly path: string; readonly decision: 'send' | 'skip' | null }[];
}

export interface ApplyReport {
  readonly job: string;
  readonly changes: Changes;
  readonly notices: readonly string[];
}

export interface ApiResults {
  readonly status: StatusReport;
  readonly settings: SettingsReport;
  readonly submit: RunObject;
  readonly explain: ExplainReport;
  /** The job's end was asked for where it runs; `job` is its whole id. */
  readonly cancel: { readonly cancelled: boolean; readonly job: string };
  readonly attach: RunObject;
  readonly detach: { readonly detached: boolean };
  readonly resize: { readonly resized: boolean };
  readonly jobs: JobsReport;
  readonly job: JobRecord;
  readonly wait: JobRecord;
  /** `job`: its whole id. `run_again`: while it was followed, the job was placed again; read that attempt from 0 on. */
  readonly logs: LogRead & { readonly job: string; readonly attempt: number; readonly run_again: number | null };
  readonly estimate: { readonly seconds: readonly (number | null)[] };
  /** `flags`: of `up`, as the daemon was started with. Not `detached`: who started it must start it again. */
  readonly restart: {
    readonly jobs_running: number;
    readonly flags: readonly string[];
    /** The settings of its environment, `MESHWORK_*`. */
    readonly env: Readonly<Record<string, string>>;
    readonly detached: boolean;
  };
  readonly apply: ApplyReport;
  readonly workspaces: WorkspacesReport;
  readonly workspaces_rm: {
    readonly removed: readonly string[];
    readonly bytes: number;
    readonly notices: readonly string[];
  };
  readonly secrets: SecretsReport;
  readonly invite: InviteReport;
  readonly join: JoinReport;
  readonly leave: LeaveReport;
  readonly down: { readonly jobs_ended: number };
}
