import type { NodeId } from '../base/ids.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import type { AuditEntry, AuditLog } from './audit-log.ts';

/** Refused requests of one origin that are written, at once and per second; the others are counted. */
export const REFUSALS_BURST_MAX = 100;
export const REFUSALS_PER_S = 1;
/** Origins that are counted; of more, the longest unused is forgotten. */
export const REFUSING_ORIGINS_MAX = 1024;

interface Origin {
  readonly lines: TokenBucket;
  unsaid: number;
}

/**
 * Refused requests in the audit log, at a rate: its segments are bounded, so that whoever may not run anything here
 * could otherwise wash the record of what ran out of it. What runs is always written.
 */
export class RefusalTrail {
  readonly #audit: AuditLog;
  readonly #nowMs: () => number;
  /** In the order of last use. */
  readonly #origins = new Map<NodeId, Origin>();

  constructor(audit: AuditLog, nowMs: () => number) {
    this.#audit = audit;
    this.#nowMs = nowMs;
  }

  append(from: NodeId, entry: AuditEntry): void {
    const nowMs = this.#nowMs();
    const fresh = (): Origin => ({ lines: new TokenBucket(REFUSALS_PER_S, REFUSALS_BURST_MAX, nowMs), unsaid: 0 });
    const origin = this.#origins.get(from) ?? fresh();
    this.#origins.delete(from);
    const [oldest] = this.#origins.keys();
    if (this.#origins.size >= REFUSING_ORIGINS_MAX && oldest !== undefined) this.#origins.delete(oldest);
    this.#origins.set(from, origin);
    if (!origin.lines.take(nowMs)) {
      origin.unsaid += 1;
      return;
    }
    const { unsaid } = origin;
    origin.unsaid = 0;
    this.#audit.append(unsaid === 0 ? entry : { ...entry, unsaid });
  }
}
