/** A set of names that forgets its oldest beyond a bound. */
export class BoundedKeys {
  readonly #keys = new Set<string>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  /** @returns true where another one was forgotten for it */
  add(key: string): boolean {
    this.#keys.add(key);
    if (this.#keys.size <= this.#max) return false;
    const [oldest] = this.#keys;
    if (oldest !== undefined) this.#keys.delete(oldest);
    return true;
  }

  delete(key: string): void {
    this.#keys.delete(key);
  }

  has(key: string): boolean {
    return this.#keys.has(key);
  }
}
