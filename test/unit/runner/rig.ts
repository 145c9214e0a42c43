import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes, type Hash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { makeJobId, type JobId } from '../../../src/base/ids.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { enterGroup } from '../../../src/adapters/process/control-group.ts';
import { baseName, ownGroup } from '../../../src/adapters/process/group-place.ts';
import type { RunnerProcess } from '../../../src/adapters/process/runner-client.ts';
import { type RunnerOptions, startRunner } from '../../../src/adapters/process/runner-start.ts';
import type { ReadEnd, ReadRequest, RunRequest, RunResult } from '../../../src/ports/runner.ts';
import { type OutgoingStream, STREAM_WINDOW_BYTES } from '../../../src/wire/stream-mux.ts';
import { PLAIN_RUN } from '../../fixtures/plain-spec.ts';

/** A real runner, bundled from source, in a MESHWORK_HOME of its own. */
export interface Rig {
  readonly home: string;
  readonly runner: RunnerProcess;
  readonly runnerPath: string;
  start(): Promise<RunnerProcess>;
  close(): Promise<void>;
}

export interface Run {
  readonly job: JobId;
  readonly stdin: OutgoingStream | null;
  readonly started: Promise<number>;
  /** The result alone, whoever reads the outputs. */
  readonly ended: Promise<RunResult>;
  /** Bytes of stdout that came. */
  output(): number;
  abortStdout(): void;
  /** Settles when both outputs have ended and the result came. */
  readonly result: Promise<Ran>;
  cancel(): void;
}

export interface Ran extends RunResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly stdoutSha256: string;
  readonly streams: readonly ('ended' | 'aborted')[];
}

export interface RunOptions extends Partial<Omit<RunRequest, 'command'>> {
  readonly stdin?: boolean;
  /** Consumes nothing of stdout until told. */
  readonly stalled?: boolean;
  readonly onAbortStdin?: () => void;
  readonly onStdinSent?: (bytes: number) => void;
  readonly onStdout?: (text: string) => void;
}

/** Kept output of a test run; the rest is only hashed. */
const KEPT_BYTES_MAX = 256 * 1024;

const RUNNER = 'src/runner/main.ts';

export const BASE_ENV: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/tmp',
  LANG: 'C.UTF-8',
};

const bundles = new Map<string, string>();

function bundle(source: string): string {
  const known = bundles.get(source);
  if (known !== undefined) return known;
  const folder = mkdtempSync(path.join(tmpdir(), 'mw-bundle-'));
  const outfile = path.join(folder, 'program.mjs');
  const options = { bundle: true, format: 'esm', platform: 'node', logLevel: 'error' } as const;
  buildSync({ ...options, entryPoints: [source], outfile, external: ['@lydell/node-pty'] });
  symlinkSync(path.resolve('node_modules'), path.join(folder, 'node_modules'));
  bundles.set(source, outfile);
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return outfile;
}

/** A daemon reduced to what the runner sees of one, as a process of its own that a test can kill. */
export async function makeDaemon(
  line: string,
  options: { readonly graceMs?: number; readonly durable?: boolean } = {},
) {
  const home = mkdtempSync(path.join(tmpdir(), 'mw-home-'));
  const job = newJob();
  const args = [bundle(fileURLToPath(new URL('./tiny-daemon.ts', import.meta.url))), bundle(RUNNER), home, job, line];
  args.push(String(options.graceMs ?? 60_000), options.durable === true ? 'durable' : 'foreground');
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const runnerPid = await new Promise<number>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the daemon exited with ${code}`)));
    child.stdout.once('data', (text: Buffer) => resolve(Number(text.toString('utf8'))));
  });
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await until('the daemon is gone', () => !isAlive(child.pid ?? 0));
  };
  return {
    home,
    job,
    runnerPid,
    kill,
    pid: child.pid ?? 0,
    remove: () => rmSync(home, { recursive: true, force: true }),
  };
}

export async function makeRig(
  home = mkdtempSync(path.join(tmpdir(), 'mw-home-')),
  more: Partial<RunnerOptions> = {},
): Promise<Rig> {
  const runnerPath = bundle(RUNNER);
  const runners: RunnerProcess[] = [];
  const start = async (): Promise<RunnerProcess> => {
    const options = { runnerPath, socketPath: path.join(home, 'runner.sock'), logPath: path.join(home, 'runner.log') };
    const runner = await startRunner({ ...options, log: silentLogger, logBytesMax: 16 * 1024 * 1024, ...more });
    runners.push(runner);
    return runner;
  };
  const runner = await start();
  return {
    home,
    runner,
    runnerPath,
    start,
    close: async () => {
      await Promise.all(runners.map((each) => each.close()));
      rmSync(home, { recursive: true, force: true });
    },
  };
}

export const newJob = (): JobId => makeJobId(Date.now(), randomBytes(16));

export function run(runner: RunnerProcess, command: string | readonly string[], options: RunOptions = {}): Run {
  const { mux } = runner;
  const job = options.job ?? newJob();
  const { stdin: wantsStdin, stalled, onAbortStdin, onStdinSent, onStdout, ...rest } = options;
  const hash = createHash('sha256');
  const out = collect(runner, hash, stalled ?? false, onStdout);
  const err = collect(runner, createHash('sha256'), false);
  const stdinStream = wantsStdin === true ? mux.nextId() : null;
  const handlers = {
    ...(onAbortStdin === undefined ? {} : { onAbort: onAbortStdin }),
    ...(onStdinSent === undefined ? {} : { onSent: onStdinSent }),
  };
  const stdin = stdinStream === null ? null : mux.openOutgoing(stdinStream, 0, handlers);
  const request: RunRequest = {
    job,
    attempt: 1,
    command: typeof command === 'string' ? { kind: 'line', line: command } : { kind: 'argv', argv: [...command] },
    cwd: '/tmp',
    env: BASE_ENV,
    umask: 0o022,
    timeoutMs: null,
    stdinStream,
    stdoutStream: out.id,
    stderrStream: err.id,
    windowBytes: STREAM_WINDOW_BYTES,
    outputBytesMax: null,
    user: null,
    ...PLAIN_RUN,
    ...rest,
  };
  let onStarted: (pid: number) => void = () => undefined;
  const started = new Promise<number>((resolve) => (onStarted = resolve));
  const ended = new Promise<RunResult>((resolve, reject) => {
    let count = 0;
    const onEnded = (result: RunResult): void => (++count === 1 ? resolve(result) : reject(new Error('ended twice')));
    runner.run(request, { onStarted, onEnded });
  });
  const result = (async (): Promise<Ran> => {
    const [outcome, outEnd, errEnd] = await Promise.all([ended, out.end, err.end]);
    const texts = { stdout: out.text(), stderr: err.text(), stdoutSha256: hash.digest('hex') };
    return { ...outcome, ...texts, streams: [outEnd, errEnd] };
  })();
  return {
    job,
    stdin,
    started,
    ended,
    result,
    output: () => out.count(),
    abortStdout: () => out.stream.abort(),
    cancel: () => runner.cancel(job, 1),
  };
}

export interface Reading {
  /** Settles when stream and read have ended. */
  readonly end: Promise<ReadEnd>;
  bytes(): Buffer;
}

/** @param options `stopAfter`: consumes no more once so many bytes came */
export function read(
  runner: RunnerProcess,
  job: JobId,
  options: Partial<Omit<ReadRequest, 'job' | 'streamId'>> & { readonly stopAfter?: number } = {},
): Reading {
  const { stopAfter = Number.POSITIVE_INFINITY, ...request } = options;
  const chunks: Buffer[] = [];
  let count = 0;
  const streamId = runner.mux.nextId();
  const end = new Promise<ReadEnd>((resolve) => {
    let told: ReadEnd | null = null;
    let isOpen = true;
    const settle = (): void => {
      if (told !== null && !isOpen) resolve(told);
    };
    const closed = (): void => {
      isOpen = false;
      settle();
    };
    const stream = runner.mux.openIncoming(streamId, STREAM_WINDOW_BYTES, {
      onData: (bytes) => {
        chunks.push(Buffer.from(bytes));
        count += bytes.byteLength;
        if (count < stopAfter) stream.consumed(bytes.byteLength);
      },
      onEnd: closed,
      onAbort: closed,
    });
    const whole = { job, attempt: 1, stream: 'stdout', offset: 0, follow: true, holds: false, streamId } as const;
    runner.read({ ...whole, windowBytes: STREAM_WINDOW_BYTES, ...request }, (how) => {
      told = how;
      settle();
    });
  });
  return { end, bytes: () => Buffer.concat(chunks) };
}

function collect(runner: RunnerProcess, hash: Hash, stalled: boolean, onText?: (text: string) => void) {
  const id = runner.mux.nextId();
  const chunks: Buffer[] = [];
  let kept = 0;
  let settle: (how: 'ended' | 'aborted') => void = () => undefined;
  const end = new Promise<'ended' | 'aborted'>((resolve) => (settle = resolve));
  const stream = runner.mux.openIncoming(id, STREAM_WINDOW_BYTES, {
    onData: (bytes) => {
      hash.update(bytes);
      if (kept < KEPT_BYTES_MAX) chunks.push(Buffer.from(bytes));
      kept += bytes.byteLength;
      onText?.(Buffer.from(bytes).toString('utf8'));
      if (!stalled) stream.consumed(bytes.byteLength);
    },
    onEnd: () => settle('ended'),
    onAbort: () => settle('aborted'),
  });
  return { id, end, count: () => kept, text: () => Buffer.concat(chunks).toString('latin1'), stream };
}

/** Pids of living processes that carry the job's cookie. Linux only. */
export function alive(job: JobId): number[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^[0-9]+$/.test(name)) return [];
    try {
      const environ = readFileSync(`/proc/${name}/environ`, 'latin1');
      return `\0${environ}`.includes(`\0MESHWORK_JOB_ID=${job}\0`) ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

/**
 * The folder of an attempt's own control group as the runner would make it, or why there is none to be had here: whether
 * it can be is tried.
 */
export function groupOf(home: string): { readonly folder: string } | { readonly why: string } {
  const own = ownGroup();
  if (own === null) return { why: 'no cgroup v2 here' };
  const folder = path.join(own, baseName(home));
  try {
    mkdirSync(folder, { recursive: true });
    enterGroup(folder);
    enterGroup(own);
    return { folder };
  } catch (error) {
    return { why: `control groups cannot be made here: ${String(error)}` };
  }
}

/** Waits for a condition; never a fixed time. */
export async function until(what: string, condition: () => boolean, withinMs = 30_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export const isAlive = (pid: number): boolean => {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
};

export const has = (program: string): boolean => {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};
