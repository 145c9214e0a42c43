import { expect, test } from 'vitest';
import type { JobId, LeaseId } from '../../../src/base/ids.ts';
import type { CarrierListener, ProjectCarrier } from '../../../src/node/project-carrier.ts';
import type { ShippedJob } from '../../../src/node/shipped-jobs.ts';
import { NO_CHANGES } from '../../../src/wire/changes.ts';
import { MemoryJournalFile } from '../../fixtures/memory-journal.ts';
import { LOAD } from '../core/scheduling/nodes.ts';
import { OriginRig, specOf } from './origin-rig.ts';

/** Knows what was sent for one attempt, or for none. */
class Carrier implements ProjectCarrier {
  listener: CarrierListener | null = null;
  readonly notStartedJobs: string[] = [];
  readonly #isShipped: boolean;

  constructor(isShipped: boolean) {
    this.#isShipped = isShipped;
  }

  listen(listener: CarrierListener): void {
    this.listener = listener;
  }
  begin(): void {}
  abort(): void {}
  shippedAs(): ShippedJob | null {
    return this.#isShipped ? ({} as ShippedJob) : null;
  }
  notStarted(job: JobId, attempt: number): void {
    this.notStartedJobs.push(`${job}/${attempt}`);
  }
  bringBack = async () => ({ changes: NO_CHANGES, notices: [] });
  hold = () => null;
  lost = () => [];
  giveUp(): void {}
  finished(): void {}
}

test.each([
  { isShipped: true, told: ['not sent: .env (untracked secrets)'] },
  { isShipped: false, told: [] },
])('notices of a sync are of the attempt that ran with its files: $isShipped', async ({ isShipped, told }) => {
  const projects = new Carrier(isShipped);
  const rig = new OriginRig(new MemoryJournalFile(), { projects });
  const front = rig.front();
  const { job, result } = rig.service.submit(specOf(), front.streams, () => undefined);
  await rig.settle();
  projects.listener?.notify(job, ['an earlier sync']);
  projects.listener?.notify(job, ['not sent: .env (untracked secrets)']);
  const { stdout, stderr } = await rig.run(job);
  expect(rig.service.record(job)?.notices).toEqual(told);
  stdout?.end();
  stderr?.end();
  rig.end(job);
  await rig.settle();
  expect((await result).notices).toEqual(told);
});

test('an attempt that was not started leaves nothing to bring back', async () => {
  const projects = new Carrier(true);
  const rig = new OriginRig(new MemoryJournalFile(), { projects });
  const { job } = rig.service.submit(specOf(), rig.front().streams, () => undefined);
  await rig.settle();
  const lease = 'a'.repeat(26) as LeaseId;
  rig.receive({ t: 'job.reserved', job, attempt: 1, lease, instance: 'i', ttl_ms: 10_000, cwd: '/there', load: LOAD });
  await rig.settle();
  rig.cut();
  rig.heal();
  await rig.settle();
  rig.receive({ t: 'job.gone', job, attempt: 1, instance: 'i', kind: 'not_started', message: 'the lease is over' });
  await rig.settle();
  expect(projects.notStartedJobs).toEqual([`${job}/1`]);
});
