import type { MeshError } from '../../base/errors.ts';
import { MS_PER_SECOND } from '../../base/units.ts';
import type { RunObject } from '../../node/api-types.ts';
import { isOutcome, type Copy, type MapJob } from './map-job.ts';
import { calibrationOf, progressLine, remainingMs } from './map-progress.ts';
import { TAIL_SAMPLES_MAX, tailCopyAfterMs } from './tail-copy.ts';

/** How long this batch's jobs have taken, for its progress and for what is unusual. */
export class BatchClock {
  readonly #startMs = performance.now();
  #finished = 0;
  #ran = 0;
  #ranMs = 0;
  #foretoldMs = 0;
  #foretoldTookMs = 0;
  /** The last durations, overwritten in turn. */
  readonly #samplesMs: number[] = [];

  get finishedCount(): number {
    return this.#finished;
  }

  finished(job: MapJob, copy: Copy | null, result: RunObject | MeshError): void {
    this.#finished += 1;
    if (copy === null || !isOutcome(result)) return;
    const tookMs = result.duration_ms;
    this.#samplesMs[this.#ran % TAIL_SAMPLES_MAX] = tookMs;
    this.#ran += 1;
    this.#ranMs += tookMs;
    if (job.waiting.estimateS === null) return;
    this.#foretoldMs += job.waiting.estimateS * MS_PER_SECOND;
    this.#foretoldTookMs += tookMs;
  }

  /** It runs far longer than was to be expected. */
  isStraggler({ waiting, copies }: MapJob): boolean {
    const sinceMs = copies[0]?.runningSinceMs ?? null;
    if (sinceMs === null) return false;
    const factor = calibrationOf({ foretoldMs: this.#foretoldMs, foretoldTookMs: this.#foretoldTookMs });
    const expectedMs = waiting.estimateS === null ? null : waiting.estimateS * MS_PER_SECOND * factor;
    const dueMs = tailCopyAfterMs(expectedMs, this.#samplesMs);
    return dueMs !== null && performance.now() - sinceMs > dueMs;
  }

  /** The progress line as of now. */
  line(
    batch: { readonly failed: number; readonly arguments: number; readonly complete: boolean },
    running: readonly MapJob[],
    ahead: { readonly knownS: number; readonly unknownCount: number },
  ): string {
    const nowMs = performance.now();
    const elapsedMs = nowMs - this.#startMs;
    const left = remainingMs({
      aheadKnownMs: ahead.knownS * MS_PER_SECOND,
      aheadUnknown: ahead.unknownCount,
      running: running.map(({ waiting, copies }) => ({
        ranMs: nowMs - (copies[0]?.runningSinceMs ?? nowMs),
        estimateMs: waiting.estimateS === null ? null : waiting.estimateS * MS_PER_SECOND,
      })),
      finished: this.#ran,
      finishedMs: this.#ranMs,
      foretoldMs: this.#foretoldMs,
      foretoldTookMs: this.#foretoldTookMs,
      elapsedMs,
    });
    const runningNow = running.filter(({ copies }) => (copies[0]?.runningSinceMs ?? null) !== null).length;
    return progressLine({ ...batch, finished: this.#finished, running: runningNow, elapsedMs, remainingMs: left });
  }
}
