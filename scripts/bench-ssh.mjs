// What users have today: ssh to a local sshd with throw-away keys on a free loopback port, fresh and over ControlMaster.
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { runProgram } from './loopback-mesh.mjs';

const INSTALL_TIMEOUT_MS = 300_000;
const START_TIMEOUT_MS = 10_000;
const SSHD = '/usr/sbin/sshd';
/** Debian asks this file whether a service that was just installed may be started. */
const POLICY = '/usr/sbin/policy-rc.d';

/** @returns null where ssh and sshd are there (installed now if need be), else the reason why not */
async function install() {
  const there = async () => existsSync(SSHD) && (await runProgram('ssh', ['-V']).catch(() => null)) !== null;
  if (await there()) return null;
  if (process.getuid() !== 0) return 'no sshd here, and only root can install it';
  const guarded = !existsSync(POLICY);
  if (guarded) {
    writeFileSync(POLICY, '#!/bin/sh\nexit 101\n');
    chmodSync(POLICY, 0o755);
  }
  try {
    const options = { timeout: INSTALL_TIMEOUT_MS, env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } };
    const packages = ['openssh-server', 'openssh-client'];
    for (const args of [['update'], ['install', '-y', '--no-install-recommends', ...packages]]) {
      const result = await runProgram('apt-get', ['-qq', ...args], options).catch((error) => ({
        code: 1,
        stderr: error.message,
      }));
      if (result.code !== 0) return `apt-get ${args[0]}: ${result.stderr.trim()}`;
    }
  } finally {
    if (guarded) rmSync(POLICY, { force: true });
  }
  return (await there()) ? null : 'apt-get installed no usable sshd';
}

function freePort() {
  return new Promise((resolve, reject) => {
    const listener = createServer().once('error', reject);
    listener.listen(0, '127.0.0.1', () => {
      const { port } = listener.address();
      listener.close(() => resolve(port));
    });
  });
}

async function until(what, ready) {
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(await ready())) {
    if (performance.now() > deadline) throw new Error(`${what} did not become ready`);
    await delay(20);
  }
}

const accepts = (port) =>
  new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });

/** A spawned program that is ended by its pid. */
class Companion {
  constructor(file, args) {
    this.errors = '';
    this.child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.child.stderr.on('data', (bytes) => {
      this.errors = `${this.errors}${bytes}`.slice(-4096);
    });
    this.gone = new Promise((resolve) => {
      this.child.once('exit', resolve).once('error', resolve);
    });
  }

  async stop() {
    this.child.kill('SIGTERM');
    await this.gone;
  }
}

export class LocalSsh {
  #companions = [];

  /** @returns {Promise<string | null>} the reason why there is no ssh to compare with */
  async start(folder) {
    const reason = await install();
    if (reason !== null) return reason;
    const at = (name) => join(folder, name);
    for (const name of ['host_key', 'user_key']) {
      const made = await runProgram('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', at(name)]);
      if (made.code !== 0) throw new Error(`ssh-keygen: ${made.stderr}`);
    }
    const port = await freePort();
    const lines = [
      `ListenAddress 127.0.0.1:${port}`,
      `HostKey ${at('host_key')}`,
      `AuthorizedKeysFile ${at('user_key.pub')}`,
      `PidFile ${at('sshd.pid')}`,
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'PermitRootLogin prohibit-password',
      'MaxStartups 100',
      'MaxSessions 100',
      // bash under sshd reads ~/.bashrc at this level 1 only: the user's start files are not what is measured here.
      'SetEnv SHLVL=5',
    ];
    writeFileSync(at('sshd_config'), `${lines.join('\n')}\n`);
    // sshd run by root wants this folder of its package; a machine without a service manager lacks it.
    if (process.getuid() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
    const daemon = new Companion(SSHD, ['-D', '-e', '-f', at('sshd_config')]);
    this.#companions.push(daemon);
    this.common = [
      '-F',
      'none',
      '-i',
      at('user_key'),
      '-p',
      String(port),
      '-o',
      'BatchMode=yes',
      '-o',
      'LogLevel=ERROR',
    ];
    this.common.push('-o', 'StrictHostKeyChecking=no', '-o', `UserKnownHostsFile=${at('known_hosts')}`);
    this.target = `${userInfo().username}@127.0.0.1`;
    await until('sshd', () => accepts(port));
    const first = await runProgram('ssh', this.fresh('true'));
    if (first.code !== 0) return `ssh to the local sshd failed: ${first.stderr.trim()} ${daemon.errors.trim()}`;
    this.socket = at('master');
    this.#companions.push(new Companion('ssh', [...this.common, '-M', '-N', '-S', this.socket, this.target]));
    await until('the ssh master', () => existsSync(this.socket));
    return null;
  }

  fresh(command) {
    return [...this.common, '-o', 'ControlPath=none', this.target, command];
  }

  mastered(command) {
    return [...this.common, '-S', this.socket, this.target, command];
  }

  async stop() {
    for (const companion of this.#companions.toReversed()) await companion.stop();
    this.#companions = [];
  }
}
