import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { messageOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';

/**
 * Real pipes for children. Node.js gives a child socket pairs as its stdio, and Linux cannot open those by name: then
 * `echo x > /dev/stderr` and `cat /dev/stdin` fail, and a bash whose stdin is a socket takes itself for rshd's and
 * reads ~/.bashrc. Node.js has no call that makes a pipe; a shell makes one for each here-document, which
 * `/proc/PID/fd/N` lets us open at both ends. One shell makes a batch, ahead of need.
 */
export interface Pipe {
  readonly readFd: number;
  readonly writeFd: number;
}

/** Below this many pipes at hand another batch is made. */
const POOL_LOW_COUNT = 16;
const BATCHES_AT_ONCE_MAX = 4;
const BATCH_TIMEOUT_MS = 3000;
const FAILURES_MAX = 3;

interface Recipe {
  readonly file: string;
  readonly args: readonly string[];
  readonly firstFd: number;
  readonly count: number;
}

const fds = (first: number, count: number): number[] => Array.from({ length: count }, (_, index) => first + index);

/** `<<<` and `<<` of one short line are pipes in bash since 5.1, dash and busybox; before, bash used files. */
const RECIPES: readonly Recipe[] = [
  {
    file: 'bash',
    args: [
      '--norc',
      '-c',
      `exec ${fds(10, 32)
        .map((fd) => `${fd}<<<x`)
        .join(' ')}; echo; read -r x`,
    ],
    firstFd: 10,
    count: 32,
  },
  {
    file: 'sh',
    args: [
      '-c',
      `exec ${fds(3, 7)
        .map((fd) => `${fd}<<E`)
        .join(' ')}\n${'x\nE\n'.repeat(7)}echo; read -r x`,
    ],
    firstFd: 3,
    count: 7,
  },
  {
    file: 'bash',
    args: [
      '--norc',
      '-c',
      `for i in ${fds(10, 16).join(' ')}; do eval "exec $i< <(echo x)"; done; wait; echo; read -r x`,
    ],
    firstFd: 10,
    count: 16,
  },
];

export function closeQuietly(fd: number, log: Logger): void {
  try {
    closeSync(fd);
  } catch (error) {
    log.error('cannot close a descriptor', { fd, error: messageOf(error) });
  }
}

export class PipePool {
  readonly #log: Logger;
  readonly #pipes: Pipe[] = [];
  readonly #waiting: { readonly count: number; readonly give: (pipes: Pipe[] | null) => void }[] = [];
  #recipe = 0;
  #failures = 0;
  #making = 0;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Call once at the start, so that the first command need not wait. */
  fill(): void {
    if (process.platform !== 'linux') this.#recipe = RECIPES.length;
    this.#refill();
  }

  /** @returns `count` pipes, now owned by the caller, or null where this system has no way: use Node's own then */
  async take(count: number): Promise<Pipe[] | null> {
    const ready = this.takeNow(count);
    if (ready !== null || this.#recipe >= RECIPES.length) return ready;
    return new Promise((give) => {
      this.#waiting.push({ count, give });
      this.#refill();
    });
  }

  /** As `take`, but null where not enough are at hand. Waiters go first. */
  takeNow(count: number): Pipe[] | null {
    if (this.#waiting.length > 0 || this.#pipes.length < count) return null;
    const pipes = this.#pipes.splice(0, count);
    this.#refill();
    return pipes;
  }

  #refill(): void {
    let wanted = POOL_LOW_COUNT;
    for (const { count } of this.#waiting) wanted += count;
    for (;;) {
      const recipe = RECIPES[this.#recipe];
      if (recipe === undefined) return this.#giveUp();
      if (this.#pipes.length + this.#making * recipe.count >= wanted || this.#making >= BATCHES_AT_ONCE_MAX) return;
      this.#making++;
      makeBatch(recipe).then(
        (pipes) => this.#made(pipes),
        (error: unknown) => this.#failed(recipe, error),
      );
    }
  }

  #made(pipes: readonly Pipe[]): void {
    this.#making--;
    this.#failures = 0;
    this.#pipes.push(...pipes);
    for (;;) {
      const first = this.#waiting[0];
      if (first === undefined || this.#pipes.length < first.count) break;
      this.#waiting.shift();
      first.give(this.#pipes.splice(0, first.count));
    }
    this.#refill();
  }

  #failed(recipe: Recipe, error: unknown): void {
    this.#making--;
    this.#log.warn('cannot make pipes', { shell: recipe.file, error: messageOf(error) });
    if (RECIPES[this.#recipe] === recipe && ++this.#failures >= FAILURES_MAX) {
      this.#recipe++;
      this.#failures = 0;
    }
    this.#refill();
  }

  #giveUp(): void {
    for (const { give } of this.#waiting.splice(0)) give(null);
  }
}

async function makeBatch(recipe: Recipe): Promise<Pipe[]> {
  const shell = spawn(recipe.file, recipe.args, { stdio: ['pipe', 'pipe', 'ignore'], timeout: BATCH_TIMEOUT_MS });
  try {
    await whenReady(shell);
    if (shell.pid === undefined) throw new Error('it has no pid');
    return openBatch(shell.pid, recipe);
  } finally {
    shell.stdin.destroy();
    shell.stdout.destroy();
  }
}

function whenReady(shell: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    shell.once('error', reject);
    shell.once('exit', (code) => reject(new Error(`it exited with ${code}`)));
    shell.stdout?.once('data', () => resolve());
    // The shell may be gone before we let it go: nothing of it is needed any more.
    shell.stdin?.on('error', reject);
  });
}

function openBatch(pid: number, recipe: Recipe): Pipe[] {
  const pipes: Pipe[] = [];
  const scratch = Buffer.alloc(16);
  try {
    for (const fd of fds(recipe.firstFd, recipe.count)) {
      const file = `/proc/${pid}/fd/${fd}`;
      const readFd = openSync(file, constants.O_RDONLY);
      const isPipe = fstatSync(readFd).isFIFO();
      if (isPipe) pipes.push({ readFd, writeFd: openSync(file, constants.O_WRONLY) });
      else closeSync(readFd);
      if (!isPipe) throw new Error('its here-documents are files');
      // What the shell wrote to make the pipe.
      readSync(readFd, scratch);
    }
    return pipes;
  } catch (error) {
    for (const pipe of pipes) {
      closeSync(pipe.readFd);
      closeSync(pipe.writeFd);
    }
    throw error;
  }
}
