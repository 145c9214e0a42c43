import type { NodeId } from '../base/ids.ts';
import type { JobMessage } from '../wire/jobs.ts';
import type { StreamMux } from '../wire/stream-mux.ts';
import { loopbackMuxes } from './loopback-peer.ts';

/** The other end of a job: over its link, or in memory where it is this node itself. */
export interface JobEnd {
  readonly mux: StreamMux;
  /** False where the link is gone or too slow: nothing was written. */
  send(message: JobMessage): boolean;
}

export interface JobEndsOptions {
  readonly self: () => NodeId;
  /** Null where no link is up. */
  readonly link: (node: NodeId) => JobEnd | null;
  /** What this node says to itself. */
  readonly receive: (from: NodeId, message: JobMessage) => void;
}

/** How the origin reaches executors, and the executor origins. */
export class JobEnds {
  readonly #options: JobEndsOptions;
  readonly #loopback = loopbackMuxes();

  constructor(options: JobEndsOptions) {
    this.#options = options;
  }

  readonly executor = (node: NodeId): JobEnd | null => this.#end(node, this.#loopback.origin);

  readonly origin = (node: NodeId): JobEnd | null => this.#end(node, this.#loopback.executor);

  #end(node: NodeId, ownMux: StreamMux): JobEnd | null {
    const { self, link, receive } = this.#options;
    if (node !== self()) return link(node);
    return {
      mux: ownMux,
      send: (message) => {
        receive(node, message);
        return true;
      },
    };
  }
}
