import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ensureHome, homeAt, resolveHome, SOCKET_PATH_BYTES_MAX, socketAddress } from '../../../src/node/home.ts';
import { temporaryFolders } from '../../fixtures/temporary-folder.ts';

const folder = temporaryFolders();

describe('MESHWORK_HOME', () => {
  it('is --home, else the variable, else the place of this platform', () => {
    expect(resolveHome('/a/../b', { MESHWORK_HOME: '/c' }).path).toBe('/b');
    expect(resolveHome(undefined, { MESHWORK_HOME: '/c' }).path).toBe('/c');
    expect(resolveHome('relative', {}).path).toBe(join(process.cwd(), 'relative'));
    const byDefault = resolveHome(undefined, { MESHWORK_HOME: '' }).path;
    expect(byDefault.endsWith('/meshwork')).toBe(true);
    if (process.env['XDG_DATA_HOME'] === undefined) expect(byDefault.startsWith(homedir())).toBe(true);
    expect(() => resolveHome('', {})).toThrow(expect.objectContaining({ code: 'bad_argument' }));
  });

  it('is made private, with what lies above it', () => {
    const home = homeAt(join(folder(), 'new/home'));
    ensureHome(home);
    expect(statSync(home.path).mode & 0o777).toBe(0o700);
    ensureHome(home);
  });

  it('keeps the mode of a folder that exists, but is none that everybody writes in', () => {
    const path = folder();
    chmodSync(path, 0o755);
    ensureHome(homeAt(path));
    expect(statSync(path).mode & 0o777).toBe(0o755);
    chmodSync(path, 0o1777);
    expect(() => ensureHome(homeAt(path))).toThrow(expect.objectContaining({ code: 'home_not_writable' }));
  });

  it('is refused below a file, naming it', () => {
    const file = join(folder(), 'file');
    writeFileSync(file, '');
    for (const path of [file, join(file, 'home')]) {
      expect(() => ensureHome(homeAt(path))).toThrow(
        expect.objectContaining({ code: 'home_not_writable', message: expect.stringContaining(path) }),
      );
    }
    expect(readFileSync(file, 'utf8')).toBe('');
  });

  it.runIf(process.platform === 'linux')('is refused at once where the system makes no folders', () => {
    expect(() => ensureHome(homeAt('/proc/meshwork/home'))).toThrow(
      expect.objectContaining({ code: 'home_not_writable', message: expect.stringContaining('ENOENT') }),
    );
  });
});

const listenAt = (address: string) =>
  new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
    const server = createServer((socket) => socket.end('hello'));
    server.once('error', reject);
    server.listen(address, () => resolve(server));
  });
const readFrom = (address: string) =>
  new Promise<string>((resolve, reject) => {
    let text = '';
    const socket = connect(address);
    socket.on('data', (chunk) => (text += String(chunk)));
    socket.once('error', reject);
    socket.once('close', () => resolve(text));
  });

const long = (root: string): string => join(root, 'a'.repeat(100), 'é'.repeat(20), 'control.sock');

describe('socketAddress', () => {
  it('is the path itself where that fits', () => {
    const longest = `/${'x'.repeat(SOCKET_PATH_BYTES_MAX - 1)}`;
    expect(socketAddress(longest)).toBe(longest);
  });

  it('reaches a socket whose path is too long, on Linux', async (context) => {
    if (process.platform !== 'linux') return context.skip('only Linux has /proc/self/fd');
    const path = long(folder());
    mkdirSync(join(path, '..'), { recursive: true });
    const server = await listenAt(socketAddress(path));
    expect(statSync(path).isSocket()).toBe(true);
    expect(await readFrom(socketAddress(path))).toBe('hello');
    expect(socketAddress(path)).toBe(socketAddress(path));
    await new Promise((resolve) => server.close(resolve));
    expect(() => statSync(path)).toThrow('ENOENT');
    // Removed and made again: another folder, which the descriptor must be of.
    rmSync(join(path, '..'), { recursive: true });
    mkdirSync(join(path, '..'), { recursive: true });
    const second = await listenAt(socketAddress(path));
    expect(statSync(path).isSocket()).toBe(true);
    await new Promise((resolve) => second.close(resolve));
  });

  it('is an error that says what to do, elsewhere and for a folder that is not there', (context) => {
    const path = long(folder());
    const code = process.platform === 'linux' ? 'daemon_not_running' : 'limit';
    expect(() => socketAddress(path)).toThrow(expect.objectContaining({ code }));
    if (process.platform !== 'linux') return context.skip('only Linux takes long folders');
    expect(() => socketAddress(join(folder(), 'x'.repeat(150)))).toThrow(expect.objectContaining({ code: 'limit' }));
  });
});
