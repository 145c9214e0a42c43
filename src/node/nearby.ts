import type { PeerHint } from '../ports/discovery.ts';
import { formatHostPort } from './config-schema.ts';

const NEARBY_MAX = 64;
/** Without a further announcement a machine is no longer nearby. */
const NEARBY_MS = 150_000;

interface Seen {
  readonly name: string;
  readonly address: string;
  readonly atMs: number;
}

/** Machines that announce themselves and are not in this mesh: shown to people, never dialled. */
export class Nearby {
  readonly #seen = new Map<string, Seen>();

  note(hint: PeerHint, nowMs: number): void {
    const address = formatHostPort(hint);
    const key = hint.claimedId ?? address;
    // The first address that an announcement gave is the packet's source: later ones do not replace it.
    const known = this.#seen.get(key);
    this.#seen.delete(key);
    // Who announces itself at an address now, has it: a machine that left a mesh is there with another key.
    this.#forgetAt(known?.address ?? address);
    if (this.#seen.size >= NEARBY_MAX) this.#forgetOldest();
    const name = hint.claimedName ?? hint.claimedId?.slice(0, 8) ?? hint.host;
    this.#seen.set(key, { name, address: known?.address ?? address, atMs: nowMs });
  }

  /** A machine joined, or turned out to be this one. */
  forget(id: string): void {
    this.#seen.delete(id);
  }

  #forgetAt(address: string): void {
    for (const [key, one] of this.#seen) if (one.address === address) this.#seen.delete(key);
  }

  /** @param taken addresses of members: what was announced there under another key is over */
  list(nowMs: number, taken: ReadonlySet<string> = new Set()): { readonly name: string; readonly address: string }[] {
    const fresh = [...this.#seen.values()].filter(
      ({ address, atMs }) => nowMs - atMs <= NEARBY_MS && !taken.has(address),
    );
    return fresh.map(({ name, address }) => ({ name, address }));
  }

  #forgetOldest(): void {
    const oldest = this.#seen.keys().next();
    if (oldest.done !== true) this.#seen.delete(oldest.value);
  }
}
