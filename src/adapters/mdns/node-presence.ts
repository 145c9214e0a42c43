import { MS_PER_SECOND } from '../../base/units.ts';
import { DatagramGate } from './datagram-gate.ts';
import { HintFilter, type Sighting } from './hint-filter.ts';
import { InterfacePresence } from './interface-presence.ts';
import { isLoopback, listInterfaces, type LinkInterface } from './interfaces.ts';
import { MESSAGE_CHARS_MAX, type FromThread, type ThreadSettings } from './protocol.ts';

/** Between two rounds: look at the interfaces, open what failed, ask again. Jittered, so that nodes do not ask at once. */
const ROUND_MS_MIN = 10 * MS_PER_SECOND;
const ROUND_MS_MAX = 30 * MS_PER_SECOND;
/** Refreshes that come close together are one. */
const REFRESH_MS = 500;
const NOTICE_EVERY_MS = 60 * MS_PER_SECOND;

/** This node on all interfaces of the machine, kept up to date as they come and go. */
export class NodePresence {
  readonly #settings: ThreadSettings;
  readonly #post: (message: FromThread) => void;
  readonly #filter: HintFilter;
  readonly #gate: DatagramGate;
  readonly #presences = new Map<string, InterfacePresence>();
  #links: readonly LinkInterface[] = [];
  #timer: NodeJS.Timeout | null = null;
  #refreshTimer: NodeJS.Timeout | null = null;
  #reported = '';
  #excess = 0;
  #noticeMs = Number.NEGATIVE_INFINITY;

  constructor(settings: ThreadSettings, post: (message: FromThread) => void) {
    this.#settings = settings;
    this.#post = post;
    this.#filter = new HintFilter(settings.nodeId, nowMs());
    this.#gate = new DatagramGate(settings.nodeId, nowMs());
  }

  start(): void {
    const { onlyHost } = this.#settings;
    if (onlyHost !== null && isLoopback(onlyHost)) {
      this.#post({ t: 'notice', text: `not announced: nobody else can reach ${onlyHost}` });
    }
    this.#sync(() => false);
    this.#schedule();
  }

  /** Interfaces may be other ones than before under the same names: every socket is opened anew. */
  refresh(): void {
    this.#refreshTimer ??= setTimeout(() => {
      this.#refreshTimer = null;
      this.#sync(() => true);
    }, REFRESH_MS);
  }

  async stop(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#refreshTimer !== null) clearTimeout(this.#refreshTimer);
    await Promise.all([...this.#presences.values()].map(async (presence) => presence.close(true)));
  }

  #schedule(): void {
    const delayMs = ROUND_MS_MIN + Math.random() * (ROUND_MS_MAX - ROUND_MS_MIN);
    this.#timer = setTimeout(() => {
      this.#sync((presence) => presence.state().kind === 'failed');
      for (const presence of this.#presences.values()) presence.round();
      this.#noticeExcess();
      this.#schedule();
    }, delayMs);
  }

  /** Closes what is gone, or is to be renewed, and opens what is missing. */
  #sync(isToRenew: (presence: InterfacePresence) => boolean): void {
    this.#links = listInterfaces();
    const wanted = new Map(this.#links.map((link) => [link.key, link]));
    for (const [key, presence] of this.#presences) {
      if (wanted.has(key) && !isToRenew(presence)) continue;
      this.#presences.delete(key);
      void presence.close(false);
    }
    for (const [key, link] of wanted) {
      if (!this.#presences.has(key)) this.#presences.set(key, this.#open(link));
    }
    this.#report();
  }

  #open(link: LinkInterface): InterfacePresence {
    return new InterfacePresence({
      link,
      settings: this.#settings,
      advertised: this.#advertisedOn(link),
      gate: this.#gate,
      isElsewhere: (source) => !link.contains(source) && this.#links.some((other) => other.contains(source)),
      onSighting: (sighting) => this.#sighted(sighting),
      onExcess: () => {
        this.#excess += 1;
        this.#noticeExcess();
      },
      onChange: () => this.#report(),
      nowMs,
    });
  }

  #advertisedOn(link: LinkInterface): readonly string[] {
    const { onlyHost } = this.#settings;
    if (onlyHost === null) return link.addresses;
    return link.addresses.includes(onlyHost) ? [onlyHost] : [];
  }

  #sighted(sighting: Sighting): void {
    for (const hint of this.#filter.offer(sighting, nowMs())) {
      if (hint.claimedId === null) continue;
      this.#post({ t: 'hint', host: hint.host, port: hint.port, claimed_id: hint.claimedId });
    }
  }

  /** Up when any interface is; while some are opening and none is up, what was said before stands. */
  #report(): void {
    const states = [...this.#presences.values()].map((presence) => presence.state());
    if (states.some((state) => state.kind === 'up')) return this.#say({ t: 'running' });
    if (states.some((state) => state.kind === 'opening')) return;
    const reasons = states.map((state) => (state.kind === 'failed' ? state.message : ''));
    const message = reasons.length === 0 ? 'no network interface with an IPv4 address is up' : reasons.join('; ');
    this.#say({ t: 'failed', message: message.slice(0, MESSAGE_CHARS_MAX) });
  }

  #say(message: FromThread): void {
    const text = JSON.stringify(message);
    if (text === this.#reported) return;
    this.#reported = text;
    this.#post(message);
  }

  #noticeExcess(): void {
    if (this.#excess === 0 || nowMs() - this.#noticeMs < NOTICE_EVERY_MS) return;
    this.#noticeMs = nowMs();
    this.#post({ t: 'notice', text: `too many or too large mDNS packets: ${this.#excess} dropped` });
    this.#excess = 0;
  }
}

const nowMs = (): number => performance.now();
