import type { NodeId } from '../base/ids.ts';
import type { AttemptName } from '../ports/runner.ts';

/** Of one node: what is under way on a link when it is lost is less. */
const ACKS_MAX = 64;
const NODES_MAX = 256;

/**
 * The last acknowledgements of each executor: any of them may have been lost with its link, so they are said again over
 * the next one. Whoever has heard takes no notice; who has not would keep the attempt's end for ever.
 */
export class AckTrail {
  readonly #byNode = new Map<NodeId, AttemptName[]>();

  note(node: NodeId, attempt: AttemptName): void {
    const acks = this.#byNode.get(node) ?? [];
    this.#byNode.delete(node);
    this.#byNode.set(node, [...acks, attempt].slice(-ACKS_MAX));
    const [oldest] = this.#byNode.keys();
    if (this.#byNode.size > NODES_MAX && oldest !== undefined) this.#byNode.delete(oldest);
  }

  /** They are forgotten here: whoever says them again notes them again. */
  take(node: NodeId): readonly AttemptName[] {
    const acks = this.#byNode.get(node) ?? [];
    this.#byNode.delete(node);
    return acks;
  }
}
