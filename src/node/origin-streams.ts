import { STREAM_WINDOW_BYTES, type IncomingStream, type OutgoingStream, type StreamMux } from '../wire/stream-mux.ts';
import { StdinBuffer, type StdinEvents } from './stdin-buffer.ts';

/** The front's end of a job: streams on its control socket, opened by it when it submitted. */
export interface ClientStreams {
  readonly mux: StreamMux;
  readonly stdin: number | null;
  readonly stdout: number;
  readonly stderr: number;
  /** Bytes that the front takes on each output before it grants more. */
  readonly windowBytes: number;
}

export interface AttemptStreams {
  readonly stdin: number | null;
  readonly stdout: number;
  readonly stderr: number;
}

/** Bytes of each output. */
export interface OutputBytes {
  readonly stdout: number;
  readonly stderr: number;
}

const NOTHING: OutputBytes = { stdout: 0, stderr: 0 };

interface Output {
  readonly client: OutgoingStream;
  source: IncomingStream | null;
  /** True from the opening of `source` until its end, its loss, or our giving it up. */
  sourceOpen: boolean;
  /** Of the attempt that is read: where a stream over the next link goes on. */
  bytes: number;
  /** Of attempts before it. */
  before: number;
}

/**
 * The origin's plumbing of one job: the front's streams live as long as the job, those to an executor as long as a link
 * to it. Each stream over a link begins at the offset that was received before, so that the front sees every byte once.
 */
export class OriginStreams {
  readonly #outputs: readonly [Output, Output];
  readonly #stdin: StdinBuffer | null;
  #onClosed: (() => void) | null = null;

  /**
   * @param received what the front has of the attempt that goes on: it came back after a restart of this daemon
   * @param before what it has of attempts before that one
   */
  constructor(
    client: ClientStreams,
    events: StdinEvents = { onEnded: () => undefined },
    received: OutputBytes = NOTHING,
    before: OutputBytes = NOTHING,
  ) {
    const open = (id: number, bytes: number, bytesBefore: number): Output => {
      const output: Output = {
        client: client.mux.openOutgoing(id, client.windowBytes, {
          onSent: (sent) => output.source?.consumed(sent),
          // The front stopped reading this stream: so may the executor, while the job goes on.
          onAbort: () => {
            output.source?.abort();
            this.#sourceClosed(output);
          },
        }),
        source: null,
        sourceOpen: false,
        bytes,
        before: bytesBefore,
      };
      return output;
    };
    this.#outputs = [
      open(client.stdout, received.stdout, before.stdout),
      open(client.stderr, received.stderr, before.stderr),
    ];
    this.#stdin = client.stdin === null ? null : new StdinBuffer(client.mux, client.stdin, events);
  }

  /** Bytes received so far, of all attempts. */
  get bytes(): OutputBytes {
    const [stdout, stderr] = this.#outputs;
    return { stdout: stdout.before + stdout.bytes, stderr: stderr.before + stderr.bytes };
  }

  /** Bytes of the attempt received so far. */
  get received(): OutputBytes {
    return { stdout: this.#outputs[0].bytes, stderr: this.#outputs[1].bytes };
  }

  /** False where stdin cannot be given to another attempt: part of it is gone. */
  get canRestart(): boolean {
    return this.#stdin?.canRestart ?? true;
  }

  /** Opens this side's streams over a link; call before `job.start` or `job.attach` is sent. */
  open(peer: StreamMux): AttemptStreams {
    this.detach();
    for (const output of this.#outputs) output.sourceOpen = true;
    const openOutput = (output: Output): number => {
      const id = peer.nextId();
      const closed = (): void => {
        if (output.source === source) this.#sourceClosed(output);
      };
      const source: IncomingStream = peer.openIncoming(id, STREAM_WINDOW_BYTES, {
        onData: (bytes) => {
          if (output.source !== source) return;
          output.bytes += bytes.byteLength;
          // A front that went away reads nothing; the executor must not be stalled by what nobody wants.
          if (output.client.closed) source.consumed(bytes.byteLength);
          else output.client.write(bytes);
        },
        onEnd: closed,
        onAbort: closed,
      });
      output.source = source;
      // The streams of a dead mux are aborted while they are opened.
      if (source.closed) this.#sourceClosed(output);
      return id;
    };
    const stdout = openOutput(this.#outputs[0]);
    const stderr = openOutput(this.#outputs[1]);
    return { stdin: this.#stdin?.open(peer) ?? null, stdout, stderr };
  }

  /**
   * The process exists, and has that much of stdin: the front may send its own.
   *
   * @returns false where the bytes that are missing there are gone
   */
  started(stdinOffset = 0): boolean {
    return this.#stdin?.flow(stdinOffset) ?? true;
  }

  /** Calls back once both outputs have ended or were lost; at once where they have. */
  whenOutputsClosed(callback: () => void): void {
    if (this.#outputs.some(({ sourceOpen }) => sourceOpen)) this.#onClosed = callback;
    else callback();
  }

  #sourceClosed(output: Output): void {
    if (!output.sourceOpen) return;
    output.sourceOpen = false;
    if (this.#outputs.some(({ sourceOpen }) => sourceOpen)) return;
    const onClosed = this.#onClosed;
    this.#onClosed = null;
    onClosed?.();
  }

  /**
   * The same attempt may go on over other streams. These are left to the link's end, or to the executor, which closes
   * them: an abort from here would tell the command that nobody wants its output.
   */
  detach(): void {
    this.#letGo(false);
  }

  /** The attempt did not start, or is lost: another one begins anew. */
  dropAttempt(): void {
    this.#letGo(true);
    for (const output of this.#outputs) {
      output.before += output.bytes;
      output.bytes = 0;
    }
  }

  /** Ends the front's streams after what they still hold. @param goesOn the attempt does, without a reader */
  finish(goesOn = false): void {
    this.#letGo(!goesOn);
    for (const output of this.#outputs) output.client.end();
    this.#stdin?.finish();
  }

  #letGo(abort: boolean): void {
    for (const output of this.#outputs) {
      if (abort) output.source?.abort();
      output.source = null;
      output.sourceOpen = false;
    }
    this.#onClosed = null;
    this.#stdin?.drop(abort);
  }
}
