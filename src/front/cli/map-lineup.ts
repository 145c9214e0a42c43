import { assert } from '../../base/assert.ts';

/** An argument that has not been started. */
export interface Waiting {
  /** From 1, in the order of the arguments. */
  readonly seq: number;
  readonly arg: string;
  /** What history knows of it, seconds; null where it knows nothing. */
  readonly estimateS: number | null;
}

interface Place {
  readonly waiting: Waiting;
  taken: boolean;
}

/** Places that were taken from the other end are dropped once this many are at the front of their list. */
const DROP_AT_ONCE = 1024;

/**
 * The arguments that were read and not started: the longest first where history knows, else as they were given.
 * Bounded by whoever adds to it.
 */
export class Lineup {
  readonly #inOrder: Place[] = [];
  /** Those before it are taken. */
  #first = 0;
  /** Longest last; sorted when asked for after something was added. */
  readonly #byLength: Place[] = [];
  #sorted = true;
  #knownS = 0;
  #knownCount = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Seconds of those that history knows, and how many it does not know. */
  get ahead(): { readonly knownS: number; readonly unknownCount: number } {
    return { knownS: this.#knownS, unknownCount: this.#size - this.#knownCount };
  }

  /** In the order of `seq`. */
  add(waiting: Waiting): void {
    const last = this.#inOrder.at(-1)?.waiting;
    assert(last === undefined || last.seq < waiting.seq, 'arguments are added in their order');
    const place = { waiting, taken: false };
    this.#inOrder.push(place);
    this.#size += 1;
    if (waiting.estimateS === null) return;
    this.#byLength.push(place);
    this.#sorted = false;
    this.#knownS += waiting.estimateS;
    this.#knownCount += 1;
  }

  /** Takes the first that was given. */
  takeFirst(): Waiting | null {
    const place = this.#peekFirst();
    return place === null ? null : this.#take(place);
  }

  /** Takes the longest, as far as it is known: of what is not known, the usual length is the best guess. */
  takeLongest(): Waiting | null {
    const longest = this.#peekLongest();
    if (longest === null) return this.takeFirst();
    const usualS = this.#knownS / this.#knownCount;
    const surely = this.#knownCount === this.#size || (longest.waiting.estimateS ?? 0) > usualS;
    return surely ? this.#take(longest) : this.takeFirst();
  }

  #peekFirst(): Place | null {
    while (this.#inOrder[this.#first]?.taken === true) this.#first += 1;
    if (this.#first >= DROP_AT_ONCE) {
      this.#inOrder.splice(0, this.#first);
      this.#first = 0;
    }
    return this.#inOrder[this.#first] ?? null;
  }

  #peekLongest(): Place | null {
    if (!this.#sorted) {
      const length = ({ waiting }: Place): number => waiting.estimateS ?? 0;
      // Equally long ones in the order given.
      this.#byLength.sort((a, b) => length(a) - length(b) || b.waiting.seq - a.waiting.seq);
      this.#sorted = true;
    }
    while (this.#byLength.at(-1)?.taken === true) this.#byLength.pop();
    return this.#byLength.at(-1) ?? null;
  }

  #take(place: Place): Waiting {
    place.taken = true;
    this.#size -= 1;
    const { waiting } = place;
    if (waiting.estimateS !== null) {
      this.#knownCount -= 1;
      this.#knownS = this.#knownCount === 0 ? 0 : this.#knownS - waiting.estimateS;
    }
    return waiting;
  }
}
