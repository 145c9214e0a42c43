import { expect, test } from 'vitest';
import { holdsSecret, judgeSecret } from '../../../../src/core/workspace/secret-files.ts';

test.each([
  '.env',
  '.env.local',
  '.env.production',
  'deep/.ENV',
  '.envrc',
  'prod.env',
  'server.key',
  'a.p12',
  'a.pfx',
  'app.keystore',
  'id_rsa',
  'id_ed25519',
  'id_ecdsa_sk',
  'id_rsa.old',
  '.netrc',
  '.pypirc',
  '.git-credentials',
  'credentials.json',
  'aws-credentials.json',
  'service-account.json',
  'client_secret_123.json',
  'my-service_account-prod.json',
  'secrets.yaml',
  'home/.aws/credentials',
  'terraform.tfvars',
])('%s is a secret', (path) => {
  expect(judgeSecret(path, false)).toBe('secret');
});

test.each([
  '.env.example',
  '.env.sample',
  '.env.template',
  '.env.dist',
  '.env.test.example',
  'id_rsa.pub',
  'id_ed25519.pub',
  'environment.ts',
  'env',
  'monkey.py',
  'keys.json',
  'credentials.ts',
  'credentials.example.json',
  'public.crt',
  'secret.go',
  'package.json',
  'id_card.png',
])('%s is none', (path) => {
  expect(judgeSecret(path, false)).toBe('plain');
});

test.each([
  ['//r.example/:_authToken=abc', true],
  ['//r.example/:_authToken=${NPM_TOKEN}', false],
  ['_password = "abc"', true],
  ['npmAuthToken: abc', true],
  ['registry=https://user:pw@r.example/', true],
  ['registry=https://r.example/\nsave-exact=true', false],
  ['always-auth=true', false],
])('settings of a package manager: %j', (text, isSecret) => {
  expect(judgeSecret('.npmrc', false)).toBe('content');
  expect(holdsSecret('.npmrc', text)).toBe(isSecret);
});

test('of certificates and keys in .pem the content tells, and fixtures are made up unless somebody ignores them', () => {
  expect(judgeSecret('certs/server.pem', false)).toBe('content');
  expect(holdsSecret('a.pem', '-----BEGIN CERTIFICATE-----\nMII')).toBe(false);
  // What does not say what it is may be a key.
  expect(holdsSecret('certs/Server.PEM', 'MIIEvQIBADANBg')).toBe(true);
  expect(holdsSecret('a.pem', '\n')).toBe(false);
  expect(holdsSecret('a.pem', '-----BEGIN RSA PRIVATE KEY-----\nMII')).toBe(true);
  expect(holdsSecret('a.pem', '-----BEGIN PRIVATE KEY-----\nMII')).toBe(true);
  expect(judgeSecret('test/fixtures/server.key', false)).toBe('plain');
  expect(judgeSecret('test/fixtures/server.key', true)).toBe('secret');
  expect(judgeSecret('tests/.env', false)).toBe('secret');
});
