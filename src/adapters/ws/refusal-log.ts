import type { LogFields, Logger } from '../../base/log.ts';
import { REFUSAL_LOG_INTERVAL_MS } from './limits.ts';

export type RefusalKind =
  | 'flood'
  | 'evicted'
  | 'handshake_timeout'
  | 'tls_failed'
  | 'no_certificate'
  | 'untrusted'
  | 'revoked'
  | 'self'
  | 'origin'
  | 'path'
  | 'subprotocol'
  | 'not_websocket'
  | 'bad_http'
  | 'peer_limit'
  | 'unmatched_bulk'
  | 'bad_hello'
  | 'protocol_mismatch'
  | 'wrong_mesh'
  | 'bad_pairing';

interface KindState {
  loggedAtMs: number;
  suppressed: number;
}

/** Says what was refused, one line per kind and REFUSAL_LOG_INTERVAL_MS, with how many went unsaid: a flood fills no disk. */
export class RefusalLog {
  readonly #kinds = new Map<RefusalKind, KindState>();
  readonly #log: Logger;
  readonly #nowMs: () => number;

  constructor(log: Logger, nowMs: () => number) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  note(kind: RefusalKind, fields: LogFields): void {
    const nowMs = this.#nowMs();
    const state = this.#kinds.get(kind);
    if (state !== undefined && nowMs - state.loggedAtMs < REFUSAL_LOG_INTERVAL_MS) {
      state.suppressed++;
      return;
    }
    const suppressed = state?.suppressed ?? 0;
    this.#kinds.set(kind, { loggedAtMs: nowMs, suppressed: 0 });
    this.#log.warn('refused a connection', { kind, ...fields, ...(suppressed > 0 ? { suppressed } : {}) });
  }

  /** Says what is still unsaid. */
  flush(): void {
    for (const [kind, state] of this.#kinds) {
      if (state.suppressed > 0) this.#log.warn('refused connections', { kind, suppressed: state.suppressed });
      state.suppressed = 0;
    }
  }
}
