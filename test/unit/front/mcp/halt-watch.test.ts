import { describe, expect, it } from 'vitest';
import { MeshError } from '../../../../src/base/errors.ts';
import { keepHalt } from '../../../../src/front/mcp/halt-watch.ts';
import type { JobRecord } from '../../../../src/node/api-types.ts';
import { FakeDaemon, FINISHED, recordOf } from './fake-daemon.ts';

type Named = { readonly job: string };

function rig(states: Readonly<Record<string, JobRecord['state']>>) {
  const ends = new Map<string, (record: JobRecord) => void>();
  const cancelled: string[] = [];
  const daemon = new FakeDaemon(undefined, {
    wait: ({ job }: Named) => new Promise((resolve) => ends.set(job, resolve)),
    job: ({ job }: Named) => recordOf({ state: states[job] ?? 'running' }),
    cancel: ({ job }: Named) => {
      if (states[job] === 'finished') throw new MeshError('job_finished', 'it exited');
      cancelled.push(job);
      ends.get(job)?.(recordOf({ state: 'finished', reason: 'cancelled' }));
      return { cancelled: true, job };
    },
  });
  return { daemon, ends, cancelled };
}

describe('the halt of a batch that was handed out', () => {
  it('ends the others once so many have failed, those before included', async () => {
    const { daemon, ends, cancelled } = rig({ C: 'finished' });
    const watch = keepHalt(daemon, { jobs: ['A', 'B', 'C', 'D'], halt: { when: 'now', failures: 2 }, failures: 1 });
    ends.get('B')?.(recordOf({ ...FINISHED, return_code: 0 }));
    await expect.poll(() => daemon.calls.length).toBe(4);
    ends.get('A')?.(recordOf(FINISHED));
    await expect.poll(() => cancelled).toEqual(['D']);
    ends.get('C')?.(recordOf(FINISHED));
    await watch;
    expect(cancelled).toEqual(['D']);
  });

  it('leaves those that run where it says soon', async () => {
    const { daemon, ends, cancelled } = rig({ B: 'queued', C: 'running' });
    const watch = keepHalt(daemon, { jobs: ['A', 'B', 'C'], halt: { when: 'soon', failures: 1 }, failures: 0 });
    ends.get('A')?.(recordOf({ state: 'finished', reason: 'signaled' }));
    await expect.poll(() => cancelled).toEqual(['B']);
    ends.get('C')?.(recordOf({ ...FINISHED, return_code: 0 }));
    await watch;
  });

  it('ends with the daemon', async () => {
    const daemon = new FakeDaemon();
    const watch = keepHalt(daemon, { jobs: ['A'], halt: { when: 'now', failures: 1 }, failures: 0 });
    await expect(watch).rejects.toMatchObject({ code: 'lost' });
  });
});
