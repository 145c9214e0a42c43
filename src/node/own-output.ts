import type { ReadEnd, Runner } from '../ports/runner.ts';
import { joinStreams, STREAM_WINDOW_BYTES, type StreamMux } from '../wire/stream-mux.ts';
import type { OutputRequest, OwnOutput } from './job-sources.ts';

/** Output logs as this node's runner keeps them. */
export class RunnerOutput implements OwnOutput {
  readonly #runner: () => Runner | null;

  /** @param runner null while it is being started again */
  constructor(runner: () => Runner | null) {
    this.#runner = runner;
  }

  async read(
    request: OutputRequest,
    to: { readonly mux: StreamMux; readonly id: number; readonly creditBytes: number },
  ): Promise<ReadEnd> {
    const runner = this.#runner();
    if (runner === null) return { ok: false, kind: 'io', end: 0, message: 'the runner is starting again' };
    const { mux } = runner;
    const streamId = mux.nextId();
    const joined = new Promise<'ended' | 'source_lost' | 'sink_lost'>((resolve) => {
      joinStreams({ mux, id: streamId, grantedBytes: STREAM_WINDOW_BYTES }, to, resolve);
    });
    const end = new Promise<ReadEnd>((resolve) => {
      runner.read({ ...request, holds: false, streamId, windowBytes: STREAM_WINDOW_BYTES }, resolve);
    });
    const how = await joined;
    if (how === 'source_lost' && mux.isDead) {
      return { ok: false, kind: 'io', end: 0, message: 'the runner died while its log was read' };
    }
    return end;
  }
}
