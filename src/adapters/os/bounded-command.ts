import { spawn, type ChildProcess } from 'node:child_process';
import { setPriority } from 'node:os';
import { messageOf, systemCodeOf } from '../../base/errors.ts';

/** How a look at this machine runs a program: never with this process's environment, never longer than asked. */
export interface BoundedCommand {
  readonly file: string;
  readonly args: readonly string[];
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly timeoutMs: number;
  /** Of stdout and of stderr, each. */
  readonly outputBytesMax: number;
  /** True where a person or a job waits for it: it does not yield to jobs then. */
  readonly urgent?: boolean;
  /** Another user (a root daemon with `exec.user`); null = this process's own. */
  readonly user: { readonly uid: number; readonly gid: number } | null;
}

export type CommandEnd =
  | { readonly kind: 'exited'; readonly code: number | null; readonly stdout: Buffer; readonly stderr: Buffer }
  | { readonly kind: 'timeout' | 'too_much_output' }
  | { readonly kind: 'not_started'; readonly message: string };

/** After the leader's exit its pipes get this long to close: what it left running may hold them for ever. */
const DRAIN_MS = 200;
/** From TERM to KILL, for what is over its bound. */
const TERM_GRACE_MS = 1000;
/** Looks at the machine that nobody waits for yield to jobs. */
const NICENESS = 10;

/**
 * Runs a program to its end with stdin empty, in a process group of its own that is killed whole afterwards, so that
 * nothing outlives the look. Never throws; plain spawn and not execa, whose time-out reaches the leader only.
 */
export function runBounded(command: BoundedCommand): Promise<CommandEnd> {
  let child: ChildProcess;
  try {
    child = spawn(command.file, command.args, {
      env: command.env,
      cwd: command.cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      ...(command.user === null ? {} : { uid: command.user.uid, gid: command.user.gid }),
    });
  } catch (error) {
    return Promise.resolve({ kind: 'not_started', message: messageOf(error) });
  }
  if (command.urgent !== true) lowerPriority(child.pid);
  return follow(child, command);
}

function follow(child: ChildProcess, command: BoundedCommand): Promise<CommandEnd> {
  return new Promise((resolve) => {
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    let exitCode: number | null = null;
    let drain: NodeJS.Timeout | null = null;
    let stopping: CommandEnd | null = null;
    let isOver = false;
    const finish = (end: CommandEnd): void => {
      isOver = true;
      clearTimeout(limit);
      if (drain !== null) clearTimeout(drain);
      signalGroup(child.pid, 'SIGKILL');
      child.stdout?.destroy();
      child.stderr?.destroy();
      resolve(end);
    };
    /** What is over its bound is asked first: a profile killed outright leaves its locks behind (pyenv's for good). */
    const stop = (end: CommandEnd): void => {
      if (stopping !== null) return;
      stopping = end;
      clearTimeout(limit);
      signalGroup(child.pid, 'SIGTERM');
      drain = setTimeout(() => finish(end), TERM_GRACE_MS);
    };
    const exited = (): void =>
      finish(
        stopping ?? { kind: 'exited', code: exitCode, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr) },
      );
    const late = (): void => {
      if (!isOver && drain === null) stop({ kind: 'timeout' });
    };
    // Where it was this process that was held up, the exit is there and not seen yet.
    const limit = setTimeout(() => setImmediate(late), command.timeoutMs);
    for (const [stream, chunks] of [
      [child.stdout, stdout],
      [child.stderr, stderr],
    ] as const) {
      let bytes = 0;
      stream?.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > command.outputBytesMax) stop({ kind: 'too_much_output' });
        else chunks.push(chunk);
      });
    }
    child.on('error', (error) => finish({ kind: 'not_started', message: messageOf(error) }));
    child.on('exit', (code) => {
      exitCode = code;
      if (stopping !== null) return;
      drain = setTimeout(exited, DRAIN_MS);
    });
    child.on('close', exited);
  });
}

function lowerPriority(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    setPriority(pid, NICENESS);
  } catch (error) {
    // ESRCH: it has ended already. EACCES, EPERM: not ours to change, and then it runs at the usual priority.
    if (!['ESRCH', 'EACCES', 'EPERM'].includes(errnoOf(error))) throw error;
  }
}

function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch (error) {
    // ESRCH: the group is empty, as it should be. EPERM (macOS): only zombies are left in it.
    if (!['ESRCH', 'EPERM'].includes(systemCodeOf(error))) throw error;
  }
}

/** `os.setPriority` reports `ERR_SYSTEM_ERROR` and keeps the errno's name in `info`. */
function errnoOf(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'info' in error) return systemCodeOf(error.info);
  return systemCodeOf(error);
}
