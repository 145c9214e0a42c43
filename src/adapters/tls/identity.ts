import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { MeshError, messageOf, systemCodeOf } from '../../base/errors.ts';
import type { Identity } from '../../ports/identity.ts';
import { syncDirectory, writeFileDurably } from './atomic-file.ts';
import { selfSignedCertificate } from './certificate.ts';
import { nodeIdOf } from './verifier.ts';

const IDENTITY_DIR_MODE = 0o700;
const KEY_FILE = 'key.pem';
const CERT_FILE = 'cert.pem';
/** A PEM of a key or a small certificate is below 1 KiB. */
const PEM_BYTES_MAX = 16 * 1024;

export interface LoadedIdentity {
  readonly identity: Identity;
  /** PKCS #8. For TLS only. */
  readonly keyPem: string;
  readonly certPem: string;
  /** True where this call made it. */
  readonly created: boolean;
}

/**
 * Loads the node's key and certificate from `directory` (`MESHWORK_HOME/identity`), or makes them where there is no
 * such folder or an empty one.
 *
 * @param nowWallMs milliseconds since 1970, for the certificate's dates
 * @throws MeshError `identity_corrupt` where files are there but are incomplete, malformed, not a pair, or readable by
 *   others: never repaired, because a new key is a new node; `home_not_writable` where it can't be made
 */
export async function loadOrCreateIdentity(directory: string, nowWallMs: number): Promise<LoadedIdentity> {
  if (isEmptyOrMissing(directory)) {
    const made = await createIdentity(directory, nowWallMs);
    if (made !== null) return made;
  }
  return loadIdentity(directory);
}

/**
 * Puts a new key in the place of the old one, which is deleted: a node that left a mesh is revoked there for good and
 * could never return under its old id.
 *
 * @throws MeshError `home_not_writable` with the old identity still in place
 */
export async function renewIdentity(directory: string, nowWallMs: number): Promise<LoadedIdentity> {
  const old = `${directory}.old-${randomBytes(6).toString('hex')}`;
  try {
    renameSync(directory, old);
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT') throw notWritable(directory, error);
  }
  let made: LoadedIdentity | null = null;
  try {
    made = await createIdentity(directory, nowWallMs);
  } finally {
    if (made === null && existsSync(old)) renameSync(old, directory);
  }
  rmSync(old, { recursive: true, force: true });
  return made ?? loadIdentity(directory);
}

function isEmptyOrMissing(directory: string): boolean {
  try {
    return readdirSync(directory).length === 0;
  } catch (error) {
    // Not there, or below a file: making it tells why that fails.
    if (!existsSync(directory)) return true;
    throw corrupt(directory, `cannot be read as a folder (${messageOf(error)})`, error);
  }
}

/** Makes both files in a folder beside and renames it, so a crash never leaves half an identity. Null: lost a race. */
async function createIdentity(directory: string, nowWallMs: number): Promise<LoadedIdentity | null> {
  const keys = generateKeyPairSync('ed25519');
  const identity = identityOf(keys.privateKey, keys.publicKey);
  const certPem = await selfSignedCertificate(identity.nodeId, keys, nowWallMs);
  const keyPem = keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const temporary = `${directory}.tmp-${randomBytes(6).toString('hex')}`;
  let written = false;
  try {
    mkdirSync(dirname(directory), { recursive: true, mode: IDENTITY_DIR_MODE });
    mkdirSync(temporary, { mode: IDENTITY_DIR_MODE });
    chmodSync(temporary, IDENTITY_DIR_MODE);
    writeFileDurably(join(temporary, KEY_FILE), keyPem);
    writeFileDurably(join(temporary, CERT_FILE), certPem);
    syncDirectory(temporary);
    written = true;
    renameSync(temporary, directory);
    syncDirectory(dirname(directory));
  } catch (error) {
    if (existsSync(temporary)) rmSync(temporary, { recursive: true, force: true });
    if (written && ['ENOTEMPTY', 'EEXIST'].includes(systemCodeOf(error))) return null;
    throw notWritable(directory, error);
  }
  return { identity, keyPem, certPem, created: true };
}

function loadIdentity(directory: string): LoadedIdentity {
  const keyPath = join(directory, KEY_FILE);
  const certPath = join(directory, CERT_FILE);
  if ((statSync(directory).mode & 0o022) !== 0) {
    throw corrupt(directory, 'is writable by other users', undefined, `run: chmod 700 '${directory}'`);
  }
  const keyPem = readPem(keyPath);
  const certPem = readPem(certPath);
  if ((statSync(keyPath).mode & 0o077) !== 0) {
    throw corrupt(
      keyPath,
      'is readable by other users, who may have copied the key',
      undefined,
      `if nobody else can have read it, run: chmod 600 '${keyPath}'`,
    );
  }
  const privateKey = parse(keyPath, 'is not a private key', () => createPrivateKey(keyPem));
  if (privateKey.asymmetricKeyType !== 'ed25519') throw corrupt(keyPath, 'is not an Ed25519 key');
  const certificate = parse(certPath, 'is not a certificate', () => new X509Certificate(certPem));
  if (!parse(certPath, 'is not a certificate', () => certificate.checkPrivateKey(privateKey))) {
    throw corrupt(certPath, `does not belong to the key in ${keyPath}`);
  }
  if (!certificate.verify(certificate.publicKey)) throw corrupt(certPath, 'has a wrong signature');
  return { identity: identityOf(privateKey, createPublicKey(privateKey)), keyPem, certPem, created: false };
}

function identityOf(privateKey: KeyObject, publicKey: KeyObject): Identity {
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  return { nodeId: nodeIdOf(spki), spki, sign: (bytes) => sign(null, bytes, privateKey) };
}

function readPem(path: string): string {
  try {
    if (statSync(path).size > PEM_BYTES_MAX) throw corrupt(path, 'is far larger than a key or certificate');
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof MeshError) throw error;
    const missing = systemCodeOf(error) === 'ENOENT';
    throw corrupt(path, missing ? 'is missing' : `cannot be read (${messageOf(error)})`, error);
  }
}

function parse<T>(path: string, what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw corrupt(path, what, error);
  }
}

function corrupt(path: string, what: string, cause?: unknown, remedy?: string): MeshError {
  const how =
    remedy ??
    'restore it from a backup, or, to start as a new node that must be invited again, move the identity folder away';
  return new MeshError('identity_corrupt', `${path} ${what}. Nothing was changed. To go on, ${how}`, cause);
}

function notWritable(path: string, cause: unknown): MeshError {
  const why = `cannot make the identity in ${path} (${messageOf(cause)})`;
  const message = `${why}. Nothing was changed. Check the folder's owner, mode and free space, or choose another with --home`;
  return new MeshError('home_not_writable', message, cause);
}
