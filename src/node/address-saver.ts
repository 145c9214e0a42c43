import type { NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { Address } from '../ports/links.ts';
import { saveAddresses } from './node-state.ts';

/** Several links come up within a moment of each other: one write is enough for all. */
const SAVE_AFTER_MS = 1000;

/** Writes the members' last-known addresses to members.json, a moment after they changed. */
export class AddressSaver {
  readonly #path: string;
  readonly #book: () => ReadonlyMap<NodeId, readonly Address[]>;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | null = null;

  constructor(path: string, book: () => ReadonlyMap<NodeId, readonly Address[]>, log: Logger) {
    this.#path = path;
    this.#book = book;
    this.#log = log;
  }

  changed(): void {
    this.#timer ??= setTimeout(() => this.#save(), SAVE_AFTER_MS);
  }

  /** Writes at once what waits. */
  flush(): void {
    if (this.#timer !== null) this.#save();
  }

  #save(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const known = [...this.#book()].filter(([, addresses]) => addresses.length > 0);
    saveAddresses(this.#path, new Map(known), this.#log);
  }
}
