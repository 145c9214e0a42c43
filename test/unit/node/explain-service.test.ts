import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../../src/base/random.ts';
import type { UnheardMember } from '../../../src/core/scheduling/candidate.ts';
import { NO_HISTORY } from '../../../src/core/scheduling/placement-request.ts';
import { nowMs } from '../../../src/node/core-loop.ts';
import { ExplainService } from '../../../src/node/explain-service.ts';
import type { JobMessage } from '../../../src/wire/jobs.ts';
import { idOf, LOAD, RULES } from '../core/scheduling/nodes.ts';
import { LEASE, one, OriginWorld, slotless, submissionOf } from '../core/scheduling/origin-world.ts';

const toBeta = submissionOf(1, { target: { kind: 'node', node: 'beta' } });

/** A node in a mesh with `beta`, which is not linked yet. */
class YoungNode {
  unheard: readonly UnheardMember[] = [{ id: idOf('beta'), name: 'beta' }];
  settledAtMs = Number.POSITIVE_INFINITY;
  readonly asked: JobMessage[] = [];
  readonly world = new OriginWorld([slotless], { unheard: () => this.unheard, settledAtMs: () => this.settledAtMs });
  readonly service: ExplainService;
  #looks = 0;
  #onLook: (() => void) | null = null;

  constructor() {
    const { origin } = this.world;
    const candidates = origin.candidates.bind(origin);
    origin.candidates = () => {
      this.#looks += 1;
      this.#onLook?.();
      return candidates();
    };
    const basis = { rules: RULES, random: seededRandom(1), historyOf: () => NO_HISTORY };
    this.service = new ExplainService(origin, basis, (to, message) => {
      this.asked.push(message);
      if (message.t !== 'job.reserve') return false;
      const { job, attempt } = message;
      const terms = { instance: 'i', ttl_ms: 10_000, cwd: '/there', load: LOAD };
      queueMicrotask(() => this.service.receive(to, { t: 'job.reserved', job, attempt, lease: LEASE, ...terms }));
      return true;
    });
  }

  /** It has decided so often. */
  async looked(times: number): Promise<void> {
    while (this.#looks < times) {
      await new Promise<void>((resolve) => {
        this.#onLook = resolve;
      });
    }
  }

  hear(): void {
    this.unheard = [];
    this.world.nodes = [...this.world.nodes, one('beta')];
  }
}

describe('a moment after this node has started', () => {
  test('a member that is named and not linked yet is waited for, as a job would wait', async () => {
    const young = new YoungNode();
    const explained = young.service.explain(toBeta);
    await young.looked(2);
    expect(young.asked).toEqual([]);
    young.hear();
    expect(await explained).toMatchObject({ would_run_on: 'beta' });
    expect(young.asked).toHaveLength(1);
  });

  test('no longer than for what was there to be linked', async () => {
    const young = new YoungNode();
    const explained = young.service.explain(toBeta);
    await young.looked(2);
    young.settledAtMs = nowMs();
    expect(await explained).toMatchObject({ would_run_on: null, error: { code: 'node_unreachable' } });
  });

  test('a name that no member can have is told at once', async () => {
    const young = new YoungNode();
    young.hear();
    const nobody = submissionOf(2, { target: { kind: 'node', node: 'nobody' } });
    expect(await young.service.explain(nobody)).toMatchObject({ error: { code: 'unknown_node' } });
  });
});
