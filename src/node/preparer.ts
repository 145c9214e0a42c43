import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { killTrees } from '../adapters/process/tree.ts';
import type { NodeProbe } from '../adapters/os/system-probe.ts';
import { textOfBytes } from '../base/byte-text.ts';
import { systemCodeOf } from '../base/errors.ts';
import { escapeControls } from '../base/escape.ts';
import { type JobId, makeJobId, type NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { err, ok, type Result } from '../base/result.ts';
import { formatDuration } from '../base/units.ts';
import { quoteWord } from '../core/policy/package-runner.ts';
import { baseOf } from '../core/workspace/dependency-files.ts';
import { isMovable } from '../core/workspace/package-recipes.ts';
import type { Runner, RunRequest } from '../ports/runner.ts';
import type { WorkspaceFiles } from '../ports/workspace.ts';
import type { Command } from '../wire/job-spec.ts';
import type { Reason } from '../wire/jobs.ts';
import type { PrepareStep } from '../wire/workspace.ts';
import type { AuditLog } from './audit-log.ts';
import { endText, outcomeText, runPreparation } from './prepare-run.ts';
import { PrepareNotes, stampOf } from './prepare-stamps.ts';

/** What one step may take: downloads and native builds of large projects included. */
const STEP_MS_MAX = 30 * 60_000;
const NOTICE_FOLDERS_MAX = 3;
/** Of a command, in notices and refusals. */
const LABEL_CHARS_MAX = 100;
const REFUSAL_CHARS_MAX = 3500;

export interface PrepareRequest extends Pick<RunRequest, 'env' | 'umask' | 'user'> {
  /** Of `WorkspaceFiles.open`, with the files placed. */
  readonly workspaceId: string;
  /** The project's root there, absolute. */
  readonly tree: string;
  readonly steps: readonly PrepareStep[];
  /** The origin, for the audit log. */
  readonly by: NodeId;
  /** Ends what runs; the end is waited for. */
  readonly signal: AbortSignal;
  /** What runs, when it begins, and then the last line of its output. */
  readonly onProgress: (line: string) => void;
}

export interface PrepareContext {
  readonly runner: Runner;
  readonly files: Pick<WorkspaceFiles, 'digest' | 'readNote' | 'writeNote'>;
  readonly probe: Pick<NodeProbe, 'facts' | 'whenLooked' | 'hasTool'>;
  /** The executor's policy: a step is a command of another node. */
  readonly judge: (command: Command) => Result<null, Reason>;
  readonly audit: AuditLog;
  /** The ids of the preparations under way here, kept by `prepare`: jobs that nobody submitted. */
  readonly running: Set<JobId>;
  /** The name of the account that commands run as. */
  readonly userName: string;
  readonly log: Logger;
}

export interface Prepared {
  /** What was run, and what is missing all the same. */
  readonly notices: readonly string[];
  readonly ms: number;
  /** What the steps make, relative to the root, now or by an earlier run: no products of the job. */
  readonly prepared: readonly string[];
}

export interface PrepareFailure {
  /** `needs_prepare`: another node may do better. */
  readonly code: 'needs_prepare' | 'prepare_failed';
  readonly message: string;
}

/**
 * Makes the dependencies that are not sent: runs each step, in order, whose inputs, platform or tools are not those of its
 * last run in this folder, or of which something is gone. Nothing of the job has run before.
 *
 * @throws MeshError `io` where the slot's folder cannot be read or its note not be written
 */
export async function prepare(
  request: PrepareRequest,
  context: PrepareContext,
): Promise<Result<Prepared, PrepareFailure>> {
  const startedMs = performance.now();
  const prepared = [...new Set(request.steps.flatMap((step) => step.makes))];
  const notices: string[] = [];
  if (request.steps.length > 0) {
    const notes = await PrepareNotes.open(context.files, request.workspaceId, context.log);
    const begun = notes.begunIn(request.tree);
    // Its runner ends it, but maybe not yet: two at once would spoil what they make.
    if (begun !== null && (await killTrees([{ job: begun, attempt: 1 }], new Map(), context.log)) > 0) {
      const message = 'an earlier preparation of this folder is still running there and cannot be ended';
      return err({ code: 'prepare_failed', message });
    }
    for (const step of request.steps) {
      const done = await new StepRun(step, request, context, notes).carryOut();
      if (!done.ok) return done;
      notices.push(...done.value);
    }
  }
  return ok({ notices, ms: performance.now() - startedMs, prepared });
}

class StepRun {
  readonly #step: PrepareStep;
  readonly #request: PrepareRequest;
  readonly #context: PrepareContext;
  readonly #notes: PrepareNotes;

  constructor(step: PrepareStep, request: PrepareRequest, context: PrepareContext, notes: PrepareNotes) {
    this.#step = step;
    this.#request = request;
    this.#context = context;
    this.#notes = notes;
  }

  async carryOut(): Promise<Result<readonly string[], PrepareFailure>> {
    const [step, notes, { tree }] = [this.#step, this.#notes, this.#request];
    if (this.#request.signal.aborted) return this.#fail('prepare_failed', 'was cancelled before it began');
    const stamp = await this.#stamp();
    const known = notes.get(step);
    if (known?.stamp === stamp && (await this.#absent(known.made)).length === 0) return ok([]);
    const refusal = await this.#refusal();
    if (refusal !== null) return this.#fail('needs_prepare', refusal);
    const isElsewhere = known?.tree !== tree && !isMovable(step.tool);
    const ran = await this.#run(isElsewhere ? await this.#environments() : []);
    if (!ran.ok) {
      await notes.end();
      return this.#fail('prepare_failed', ran.error);
    }
    const missing = await this.#absent(step.makes);
    const made = step.makes.filter((path) => !missing.includes(path));
    // Taken before it ran: what changed meanwhile is prepared again.
    await notes.put(step, { stamp, tree, made });
    return ok(this.#notices(missing, ran.value));
  }

  #stamp(): Promise<string> {
    const { workspaceId, tree, env } = this.#request;
    const { files, probe } = this.#context;
    return stampOf(this.#step, { workspaceId, tree, path: env['PATH'] ?? '', files, probe });
  }

  /** Why it is not run on this node at all. */
  async #refusal(): Promise<string | null> {
    const { tool, run } = this.#step;
    const judged = this.#context.judge({ kind: 'line', line: run });
    if (!judged.ok) return `is not run here: ${judged.error.text}`;
    return tool === '' || (await this.#context.probe.hasTool(tool)) ? null : `needs ${tool}, which this node has not`;
  }

  /** @param stale folders to remove first. @returns how long it took, or how it failed */
  async #run(stale: readonly string[]): Promise<Result<number, string>> {
    const { audit, userName, runner, running, log } = this.#context;
    const { umask, user, signal, onProgress, by } = this.#request;
    const { folder } = this.#step;
    const cwd = join(this.#request.tree, textOfBytes(folder));
    // As the account that commands run as, who can remove only what that account may.
    const clearing = stale.map((path) => quoteWord(join(this.#request.tree, textOfBytes(path))));
    const line = clearing.length === 0 ? this.#step.run : `rm -rf -- ${clearing.join(' ')} && {\n${this.#step.run}\n}`;
    const job = makeJobId(Date.now(), randomBytes(16));
    const env = environmentOf(this.#request.env, cwd);
    await this.#notes.begin(this.#step, job, this.#request.tree);
    audit.append({ event: 'start', job, attempt: 1, by, command: line, cwd, user: userName });
    running.add(job);
    // One that prints nothing for long: the origin waits for so long for each, not for all of them together.
    onProgress(escapeControls(this.#label));
    const run = { job, line, cwd, env, umask, user, timeoutMs: STEP_MS_MAX, signal, onProgress };
    const { result, lines } = await runPreparation(runner, run);
    running.delete(job);
    const duration_ms = Math.round(result.durationMs);
    audit.append({ event: 'end', job, attempt: 1, by, outcome: outcomeText(result), duration_ms });
    log.info('dependencies', { command: this.#step.run, cwd, outcome: outcomeText(result), duration_ms });
    if (result.outcome.kind === 'exited' && result.outcome.code === 0) return ok(result.durationMs);
    return err(`${endText(result, STEP_MS_MAX)}${lines === '' ? '' : `\n${lines}`}`);
  }

  /** Those environments of Python among what it makes that are there: of another folder, whose path is in them. */
  async #environments(): Promise<readonly string[]> {
    const paths = this.#step.makes.filter((path) => ['.venv', 'venv'].includes(baseOf(path)));
    const absent = await this.#absent(paths);
    return paths.filter((path) => !absent.includes(path));
  }

  async #absent(paths: readonly string[]): Promise<readonly string[]> {
    const absent: string[] = [];
    for (const path of paths) {
      try {
        await lstat(Buffer.concat([Buffer.from(`${this.#request.tree}/`), Buffer.from(path, 'latin1')]));
      } catch (error) {
        if (!['ENOENT', 'ENOTDIR'].includes(systemCodeOf(error))) throw error;
        absent.push(path);
      }
    }
    return absent;
  }

  #notices(missing: readonly string[], tookMs: number): readonly string[] {
    const notice = `prepared there: ${this.#label} (${formatDuration(tookMs)})`;
    if (missing.length === 0) return [notice];
    const shown = missing.slice(0, NOTICE_FOLDERS_MAX).map(textOfBytes).join(', ');
    const more = missing.length > NOTICE_FOLDERS_MAX ? ` and ${missing.length - NOTICE_FOLDERS_MAX} more` : '';
    return [notice, `${this.#label} did not make ${shown}${more}, which this side has`];
  }

  get #label(): string {
    const { run, folder } = this.#step;
    const line = run.replace(/^set -e\n/, '').replaceAll('\n', '; ');
    const shown = line.length > LABEL_CHARS_MAX ? `${line.slice(0, LABEL_CHARS_MAX)}…` : line;
    return folder === '' ? `\`${shown}\`` : `\`${shown}\` in ${textOfBytes(folder)}`;
  }

  #fail(code: PrepareFailure['code'], what: string): Result<never, PrepareFailure> {
    return err({ code, message: `${this.#label} ${what}`.slice(0, REFUSAL_CHARS_MAX) });
  }
}

/**
 * That of the job, less what would make another set of packages of it; nobody is there to answer a question, and the hooks
 * of the workspace's repository are nobody's.
 */
function environmentOf(env: Readonly<Record<string, string>>, cwd: string): Record<string, string> {
  const { NODE_ENV: _, ...rest } = env;
  return { ...rest, PWD: cwd, CI: 'true', HUSKY: '0', COREPACK_ENABLE_DOWNLOAD_PROMPT: '0' };
}
