import { closeSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { MeshError } from '../base/errors.ts';
import type { JobId, NodeId } from '../base/ids.ts';
import { err, ok, type Result } from '../base/result.ts';
import { STREAM_WINDOW_BYTES } from '../wire/stream-mux.ts';
import type { WorkspaceMessageOf } from '../wire/workspace.ts';
import { pause } from './job-directory.ts';
import type { WorkspaceLink } from './change-packs.ts';

const LOOK_AGAIN_MS = 200;
/** Reads that the executor ended, one after the other, without a byte that was new. */
const VAIN_READS_MAX = 8;

export interface FetchRequest {
  readonly node: NodeId;
  readonly job: JobId;
  readonly attempt: number;
  readonly bytes: number;
  /** Where it is to be once it is whole; before, what is there of it is beside it as `.part`. */
  readonly path: string;
  /** So long no link may be up, or nothing may come, before it is given up for now. */
  readonly patienceMs: number;
}

/** `gone`: it is not kept there any more. `away`: not to be had now; what came of it is kept. */
export interface FetchRefusal {
  readonly kind: 'gone' | 'away' | 'bad';
  readonly message: string;
}

/** How a read over one link came to its end; `cut_off` says nothing of what the executor has. */
type ReadEnd =
  | { readonly kind: 'all' | 'ended' | 'cut_off' }
  | { readonly kind: 'refused'; readonly failed: WorkspaceMessageOf<'ws.failed'> };

interface Reading {
  readonly node: NodeId;
  fail(failed: WorkspaceMessageOf<'ws.failed'>): void;
}

/** Fetches packs of changes from executors by offset, over as many links as it takes. */
export class ChangeFetch {
  readonly #link: (node: NodeId) => WorkspaceLink | null;
  readonly #readings = new Map<string, Reading>();

  /** @param link null where none is up */
  constructor(link: (node: NodeId) => WorkspaceLink | null) {
    this.#link = link;
  }

  /** An executor's answer to a fetch. @returns false where none of that attempt is under way */
  failed(from: NodeId, message: WorkspaceMessageOf<'ws.failed'>): boolean {
    const reading = this.#readings.get(nameOf(message));
    if (reading?.node !== from) return false;
    reading.fail(message);
    return true;
  }

  /** @throws a system error of this disk, and MeshError `internal` where that attempt's pack is being fetched already */
  async fetch(request: FetchRequest, signal: AbortSignal): Promise<Result<null, FetchRefusal>> {
    const { path, bytes, node, patienceMs } = request;
    if (sizeOf(path) === bytes) return ok(null);
    const part = `${path}.part`;
    let heardAtMs = performance.now();
    let vain = 0;
    for (;;) {
      const before = sizeOf(part);
      if (before > bytes) rmSync(part);
      if (before === bytes) {
        renameSync(part, path);
        return ok(null);
      }
      if (signal.aborted) return err({ kind: 'away', message: 'it was given up' });
      const link = this.#link(node);
      const end: ReadEnd = link === null ? { kind: 'cut_off' } : await this.#read(request, link, part, signal);
      if (end.kind === 'refused' && end.failed.code !== 'busy') {
        const isGone = end.failed.code === 'expired';
        return err({ kind: isGone ? 'gone' : 'bad', message: end.failed.message });
      }
      const isFurther = sizeOf(part) > before;
      // Links that are lost one after the other say nothing of what is there: they have the time to come back.
      if (isFurther) vain = 0;
      else if (end.kind === 'ended') vain += 1;
      if (isFurther) heardAtMs = performance.now();
      else if (performance.now() - heardAtMs > patienceMs)
        return err({ kind: 'away', message: 'it cannot be reached' });
      if (vain > VAIN_READS_MAX) return err({ kind: 'bad', message: 'it sends less than it said' });
      if (!isFurther) await pause(LOOK_AGAIN_MS, signal);
    }
  }

  /** Over one link, as far as that goes. */
  #read(request: FetchRequest, link: WorkspaceLink, part: string, signal: AbortSignal): Promise<ReadEnd> {
    const { job, attempt, bytes, node } = request;
    if (this.#readings.has(nameOf(request))) {
      return Promise.reject(new MeshError('internal', `the changes of ${job} are being fetched already`));
    }
    const offset = sizeOf(part);
    const file = openSync(part, 'a', 0o600);
    let have = offset;
    return new Promise((resolve, reject) => {
      let isOver = false;
      const finish = (settle: () => void): void => {
        if (isOver) return;
        isOver = true;
        this.#readings.delete(nameOf(request));
        signal.removeEventListener('abort', giveUp);
        closeSync(file);
        clearTimeout(silence);
        incoming.abort();
        settle();
      };
      const giveUp = (): void => finish(() => resolve({ kind: 'cut_off' }));
      // An executor that is there and sends nothing holds no job for ever.
      const silence = setTimeout(giveUp, request.patienceMs);
      const id = link.mux.nextId();
      const incoming = link.mux.openIncoming(id, STREAM_WINDOW_BYTES, {
        onData: (data) => {
          if (isOver) return;
          silence.refresh();
          try {
            // More than there is would be refused as a whole later: it need not fill this disk.
            for (let at = 0; at < data.byteLength && have < bytes;) {
              const size = writeSync(file, data.subarray(at, at + bytes - have));
              at += size;
              have += size;
            }
            if (have === bytes) return finish(() => resolve({ kind: 'all' }));
            incoming.consumed(data.byteLength);
          } catch (error) {
            finish(() => reject(error));
          }
        },
        onEnd: () => finish(() => resolve({ kind: 'ended' })),
        onAbort: () =>
          setImmediate(() =>
            this.#link(node)?.mux === link.mux ? finish(() => resolve({ kind: 'ended' })) : giveUp(),
          ),
      });
      this.#readings.set(nameOf(request), {
        node,
        fail: (failed) => finish(() => resolve({ kind: 'refused', failed })),
      });
      signal.addEventListener('abort', giveUp);
      const sent = link.send({
        t: 'ws.fetch',
        job,
        attempt,
        offset,
        stream: id,
        window_bytes: STREAM_WINDOW_BYTES,
      });
      if (!sent) giveUp();
    });
  }
}

const nameOf = ({ job, attempt }: { readonly job: JobId; readonly attempt: number }): string => `${job}/${attempt}`;
const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
