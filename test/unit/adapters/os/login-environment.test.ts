import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { currentUser, type ExecUser, parsePasswd, resolveExecUser } from '../../../../src/adapters/os/exec-user.ts';
import { captureLoginEnvironment, joinPaths } from '../../../../src/adapters/os/login-environment.ts';
import { temporaryFolders, writeScript, writeTree } from '../../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();

function userWith(home: string, shell: string): ExecUser {
  return { ...currentUser(process.env), home, shell };
}

describe('the login environment', () => {
  it('is what the login shell sets, without secrets and without the noise of shells', async () => {
    const home = folder();
    writeTree(home, {
      '.profile': [
        'echo welcome',
        'export FROM_PROFILE="two',
        'lines=é"',
        'export PATH="$HOME/bin:/usr/bin:/bin"',
        'export MESHWORK_TOKEN=secret OLDPWD=/x',
      ].join('\n'),
    });
    const login = await captureLoginEnvironment({
      user: userWith(home, '/bin/sh'),
      daemonEnv: { SECRET: 's', PATH: `/usr/bin:/opt/more/bin`, LANG: 'C.UTF-8' },
      timeoutMs: 60_000,
    });
    expect(login.warning).toBeNull();
    expect(login.home).toBe(home);
    expect(login.env).toMatchObject({ FROM_PROFILE: 'two\nlines=é', HOME: home, LANG: 'C.UTF-8' });
    expect(login.env['PATH']).toBe(`${home}/bin:/usr/bin:/bin:/opt/more/bin`);
    for (const name of ['SECRET', 'MESHWORK_TOKEN', '_', 'SHLVL', 'PWD', 'OLDPWD']) {
      expect(login.env).not.toHaveProperty(name);
    }
  });

  it.each([
    ['hangs', 'sleep 96', 'did not end within', 400],
    ['fails', 'exit 7', 'ended with 7', 60_000],
    ['prints without end', 'yes', 'printed more than', 60_000],
  ])('is a minimal one where the shell %s', async (_, line, why, timeoutMs) => {
    const home = folder();
    const shell = writeScript(join(home, 'shell'), line);
    const login = await captureLoginEnvironment({
      user: userWith(home, shell),
      daemonEnv: { PATH: '/opt/x:/usr/bin' },
      timeoutMs,
    });
    expect(login.warning).toContain(why);
    expect(login.warning).toContain(shell);
    expect(login.env).toMatchObject({ HOME: home, SHELL: shell, LANG: 'C.UTF-8' });
    expect(login.env['PATH']).toMatch(/^\/usr\/local\/sbin:.*:\/bin:\/opt\/x$/);
  });

  it.each(['/usr/sbin/nologin', '/no/such/shell'])('uses /bin/sh for %s', async (shell) => {
    const login = await captureLoginEnvironment({
      user: userWith('/nonexistent', shell),
      daemonEnv: {},
      timeoutMs: 60_000,
    });
    expect(login.warning).toBeNull();
    expect(login.env['SHELL']).toBe('/bin/sh');
  });

  it('gives another user nothing of the PATH of the daemon', async () => {
    const home = folder();
    const user = { ...userWith(home, '/bin/sh'), own: false };
    const login = await captureLoginEnvironment({ user, daemonEnv: { PATH: '/root/bin' } });
    expect(login.env['PATH']).not.toContain('/root/bin');
  });

  it('joins paths without duplicates and without relative entries', () => {
    expect(joinPaths('/a:.:/b', '/b::/c:bin')).toBe('/a:/b:/c');
  });
});

describe('exec.user', () => {
  it('reads passwd(5)', () => {
    const text = '# comment\nroot:x:0:0:root:/root:/bin/bash\nci:x:1001:1002::/srv/ci:\nbad:x:a:b::/:\n';
    expect(parsePasswd(text, 'ci')).toEqual({ name: 'ci', uid: 1001, gid: 1002, home: '/srv/ci', shell: '/bin/sh' });
    expect(parsePasswd(text, 'bad')).toBeNull();
    expect(parsePasswd(text, 'nobody')).toBeNull();
  });

  it('is the own user by default, whose HOME counts', async () => {
    expect(await resolveExecUser('', { HOME: '/elsewhere' })).toMatchObject({ own: true, home: '/elsewhere' });
  });

  it.each(['no-such-account-here', '-G', 'a b', '../x'])('refuses %j, naming it', async (name) => {
    await expect(resolveExecUser(name, {})).rejects.toMatchObject({
      code: 'bad_config',
      message: expect.stringContaining(`exec.user "${name}"`),
    });
  });

  it('looks another account up where it may become it', async () => {
    const asked = resolveExecUser('nobody', {});
    if (process.getuid?.() === 0) await expect(asked).resolves.toMatchObject({ name: 'nobody', own: false });
    else await expect(asked).rejects.toThrow('needs a daemon that runs as root');
  });
});
