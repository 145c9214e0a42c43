import { readFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { MeshError, systemCodeOf } from '../../base/errors.ts';
import { type CommandEnd, runBounded } from './bounded-command.ts';

/** The account that jobs run as. */
export interface ExecUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups, for another user than this process's own; else empty and inherited. */
  readonly groups: readonly number[];
  readonly home: string;
  readonly shell: string;
  /** True where it is this process's own user: nothing needs to be switched. */
  readonly own: boolean;
}

const LOOKUP_TIMEOUT_MS = 3000;
const LOOKUP_OUTPUT_BYTES_MAX = 64 * 1024;
/** What a user may be called (useradd(8), and directory services with `@` and `.`): never an option of getent or id. */
const USER_NAME = /^[A-Za-z_][A-Za-z0-9._@-]{0,255}$/;

/** This process's user. HOME wins over the account database, as for every program. */
export function currentUser(env: Readonly<Record<string, string | undefined>>): ExecUser {
  const own = { uid: process.getuid?.() ?? -1, gid: process.getgid?.() ?? -1, groups: [], own: true };
  const envHome = env['HOME'];
  const home = envHome !== undefined && envHome.startsWith('/') ? envHome : null;
  try {
    const entry = userInfo();
    return { ...own, name: entry.username, home: home ?? entry.homedir, shell: entry.shell ?? '/bin/sh' };
  } catch (error) {
    // A container may run under a number that no account has.
    if (systemCodeOf(error) !== 'ERR_SYSTEM_ERROR') throw error;
    return { ...own, name: String(own.uid), home: home ?? '/', shell: '/bin/sh' };
  }
}

/**
 * The user of the setting `exec.user`; '' means this process's own.
 *
 * @throws MeshError `bad_config` where there is no such account, or this process may not become it
 */
export async function resolveExecUser(
  name: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<ExecUser> {
  const own = currentUser(env);
  if (name === '' || name === own.name) return own;
  if (!USER_NAME.test(name)) throw badUser(name, 'is not a user name');
  if (own.uid !== 0) throw badUser(name, `needs a daemon that runs as root; this one runs as ${own.name}`);
  const entry = process.platform === 'darwin' ? await darwinEntry(name) : await passwdEntry(name);
  if (entry === null) throw badUser(name, 'names no account of this machine');
  const groups = await look('/usr/bin/id', ['-G', name]);
  return { ...entry, groups: (groups ?? '').split(/\s+/).filter(Boolean).map(Number), own: false };
}

type AccountEntry = Omit<ExecUser, 'groups' | 'own'>;

async function passwdEntry(name: string): Promise<AccountEntry | null> {
  const fromFile = parsePasswd(await readFile('/etc/passwd', 'utf8'), name);
  // Accounts of a directory service are not in the file.
  return fromFile ?? parsePasswd((await look('/usr/bin/getent', ['passwd', name])) ?? '', name);
}

/** passwd(5): `name:password:uid:gid:gecos:home:shell`; an empty shell means /bin/sh. */
export function parsePasswd(text: string, name: string): AccountEntry | null {
  for (const line of text.split('\n')) {
    const fields = line.split(':');
    if (fields[0] !== name || fields.length < 7) continue;
    const [uid, gid] = [Number(fields[2]), Number(fields[3])];
    if (!Number.isInteger(uid) || !Number.isInteger(gid)) continue;
    return { name, uid, gid, home: fields[5] || '/', shell: fields[6] || '/bin/sh' };
  }
  return null;
}

async function darwinEntry(name: string): Promise<AccountEntry | null> {
  const keys = ['UniqueID', 'PrimaryGroupID', 'NFSHomeDirectory', 'UserShell'];
  const text = (await look('/usr/bin/dscl', ['.', '-read', `/Users/${name}`, ...keys])) ?? '';
  const field = (key: string): string => new RegExp(`^${key}:\\s*(.+)$`, 'm').exec(text)?.[1]?.trim() ?? '';
  const [uid, gid] = [field('UniqueID'), field('PrimaryGroupID')].map((id) => (id === '' ? Number.NaN : Number(id)));
  if (uid === undefined || gid === undefined || !Number.isInteger(uid) || !Number.isInteger(gid)) return null;
  return { name, uid, gid, home: field('NFSHomeDirectory') || '/', shell: field('UserShell') || '/bin/sh' };
}

async function look(file: string, args: readonly string[]): Promise<string | null> {
  const end: CommandEnd = await runBounded({
    file,
    args,
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
    cwd: '/',
    timeoutMs: LOOKUP_TIMEOUT_MS,
    outputBytesMax: LOOKUP_OUTPUT_BYTES_MAX,
    user: null,
  });
  return end.kind === 'exited' && end.code === 0 ? end.stdout.toString('utf8').trim() : null;
}

function badUser(name: string, why: string): MeshError {
  return new MeshError(
    'bad_config',
    `exec.user "${name}" ${why}. Correct the setting or remove it; nothing was started.`,
  );
}
