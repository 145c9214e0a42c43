import { unreachable } from '../base/assert.ts';
import { escapeControls } from '../base/escape.ts';
import { HeadTail } from '../base/head-tail.ts';
import type { JobId } from '../base/ids.ts';
import { formatDuration, KIB } from '../base/units.ts';
import type { Runner, RunRequest, RunResult } from '../ports/runner.ts';
import { STREAM_WINDOW_BYTES } from '../wire/stream-mux.ts';

/** Kept of a preparation's output, to show how it failed: npm tells the cause first, then pages of options. */
const HEAD_BYTES_MAX = 4 * KIB;
const TAIL_BYTES_MAX = 16 * KIB;
const FIRST_LINES_MAX = 8;
const LAST_LINES_MAX = 12;
const LINE_CHARS_MAX = 150;
/** The last line is told so often at most. */
const PROGRESS_MS = 300;
const PROGRESS_CHARS_MAX = 200;
const OUTCOME_CHARS_MAX = 200;

export interface PrepareRun extends Pick<RunRequest, 'cwd' | 'env' | 'umask' | 'user'> {
  /** Of its own: nobody submitted it. */
  readonly job: JobId;
  /** For the shell. */
  readonly line: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** The last line of its output, a few times a second at most, printable, at most 200 characters. */
  readonly onProgress: (line: string) => void;
}

export interface PrepareEnd {
  readonly result: RunResult;
  /** The first and the last lines of its output, for people. */
  readonly lines: string;
}

/**
 * Runs a line as an attempt of a job of its own, so that its tree is ended with it, also by the next daemon, which does
 * not know it. Settles when the tree is gone and its output is read.
 */
export async function runPreparation(runner: Runner, run: PrepareRun): Promise<PrepareEnd> {
  const { job } = run;
  const output = new HeadTail(HEAD_BYTES_MAX, TAIL_BYTES_MAX);
  const { streamId, closed } = readOutput(runner, output, run.onProgress);
  const cancel = (): void => runner.cancel(job, 1);
  const ended = new Promise<RunResult>((resolve) => {
    runner.run(
      {
        job,
        attempt: 1,
        command: { kind: 'line', line: run.line },
        cwd: run.cwd,
        env: run.env,
        umask: run.umask,
        user: run.user,
        timeoutMs: run.timeoutMs,
        stdinStream: null,
        stdoutStream: streamId,
        stderrStream: null,
        windowBytes: STREAM_WINDOW_BYTES,
        outputBytesMax: null,
        merge: true,
        terminal: null,
        durable: false,
      },
      { onStarted: () => undefined, onEnded: resolve },
    );
  });
  run.signal.addEventListener('abort', cancel, { once: true });
  if (run.signal.aborted) cancel();
  try {
    const [result] = await Promise.all([ended, closed]);
    return { result, lines: shownLines(output) };
  } finally {
    run.signal.removeEventListener('abort', cancel);
    runner.acknowledge({ job, attempt: 1 });
    runner.drop({ job, attempt: 1 });
  }
}

/** `failed with exit code 1 after 3.1 s`: how a preparation that did not go well ended. */
export function endText({ outcome, durationMs }: RunResult, timeoutMs: number): string {
  const after = `after ${formatDuration(durationMs)}`;
  switch (outcome.kind) {
    case 'exited':
      return `failed with exit code ${outcome.code} ${after}`;
    case 'signaled':
      return `was killed by ${outcome.signal} ${after}`;
    case 'timeout':
      return `took longer than ${formatDuration(timeoutMs)} and was ended`;
    case 'cancelled':
      return `was cancelled ${after}`;
    case 'spawn_failed':
      return `could not be started: ${outcome.message}`;
    case 'unknown':
      return `ended unseen: ${outcome.message}`;
    default:
      return unreachable(outcome);
  }
}

/** For the audit log. */
export const outcomeText = (result: RunResult): string => JSON.stringify(result.outcome).slice(0, OUTCOME_CHARS_MAX);

function readOutput(runner: Runner, output: HeadTail, onProgress: (line: string) => void) {
  const streamId = runner.mux.nextId();
  let toldMs = -Infinity;
  const closed = new Promise<void>((resolve) => {
    const stream = runner.mux.openIncoming(streamId, STREAM_WINDOW_BYTES, {
      onData: (bytes) => {
        output.push(bytes);
        stream.consumed(bytes.byteLength);
        const nowMs = performance.now();
        if (nowMs - toldMs < PROGRESS_MS) return;
        toldMs = nowMs;
        const line = linesOf(latestOf(output)).at(-1);
        if (line !== undefined) onProgress(line.slice(0, PROGRESS_CHARS_MAX));
      },
      onEnd: resolve,
      // The runner died: how it ended comes by `onEnded`.
      onAbort: resolve,
    });
  });
  return { streamId, closed };
}

function latestOf(output: HeadTail): string {
  const { head, tail } = output.parts();
  return new TextDecoder().decode(tail.byteLength > 0 ? tail : head);
}

/** CSI and OSC sequences of ECMA-48: colours, moves of the cursor, links. */
// oxlint-disable-next-line no-control-regex -- the characters that such a sequence is made of
const SEQUENCES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\))/g;

function linesOf(text: string): string[] {
  return text
    .replace(SEQUENCES, '')
    .split(/[\r\n]+/)
    .map((line) => escapeControls(line.trimEnd()))
    .filter((line) => line !== '');
}

/** Warnings say why it failed only where nothing else does. */
const WARNING = /^(?:npm |\[?)warn(?:ing)?\b/i;

function shownLines(output: HeadTail): string {
  const { head, tail } = output.parts();
  const [first, last] = [head, tail].map((bytes) => linesOf(new TextDecoder().decode(bytes)));
  const all = [...(first ?? []), ...(last ?? [])].map((line) => line.slice(0, LINE_CHARS_MAX));
  const telling = all.filter((line) => !WARNING.test(line));
  const lines = telling.length > 0 ? telling : all;
  if (lines.length <= FIRST_LINES_MAX + LAST_LINES_MAX && output.droppedBytes === 0) return lines.join('\n');
  return [...lines.slice(0, FIRST_LINES_MAX), '…', ...lines.slice(FIRST_LINES_MAX).slice(-LAST_LINES_MAX)].join('\n');
}
