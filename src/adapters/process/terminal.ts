import { chownSync, constants, openSync } from 'node:fs';
import { constants as system } from 'node:os';
import { Readable, Writable } from 'node:stream';
import { messageOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import type { TerminalSize } from '../../wire/job-spec.ts';
import { closeQuietly } from './pipe-pool.ts';
import { readProcess } from './process-table.ts';
import {
  type Exit,
  failed,
  type ForkPlace,
  prepareProgram,
  type Spawned,
  type SpawnRequest,
  startFailure,
  withUmask,
} from './spawn.ts';

/** What we use of the library, which passes bytes through where it has no encoding, whatever its types say. */
interface Library {
  spawn(file: string, args: string[], options: object): Terminal;
}

interface Terminal {
  readonly pid: number;
  /** Such as /dev/pts/3; not among its types. */
  readonly ptsName?: string;
  onData(listener: (chunk: string | Uint8Array) => void): unknown;
  onExit(listener: (exit: { readonly exitCode: number; readonly signal?: number }) => void): unknown;
  write(bytes: string | Uint8Array): void;
  resize(columns: number, rows: number): void;
  pause(): void;
  resume(): void;
  kill(signal: string): void;
}

const NO_TERMINALS =
  'this node has no pseudo-terminals: the optional package @lydell/node-pty is missing or does not fit (install meshwork ' +
  'without --omit=optional). Nothing was run.';
/**
 * What is read ahead before the terminal is paused. Rare by intent: the library drops what it holds of a paused terminal when
 * the command exits.
 */
const READ_AHEAD_BYTES = 1024 * 1024;
/** How often it is looked whether the command has exited, which the library tells only when nobody holds the terminal. */
const LOOK_MS = 20;
const TERM_USUAL = 'xterm-256color';
/** What a terminal's driver takes for the end of its input. */
const END_OF_INPUT = Buffer.from([4]);
const SIGNALS = new Map(Object.entries(system.signals).map(([name, number]) => [number, name]));

/** Starts a command on a pseudo-terminal of its own, as `spawnCommand` does on pipes; all its output is stdout. */
export async function spawnTerminal(
  request: Omit<SpawnRequest, 'merge' | 'stdin'>,
  size: TerminalSize,
  inPlace: ForkPlace,
  log: Logger,
): Promise<Spawned> {
  const library = await loadLibrary(log);
  if (library === null) return failed(NO_TERMINALS);
  // The library sets uid and gid, but leaves root's groups.
  const program = prepareProgram(request, { mergeByShell: false, idsBySetpriv: true });
  if ('kind' in program) return program;
  try {
    const terminal = withUmask(request.umask, () =>
      inPlace(() =>
        library.spawn(program.file, [...program.args], {
          name: program.env['TERM'] ?? TERM_USUAL,
          cols: size.columns,
          rows: size.rows,
          cwd: request.cwd,
          env: { ...program.env },
          encoding: null,
        }),
      ),
    );
    const held = holdOpen(terminal, log);
    if (request.user !== null && process.geteuid?.() === 0) giveTo(request.user, terminal, log);
    return endsOf(terminal, held, log);
  } catch (error) {
    return startFailure(error, request);
  }
}

async function loadLibrary(log: Logger): Promise<Library | null> {
  try {
    return await import('@lydell/node-pty');
  } catch (error) {
    log.warn('there are no pseudo-terminals', { error: messageOf(error) });
    return null;
  }
}

/** Who runs there may open the terminal by its name, from a moment after the start: the library tells the name no sooner. */
function giveTo(user: { readonly uid: number; readonly gid: number }, { pid, ptsName }: Terminal, log: Logger): void {
  if (ptsName === undefined) return;
  try {
    chownSync(ptsName, user.uid, user.gid);
  } catch (error) {
    // It may have exited already.
    log.warn('cannot give a terminal to its user', { pid, error: messageOf(error) });
  }
}

/**
 * The command's end of the terminal. The library gives up reading when the last one is closed, and loses what it had not
 * read (measured: up to 14 KiB): so we keep one until the command is gone and silent.
 */
function holdOpen({ pid, ptsName }: Terminal, log: Logger): number | null {
  if (ptsName === undefined) return null;
  try {
    return openSync(ptsName, constants.O_RDWR | constants.O_NOCTTY);
  } catch (error) {
    // It may have exited already.
    log.warn('cannot hold a terminal', { pid, error: messageOf(error) });
    return null;
  }
}

function endsOf(terminal: Terminal, held: number | null, log: Logger): Spawned {
  let isOver = false;
  let chunks = 0;
  let chunksBefore = -1;
  const look = setInterval(() => {
    if (readProcess(terminal.pid) !== null || chunks !== chunksBefore) chunksBefore = chunks;
    else letGo();
  }, LOOK_MS);
  const letGo = (): void => {
    clearInterval(look);
    if (held !== null) closeQuietly(held, log);
    held = null;
  };
  if (held === null) letGo();
  const stdout = new Readable({
    highWaterMark: READ_AHEAD_BYTES,
    read: () => terminal.resume(),
    destroy: (error, done) => {
      // Closing the terminal hangs the command up.
      if (!isOver) terminal.kill('SIGHUP');
      done(error);
    },
  });
  const exited = new Promise<Exit>((resolve) => {
    terminal.onData((chunk) => {
      chunks += 1;
      if (!stdout.destroyed && !stdout.push(Buffer.from(chunk))) terminal.pause();
    });
    // Comes after the last output, and may be as late as 200 ms where others hold the terminal.
    terminal.onExit(({ exitCode, signal }) => {
      isOver = true;
      letGo();
      if (!stdout.destroyed) stdout.push(null);
      const name = signal === undefined || signal === 0 ? null : (SIGNALS.get(signal) ?? `SIG${signal}`);
      resolve(name === null ? { code: exitCode, signal: null } : { code: null, signal: name });
    });
  });
  const write = (bytes: Uint8Array): void => {
    if (!isOver) terminal.write(Buffer.from(bytes));
  };
  let isClosed = false;
  const stdin = new Writable({
    write: (chunk: Uint8Array, _encoding, done) => {
      write(chunk);
      done();
    },
    destroy: (error, done) => {
      if (!isClosed) write(END_OF_INPUT);
      isClosed = true;
      done(error);
    },
  });
  const resize = ({ columns, rows }: TerminalSize): void => {
    try {
      if (!isOver) terminal.resize(columns, rows);
    } catch (error) {
      log.warn('cannot resize a terminal', { pid: terminal.pid, error: messageOf(error) });
    }
  };
  return { kind: 'spawned', pid: terminal.pid, exited, stdin, stdout, stderr: null, resize };
}
