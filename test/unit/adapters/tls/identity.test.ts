import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadOrCreateIdentity, renewIdentity } from '../../../../src/adapters/tls/identity.ts';
import { verifier } from '../../../../src/adapters/tls/verifier.ts';
import { MeshError } from '../../../../src/base/errors.ts';
import { isNodeId } from '../../../../src/base/ids.ts';

const NOW_WALL_MS = Date.UTC(2026, 0, 15);
let home = '';
let directory = '';

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'meshwork-identity-'));
  directory = join(home, 'identity');
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const snapshot = (): Record<string, string> =>
  Object.fromEntries(readdirSync(directory).map((name) => [name, readFileSync(join(directory, name), 'utf8')]));

async function refusal(): Promise<MeshError> {
  const outcome: unknown = await loadOrCreateIdentity(directory, NOW_WALL_MS).catch((error: unknown) => error);
  if (!(outcome instanceof MeshError)) throw new Error('expected a MeshError');
  return outcome;
}

describe('identity', () => {
  it('is made once, private, and the same when loaded again', async () => {
    const made = await loadOrCreateIdentity(directory, NOW_WALL_MS);
    expect(made.created).toBe(true);
    expect(isNodeId(made.identity.nodeId)).toBe(true);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(statSync(join(directory, 'key.pem')).mode & 0o777).toBe(0o600);
    expect(readdirSync(home)).toEqual(['identity']);

    const loaded = await loadOrCreateIdentity(directory, NOW_WALL_MS);
    expect(loaded.created).toBe(false);
    expect(loaded.identity.nodeId).toBe(made.identity.nodeId);
    expect(loaded).toMatchObject({ keyPem: made.keyPem, certPem: made.certPem });
  });

  it('fills an empty folder that is there already, also under a wide umask', async () => {
    const umask = process.umask(0);
    try {
      mkdirSync(directory, { mode: 0o777 });
      await loadOrCreateIdentity(directory, NOW_WALL_MS);
    } finally {
      process.umask(umask);
    }
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(statSync(join(directory, 'key.pem')).mode & 0o777).toBe(0o600);
  });

  it('makes one identity when two daemons start at once', async () => {
    const both = await Promise.all([1, 2].map(() => loadOrCreateIdentity(directory, NOW_WALL_MS)));
    expect(both[0]?.identity.nodeId).toBe(both[1]?.identity.nodeId);
    expect(both.filter(({ created }) => created)).toHaveLength(1);
    expect(readdirSync(home)).toEqual(['identity']);
  });

  it('shows its key in a long-lived self-signed certificate named by the id', async () => {
    const { certPem, identity } = await loadOrCreateIdentity(directory, NOW_WALL_MS);
    const certificate = new X509Certificate(certPem);
    expect(certificate.subject).toBe(`CN=${identity.nodeId}`);
    expect(certificate.issuer).toBe(certificate.subject);
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    const spki = certificate.publicKey.export({ type: 'spki', format: 'der' });
    expect(verifier.nodeIdOf(spki)).toBe(identity.nodeId);
    expect(new Date(certificate.validTo).getUTCFullYear()).toBe(2046);
    expect(certificate.ca).toBe(false);
  });

  it('signs what the verifier accepts, and nothing else passes', async () => {
    const { identity } = await loadOrCreateIdentity(directory, NOW_WALL_MS);
    const bytes = new Uint8Array([1, 2, 3]);
    const signature = identity.sign(bytes);
    expect(verifier.verify(identity.spki, bytes, signature)).toBe(true);
    expect(verifier.verify(identity.spki, new Uint8Array([1, 2, 4]), signature)).toBe(false);
    expect(verifier.verify(identity.spki, bytes, signature.subarray(1))).toBe(false);
    expect(verifier.verify(identity.spki.subarray(1), bytes, signature)).toBe(false);
    expect(verifier.verify(new Uint8Array(44), bytes, signature)).toBe(false);
    const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'der' });
    expect(verifier.verify(p256, bytes, signature)).toBe(false);
  });

  it('is renewed with another key', async () => {
    const old = await loadOrCreateIdentity(directory, NOW_WALL_MS);
    const renewed = await renewIdentity(directory, NOW_WALL_MS);
    expect(renewed.identity.nodeId).not.toBe(old.identity.nodeId);
    expect((await loadOrCreateIdentity(directory, NOW_WALL_MS)).identity.nodeId).toBe(renewed.identity.nodeId);
    expect(readdirSync(home)).toEqual(['identity']);
  });

  it('prints nothing while an identity is made', async () => {
    const bundle = join(home, 'probe.mjs');
    await build({
      entryPoints: [resolve('src/adapters/tls/identity.ts')],
      bundle: true,
      platform: 'node',
      format: 'esm',
      banner: { js: `import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);` },
      outfile: bundle,
      logLevel: 'error',
    });
    const script = `import { loadOrCreateIdentity } from ${JSON.stringify(bundle)};
      const { identity } = await loadOrCreateIdentity(${JSON.stringify(directory)}, Date.now());
      process.stdout.write(identity.nodeId);`;
    const errors = join(home, 'stderr');
    const shell = `exec "$0" --input-type=module -e "$1" 2>"$2"`;
    const printed = execFileSync('/bin/sh', ['-c', shell, process.execPath, script, errors]).toString();
    expect(isNodeId(printed)).toBe(true);
    expect(readFileSync(errors, 'utf8')).toBe('');
  });
});

describe('a damaged identity', () => {
  const damages: Record<string, { damage: () => void; names: string; says: RegExp }> = {
    'missing key': { damage: () => rmSync(join(directory, 'key.pem')), names: 'key.pem', says: /is missing/ },
    'missing certificate': {
      damage: () => rmSync(join(directory, 'cert.pem')),
      names: 'cert.pem',
      says: /is missing/,
    },
    'empty key': {
      damage: () => writeFileSync(join(directory, 'key.pem'), ''),
      names: 'key.pem',
      says: /not a private/,
    },
    'garbled key': {
      damage: () => writeFileSync(join(directory, 'key.pem'), '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END'),
      names: 'key.pem',
      says: /not a private key/,
    },
    'key of another kind': {
      damage: () => {
        const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
        writeFileSync(join(directory, 'key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }));
      },
      names: 'key.pem',
      says: /not an Ed25519 key/,
    },
    'another key': {
      damage: () => {
        const { privateKey } = generateKeyPairSync('ed25519');
        writeFileSync(join(directory, 'key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }));
      },
      names: 'cert.pem',
      says: /does not belong to the key/,
    },
    'garbled certificate': {
      damage: () => writeFileSync(join(directory, 'cert.pem'), 'certificate'),
      names: 'cert.pem',
      says: /not a certificate/,
    },
    'huge certificate': {
      damage: () => writeFileSync(join(directory, 'cert.pem'), 'x'.repeat(1_000_000)),
      names: 'cert.pem',
      says: /far larger/,
    },
    'key that others can read': {
      damage: () => chmodSync(join(directory, 'key.pem'), 0o644),
      names: 'key.pem',
      says: /readable by other users.*chmod 600/,
    },
    'folder that others can write': {
      damage: () => chmodSync(directory, 0o777),
      names: 'identity',
      says: /writable by other users.*chmod 700/,
    },
    'key that is a folder': {
      damage: () => {
        rmSync(join(directory, 'key.pem'));
        mkdirSync(join(directory, 'key.pem'));
      },
      names: 'key.pem',
      says: /cannot be read/,
    },
  };

  it.each(Object.keys(damages))('%s: refused by name with a remedy, nothing changed', async (name) => {
    await loadOrCreateIdentity(directory, NOW_WALL_MS);
    const { damage, names, says } = damages[name] ?? { damage: () => undefined, names: '', says: /never/ };
    damage();
    const before = name === 'key that is a folder' ? {} : snapshot();
    const error = await refusal();
    expect(error.code).toBe('identity_corrupt');
    expect(error.message).toContain(join(home, 'identity', names === 'identity' ? '' : names).replace(/\/$/, ''));
    expect(error.message).toMatch(says);
    expect(error.message).toMatch(/Nothing was changed\. To go on, /);
    expect(name === 'key that is a folder' ? {} : snapshot()).toEqual(before);
  });

  it('in the place of a file: refused', async () => {
    writeFileSync(directory, 'not a folder');
    expect((await refusal()).code).toBe('identity_corrupt');
    expect(readFileSync(directory, 'utf8')).toBe('not a folder');
  });

  it('a home that cannot be written: home_not_writable, nothing left behind', async () => {
    writeFileSync(join(home, 'file'), '');
    directory = join(home, 'file', 'identity');
    const outcome: unknown = await loadOrCreateIdentity(directory, NOW_WALL_MS).catch((error: unknown) => error);
    expect(outcome).toMatchObject({ name: 'MeshError', code: 'home_not_writable' });
    expect(readdirSync(home)).toEqual(['file']);
  });
});
