import { describe, expect, it } from 'vitest';
import type { RunResult } from '../../../src/ports/runner.ts';
import { alive, isAlive, makeDaemon, makeRig, until } from './rig.ts';

describe('a runner that outlives its daemon', () => {
  it('goes on, and the next daemon takes over what runs', async () => {
    const daemon = await makeDaemon('for i in 1 2 3; do echo $i; done; while ! [ -e go ]; do sleep 0.05; done; exit 7');
    await until('the tree stands', () => alive(daemon.job).length >= 1);
    await daemon.kill();
    const rig = await makeRig(daemon.home);
    expect(rig.runner.pid).toBe(daemon.runnerPid);
    expect(rig.runner.kept).toEqual([{ job: daemon.job, attempt: 1, kind: 'running', durable: false, stdinBytes: 0 }]);
    expect(alive(daemon.job).length).toBeGreaterThan(0);
    const name = { job: daemon.job, attempt: 1 };
    const ended = new Promise<RunResult>((onEnded) => rig.runner.adopt(name, { onStarted: () => undefined, onEnded }));
    rig.runner.cancel(daemon.job, 1);
    expect((await ended).outcome.kind).toBe('cancelled');
    await rig.close();
    expect(isAlive(daemon.runnerPid)).toBe(false);
  });
});
