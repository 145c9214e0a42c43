import { closeSync, mkdirSync, openSync, readdirSync, readSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { messageOf, systemCodeOf } from '../base/errors.ts';
import type { NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { AttemptKey } from '../core/jobs/executor-state.ts';
import { STREAM_CREDIT_BYTES_MAX, STREAM_WINDOW_BYTES, type StreamMux } from '../wire/stream-mux.ts';
import type { WorkspaceMessage, WorkspaceMessageOf } from '../wire/workspace.ts';

const READ_BYTES = 256 * 1024;
const DAY_MS = 86_400_000;
/** Reads of change packs at once, for one origin. */
const READS_MAX = 32;

/** How one side of a workspace session reaches the other. */
export interface WorkspaceLink {
  readonly mux: StreamMux;
  /** The other end has an address of this machine. */
  readonly isHere: boolean;
  /** False where the link is gone or too slow: nothing was written. */
  send(message: WorkspaceMessage): boolean;
}

/** What jobs of other nodes changed in their workspaces here, until their origins have it: `workspaces/changes-for/`. */
export class ChangePacks {
  readonly #folder: string;
  readonly #log: Logger;
  /** By origin. */
  readonly #reads = new Map<NodeId, number>();

  constructor(folder: string, log: Logger) {
    this.#folder = folder;
    this.#log = log;
  }

  /** Where the pack of that attempt belongs; its folder exists afterwards. @throws a system error */
  pathFor(origin: NodeId, key: AttemptKey): string {
    const path = this.#path(origin, key);
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    return path;
  }

  /** Sends a pack of that origin, from an offset on: it ends the stream, or says why not. */
  serve(origin: NodeId, fetch: WorkspaceMessageOf<'ws.fetch'>, link: WorkspaceLink): void {
    const refuse = (code: 'expired' | 'refused' | 'busy' | 'io', message: string): void => {
      link.send({ t: 'ws.failed', job: fetch.job, attempt: fetch.attempt, code, message });
    };
    if (!link.mux.canOpen([fetch.stream]) || fetch.window_bytes > STREAM_CREDIT_BYTES_MAX) {
      return refuse('refused', 'the stream of the request is in use, or its window too large');
    }
    if ((this.#reads.get(origin) ?? 0) >= READS_MAX) return refuse('busy', `${READS_MAX} packs are being read already`);
    let descriptor: number;
    try {
      descriptor = openSync(this.#path(origin, fetch), 'r');
    } catch (error) {
      const isGone = systemCodeOf(error) === 'ENOENT';
      return refuse(isGone ? 'expired' : 'io', isGone ? 'its changes are not kept here any more' : messageOf(error));
    }
    this.#send(origin, descriptor, fetch, link.mux);
  }

  drop(origin: NodeId, key: AttemptKey): void {
    rmSync(this.#path(origin, key), { force: true });
  }

  /** Removes what is older, and of the rest the oldest beyond the quota of each origin. */
  sweep(limits: { readonly keepDays: number; readonly quotaBytes: number }, nowWallMs: number): void {
    for (const origin of namesIn(this.#folder)) {
      const packs = namesIn(join(this.#folder, origin)).flatMap((name) => {
        const path = join(this.#folder, origin, name);
        const stats = statSync(path, { throwIfNoEntry: false });
        return stats === undefined ? [] : [{ path, bytes: stats.size, atMs: stats.mtimeMs }];
      });
      let bytes = 0;
      for (const pack of packs.toSorted((a, b) => b.atMs - a.atMs)) {
        bytes += pack.bytes;
        if (nowWallMs - pack.atMs <= limits.keepDays * DAY_MS && bytes <= limits.quotaBytes) continue;
        rmSync(pack.path, { force: true });
        this.#log.info('changes of a job were dropped', { origin, path: pack.path });
      }
    }
  }

  /** A node id and a job id hold no character that means anything in a path. */
  #path(origin: NodeId, { job, attempt }: AttemptKey): string {
    return join(this.#folder, origin, `${job}.${attempt}.pack`);
  }

  #count(origin: NodeId, more: number): void {
    const count = (this.#reads.get(origin) ?? 0) + more;
    if (count === 0) this.#reads.delete(origin);
    else this.#reads.set(origin, count);
  }

  /** Reads on as the stream drains: at most one window and one read are in memory. */
  #send(
    origin: NodeId,
    descriptor: number,
    { offset, stream, window_bytes: creditBytes }: Fetch,
    mux: StreamMux,
  ): void {
    this.#count(origin, 1);
    const state = { at: offset, isClosed: false };
    const close = (): void => {
      if (state.isClosed) return;
      state.isClosed = true;
      this.#count(origin, -1);
      closeSync(descriptor);
    };
    const pump = (): void => {
      while (!state.isClosed && outgoing.queuedBytes < STREAM_WINDOW_BYTES) {
        const piece = Buffer.allocUnsafe(READ_BYTES);
        let size: number;
        try {
          size = readSync(descriptor, piece, 0, READ_BYTES, state.at);
        } catch (error) {
          this.#log.warn('a pack of changes cannot be read', { error: messageOf(error) });
          close();
          return outgoing.abort();
        }
        if (size === 0) {
          close();
          return outgoing.end();
        }
        state.at += size;
        outgoing.write(piece.subarray(0, size));
      }
    };
    // What is sent from within a write must not read on from within it.
    const outgoing = mux.openOutgoing(stream, creditBytes, { onSent: () => setImmediate(pump), onAbort: close });
    pump();
  }
}

type Fetch = WorkspaceMessageOf<'ws.fetch'>;

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    // Nothing was ever kept.
    if (systemCodeOf(error) === 'ENOENT') return [];
    throw error;
  }
}
