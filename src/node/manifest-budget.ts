import type { NodeId } from '../base/ids.ts';
import { MANIFEST_BYTES_MAX } from '../wire/workspace.ts';

/** Manifests that come here at once, compressed, of one origin: one of the largest. */
export const MANIFESTS_OF_ORIGIN_BYTES_MAX = MANIFEST_BYTES_MAX + 1024 * 1024;
/** And of all together: none keeps all others waiting. */
export const MANIFESTS_BYTES_MAX = 3 * MANIFESTS_OF_ORIGIN_BYTES_MAX;

/** Memory for manifests on their way into workspaces here, which come whole: how many bytes, for whom. */
export class ManifestBudget {
  readonly #taken = new Map<NodeId, number>();

  /** @returns false where that is more than there is left: nothing is taken */
  take(origin: NodeId, bytes: number): boolean {
    const own = this.#taken.get(origin) ?? 0;
    let all = 0;
    for (const taken of this.#taken.values()) all += taken;
    if (own + bytes > MANIFESTS_OF_ORIGIN_BYTES_MAX || all + bytes > MANIFESTS_BYTES_MAX) return false;
    this.#taken.set(origin, own + bytes);
    return true;
  }

  give(origin: NodeId, bytes: number): void {
    const left = (this.#taken.get(origin) ?? 0) - bytes;
    if (left > 0) this.#taken.set(origin, left);
    else this.#taken.delete(origin);
  }
}
