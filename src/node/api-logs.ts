import { MeshError } from '../base/errors.ts';
import type { ApiResults } from '../wire/api.ts';
import type { LogStream } from '../wire/job-query.ts';
import { STREAM_WINDOW_BYTES } from '../wire/stream-mux.ts';
import { connectionLost, type DaemonLink } from './api-connection.ts';
import { OutputReader, type OutputHandler } from './api-streams.ts';

/** Gaps one behind the other without a byte between them: a log that is written faster than it is read has a few. */
const EMPTY_PIECES_MAX = 64;

export interface LogsRequest {
  /** An id, or the beginning of one. */
  readonly job: string;
  readonly stream: LogStream;
  /** Of the first byte; each stream, and both merged, count their own. */
  readonly offset: number;
  readonly follow: boolean;
}

export interface LogsIo {
  readonly onBytes: OutputHandler;
  /** Bytes `from` up to `to` were dropped to keep the log within its bound; reading goes on at `to`. */
  readonly onGap?: (from: number, to: number) => void;
  /** The job was run again: what follows is the output of this attempt, from its offset 0. */
  readonly onAttempt?: (attempt: number) => void;
  /** Stops reading; the promise settles with what was delivered until then. */
  readonly signal?: AbortSignal;
}

/** Reads on after each gap, each lost connection and each new attempt: one request is one piece without a gap. */
export async function readLogs(link: DaemonLink, request: LogsRequest, io: LogsIo): Promise<ApiResults['logs']> {
  let { job, offset } = request;
  let attempt: number | null = null;
  let emptyPieces = 0;
  for (;;) {
    const piece = await readPiece(link, { ...request, job, attempt, offset }, io);
    if (piece.answer === null) {
      offset = piece.nextOffset;
      await link.comeBack();
      continue;
    }
    const { answer } = piece;
    ({ job, attempt } = answer);
    if (io.signal?.aborted === true) return { ...answer, from: request.offset, next_offset: piece.nextOffset };
    if (answer.run_again !== null) {
      attempt = answer.run_again;
      io.onAttempt?.(attempt);
      offset = 0;
      continue;
    }
    const gaps = gapsIn(answer, offset, piece.nextOffset);
    for (const [from, to] of gaps) io.onGap?.(from, to);
    emptyPieces = piece.nextOffset > Math.max(answer.from, offset) ? 0 : emptyPieces + 1;
    offset = answer.next_offset;
    if (emptyPieces > EMPTY_PIECES_MAX) {
      const text = `the node that keeps the output of job ${job} tells of gaps and nothing else; reading stopped at offset ${offset}`;
      throw new MeshError('io', text);
    }
    if (answer.ended || gaps.length === 0) return { ...answer, from: request.offset };
  }
}

/** Before what was delivered, and behind it: a piece ends where the next gap begins. */
function gapsIn(answer: ApiResults['logs'], offset: number, nextOffset: number): [number, number][] {
  const before: [number, number][] = answer.from > offset ? [[offset, answer.from]] : [];
  return answer.next_offset > nextOffset ? [...before, [nextOffset, answer.next_offset]] : before;
}

interface Piece {
  /** Null where the connection was lost and the read may go on over another. */
  readonly answer: ApiResults['logs'] | null;
  readonly nextOffset: number;
}

type PieceRequest = LogsRequest & { readonly attempt: number | null };

async function readPiece(link: DaemonLink, request: PieceRequest, io: LogsIo): Promise<Piece> {
  const connection = await link.connection();
  if (connection.closed) throw connectionLost('the connection is closed');
  const abort = new AbortController();
  const reader = new OutputReader(io.onBytes, () => abort.abort());
  const streamId = reader.open(connection.mux);
  const stop = (): void => reader.drop();
  abort.signal.addEventListener('abort', stop);
  io.signal?.addEventListener('abort', stop);
  const nextOffset = (): number => request.offset + reader.receivedBytes;
  try {
    const params = { ...request, stream_id: streamId, window_bytes: STREAM_WINDOW_BYTES };
    const answer = (await connection.request('logs', params, () => undefined)) as ApiResults['logs'];
    if (io.signal?.aborted !== true) {
      const fault = await reader.whenEnded();
      if (fault !== null) throw fault.error;
    }
    return { answer, nextOffset: Math.max(answer.from, request.offset) + reader.receivedBytes };
  } catch (error) {
    if (!connection.closed || !request.follow || !connection.mayComeBack) throw error;
    return { answer: null, nextOffset: nextOffset() };
  } finally {
    reader.drop();
    io.signal?.removeEventListener('abort', stop);
  }
}
