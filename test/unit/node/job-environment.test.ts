import { describe, expect, test } from 'vitest';
import type { JobId } from '../../../src/base/ids.ts';
import { jobEnvironment } from '../../../src/node/job-environment.ts';

const JOB = '01ARZ3NDEKZZZZZZZZZZZZZZZZ' as JobId;
const login = { env: { HOME: '/home/u', PATH: '/usr/bin' } };
const hijacks = {
  PATH: '/tmp/evil',
  LD_PRELOAD: '/tmp/evil.so',
  BASH_ENV: '/tmp/evil',
  GIT_CONFIG_COUNT: '1',
  NODE_OPTIONS: '--require=/tmp/evil.js',
  HOME: '/tmp/evil',
};
const of = (env: Record<string, string>, commandsOnly: boolean, allow: string[]) =>
  jobEnvironment(login, { env }, JOB, { commandsOnly, allow });

describe("a job's environment", () => {
  test("where a list of commands decides, a submitter's variables make none of them another", () => {
    const env = of({ ...hijacks, LANG: 'C', LC_ALL: 'C', CI: '1' }, true, ['*']);
    expect(env).toEqual({ ...login.env, LANG: 'C', LC_ALL: 'C', CI: '1', MESHWORK_JOB_ID: JOB });
    expect(of(hijacks, true, ['BASH_*', 'PATH'])).toMatchObject({ PATH: '/tmp/evil', BASH_ENV: '/tmp/evil' });
    expect(of(hijacks, true, ['BASH_*'])['LD_PRELOAD']).toBeUndefined();
  });

  test('where a shell may do anything, all that is allowed is passed on', () => {
    expect(of(hijacks, false, ['*'])).toEqual({ ...hijacks, MESHWORK_JOB_ID: JOB });
    expect(of(hijacks, false, ['LD_*'])).toEqual({
      ...login.env,
      LD_PRELOAD: '/tmp/evil.so',
      MESHWORK_JOB_ID: JOB,
    });
  });

  test('nothing of meshwork itself is set by a submitter', () => {
    const env = of({ MESHWORK_JOB_ID: 'x', MESHWORK_HOME: '/tmp' }, false, ['*', 'MESHWORK_HOME']);
    expect(env).toEqual({ ...login.env, MESHWORK_JOB_ID: JOB });
  });
});
