import { STREAM_WINDOW_BYTES, type IncomingStream, type OutgoingStream, type StreamMux } from '../wire/stream-mux.ts';

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

interface Output {
  readonly client: OutgoingStream;
  source: IncomingStream | null;
  /** True from the opening of `source` until its end, its loss, or our giving it up. */
  sourceOpen: boolean;
  bytes: number;
}

/**
 * The origin's plumbing of one job: the front's streams live as long as the job, those to an executor as long as an
 * attempt. stdin is asked of the front only once a process exists, so a refused attempt never costs a byte of it.
 */
export class OriginStreams {
  readonly #outputs: readonly [Output, Output];
  readonly #stdin: IncomingStream | null;
  #stdinSink: OutgoingStream | null = null;
  #stdinEnded = false;
  #started = false;
  #onClosed: (() => void) | null = null;

  constructor(client: ClientStreams) {
    const open = (id: number): Output => {
      const output: Output = {
        client: client.mux.openOutgoing(id, client.windowBytes, {
          onSent: (bytes) => output.source?.consumed(bytes),
          // The front stopped reading this stream: so may the executor, while the job goes on.
          onAbort: () => {
            output.source?.abort();
            this.#sourceClosed(output);
          },
        }),
        source: null,
        sourceOpen: false,
        bytes: 0,
      };
      return output;
    };
    this.#outputs = [open(client.stdout), open(client.stderr)];
    this.#stdin =
      client.stdin === null
        ? null
        : client.mux.openIncoming(client.stdin, 0, {
            onData: (bytes) => this.#stdinSink?.write(bytes),
            onEnd: () => {
              this.#stdinEnded = true;
              // Before the process exists the executor does not know the stream yet and would drop its end.
              if (this.#started) this.#stdinSink?.end();
            },
            onAbort: () => this.#stdinSink?.abort(),
          });
  }

  /** Bytes received so far. */
  get stdoutBytes(): number {
    return this.#outputs[0].bytes;
  }

  get stderrBytes(): number {
    return this.#outputs[1].bytes;
  }

  /** Opens this side's streams of a new attempt; call before `job.start` is sent. */
  open(peer: StreamMux): AttemptStreams {
    for (const output of this.#outputs) output.sourceOpen = true;
    const openOutput = (output: Output): number => {
      const id = peer.nextId();
      const closed = (): void => this.#sourceClosed(output);
      output.source = peer.openIncoming(id, STREAM_WINDOW_BYTES, {
        onData: (bytes) => {
          output.bytes += bytes.byteLength;
          // A front that went away reads nothing; the executor must not be stalled by what nobody wants.
          if (output.client.closed) output.source?.consumed(bytes.byteLength);
          else output.client.write(bytes);
        },
        onEnd: closed,
        onAbort: closed,
      });
      return id;
    };
    const stdout = openOutput(this.#outputs[0]);
    const stderr = openOutput(this.#outputs[1]);
    if (this.#stdin === null) return { stdin: null, stdout, stderr };
    const stdin = peer.nextId();
    const source = this.#stdin;
    this.#stdinSink = peer.openOutgoing(stdin, 0, {
      onSent: (bytes) => source.consumed(bytes),
      onAbort: () => {
        // An attempt that is lost before its process exists has read nothing: the next one needs all of it.
        if (this.#started) source.abort();
      },
    });
    return { stdin, stdout, stderr };
  }

  /** The process exists: the front may send its stdin. */
  started(): void {
    if (this.#stdin === null || this.#stdinSink === null || this.#started) return;
    this.#started = true;
    if (this.#stdinEnded) this.#stdinSink.end();
    // The front gave up its stdin while the executor did not know the stream yet.
    else if (this.#stdin.closed) this.#stdinSink.abort();
    else if (this.#stdinSink.closed) this.#stdin.abort();
    else this.#stdin.grant(STREAM_WINDOW_BYTES);
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

  /** Gives up the streams of an attempt that did not start, or whose executor is gone. */
  dropAttempt(): void {
    for (const output of this.#outputs) {
      output.source?.abort();
      output.source = null;
      output.sourceOpen = false;
    }
    this.#onClosed = null;
    this.#started = false;
    const sink = this.#stdinSink;
    this.#stdinSink = null;
    sink?.abort();
  }

  /** Ends the front's streams after what they still hold. */
  finish(): void {
    this.dropAttempt();
    for (const output of this.#outputs) output.client.end();
    this.#stdin?.abort();
  }
}
