import type { ReadEnd, Runner } from '../ports/runner.ts';
import { STREAM_WINDOW_BYTES } from '../wire/stream-mux.ts';
import type { OutputRequest, OwnOutput } from './job-sources.ts';
import type { OutputSink } from './output-sink.ts';

const failed = (message: string): ReadEnd => ({ ok: false, kind: 'io', end: 0, message });

/** Output logs as this node's runner keeps them. */
export class RunnerOutput implements OwnOutput {
  readonly #runner: () => Runner | null;

  /** @param runner null while it is being started again */
  constructor(runner: () => Runner | null) {
    this.#runner = runner;
  }

  read(request: OutputRequest, sink: OutputSink): Promise<ReadEnd> {
    const runner = this.#runner();
    if (runner === null) return Promise.resolve(failed('the runner is starting again'));
    const { mux } = runner;
    const streamId = mux.nextId();
    const taking = sink.take(mux, streamId);
    return new Promise((resolve) => {
      const sourceClosed = async (): Promise<void> => {
        const how = await taking.done;
        if (how === 'gone') resolve(failed('its reader is gone'));
        if (how === 'lost' && mux.isDead) resolve(failed('the runner died while its log was read'));
      };
      void sourceClosed();
      runner.read({ ...request, holds: false, streamId, windowBytes: STREAM_WINDOW_BYTES }, (end) => {
        // A refused read has sent nothing, and may have left the stream open.
        if (!end.ok) taking.stop();
        resolve(taking.done.then(() => end));
      });
    });
  }
}
