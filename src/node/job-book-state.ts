import { unreachable } from '../base/assert.ts';
import type { JobId } from '../base/ids.ts';
import type { JobRecord } from '../wire/job-record.ts';
import type { OpenEntry, OriginEntry, PlaceEntry } from '../wire/origin-entry.ts';

/** Dropped jobs whose ids are remembered, so that who asks is told when they went. */
export const DROPPED_KEPT_MAX = 10_000;

export interface LooseEntry {
  readonly job: JobId;
  readonly attempt: number;
  readonly place: PlaceEntry;
  readonly unwanted: boolean;
}

const looseKey = (job: JobId, attempt: number): string => `${job}/${attempt}`;

/**
 * What the entries of an origin's journal add up to. The same code reads a journal back and follows what is appended, so
 * that the two cannot disagree.
 */
export class JobBookState {
  readonly open = new Map<JobId, OpenEntry>();
  /** In the order in which they finished. */
  readonly finished = new Map<JobId, JobRecord>();
  /** Wall clock, milliseconds; oldest first. */
  readonly dropped = new Map<JobId, number>();
  readonly #loose = new Map<string, LooseEntry>();

  get loose(): readonly LooseEntry[] {
    return [...this.#loose.values()];
  }

  isLoose(job: JobId, attempt: number): boolean {
    return this.#loose.has(looseKey(job, attempt));
  }

  apply(entry: OriginEntry): void {
    switch (entry.e) {
      case 'open':
        this.open.set(entry.job, entry);
        return;
      case 'finished':
        this.open.delete(entry.record.job);
        this.finished.set(entry.record.job, entry.record);
        return;
      case 'late':
        if (this.finished.has(entry.record.job)) this.finished.set(entry.record.job, entry.record);
        return;
      case 'loose':
        this.#loose.set(looseKey(entry.job, entry.attempt), entry);
        return;
      case 'settled':
        this.#loose.delete(looseKey(entry.job, entry.attempt));
        return;
      case 'dropped': {
        this.finished.delete(entry.job);
        this.dropped.set(entry.job, entry.at_ms);
        const [oldest] = this.dropped.keys();
        if (this.dropped.size > DROPPED_KEPT_MAX && oldest !== undefined) this.dropped.delete(oldest);
        return;
      }
      case 'started':
      case 'requeued':
      case 'rerun':
      case 'cancel':
      case 'detached':
      case 'stdin_ended': {
        const open = this.open.get(entry.job);
        if (open === undefined) return;
        const next = changed(open, entry);
        if (entry.e === 'rerun' && !entry.over && open.place !== null) {
          const { job, attempt, place } = open;
          this.#loose.set(looseKey(job, attempt), { job, attempt, place, unwanted: true });
        }
        this.open.set(entry.job, next);
        return;
      }
      default:
        unreachable(entry);
    }
  }

  /** Entries that add up to this. */
  entries(): OriginEntry[] {
    return [
      ...[...this.dropped].map(([job, at_ms]) => ({ e: 'dropped', job, at_ms }) as const),
      ...[...this.finished.values()].map((record) => ({ e: 'finished', record }) as const),
      ...this.open.values(),
      ...this.loose.map(
        ({ job, attempt, place, unwanted }) => ({ e: 'loose', job, attempt, place, unwanted }) as const,
      ),
    ];
  }
}

type Change = Extract<OriginEntry, { e: 'started' | 'requeued' | 'rerun' | 'cancel' | 'detached' | 'stdin_ended' }>;

function changed(open: OpenEntry, entry: Change): OpenEntry {
  switch (entry.e) {
    case 'started':
      return { ...open, attempt: entry.attempt, place: entry.place, queue_ms: entry.queue_ms };
    case 'requeued':
      return { ...open, attempt: entry.attempt + 1, place: null };
    case 'rerun': {
      const { place, avoided } = open;
      const isNew = place !== null && !avoided.includes(place.node);
      return {
        ...open,
        attempt: entry.attempt + 1,
        place: null,
        lost_at: place ?? open.lost_at,
        reruns: [...open.reruns, entry.text],
        avoided: isNew ? [...avoided, place.node] : avoided,
        stdout_before: entry.stdout_before,
        stderr_before: entry.stderr_before,
      };
    }
    case 'cancel':
      return { ...open, cancel_asked: true };
    case 'detached':
      return { ...open, spec: { ...open.spec, durable: true } };
    case 'stdin_ended':
      return { ...open, stdin_bytes: entry.bytes };
    default:
      return unreachable(entry);
  }
}
