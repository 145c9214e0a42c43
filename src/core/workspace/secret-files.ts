/**
 * Which files look like secrets by their names alone. Only untracked files are asked about: what git tracks is in every
 * clone already. Paths are bytes as in TreePath; what matters here is ASCII.
 */

/** Private keys and key stores. */
const KEY_FILE = /\.(?:key|p12|pfx|pkcs12|p8|ppk|jks|keystore|kdbx|asc\.key|ovpn|mobileprovision)$/;
/** ssh-keygen(1)'s names; the public half ends in .pub. */
const SSH_KEY = /^id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?(?:[._-](?!pub$)[^/]*)?$/;
const ENV_FILE = /^\.env(?:rc)?(?:[._-].+)?$|^[^/]+\.env$/;
/** What a project hands out to be filled in. */
const TEMPLATE = /[._-](?:examples?|sample|template|tmpl|dist|defaults?|schema)$/;
const ACCOUNT_FILE =
  /^(?:(?:client[_-]?secrets?|service[_-]?account|credentials?|secrets?|serviceaccountkey)(?:[._-][^/]*)?|[^/]*[_-](?:credentials?|service[_-]?account)(?:[._-][^/]*)?)\.(?:json|ya?ml|toml|ini)$/;
const NAMES: ReadonlySet<string> = new Set([
  '.netrc',
  '_netrc',
  '.pypirc',
  '.pgpass',
  '.my.cnf',
  '.git-credentials',
  '.htpasswd',
  '.dockercfg',
  '.vault-token',
  '.terraformrc',
  'terraform.tfvars',
  'terraform.tfstate',
  'kubeconfig',
  'master.key',
]);
const LONG_NAMES = [
  '.docker/config.json',
  '.aws/credentials',
  '.kube/config',
  '.cargo/credentials.toml',
  '.cargo/credentials',
];
/** Keys and certificates look alike by name. */
const MAYBE_KEY = /\.pem$/;
const PRIVATE_KEY = /-----BEGIN [A-Z0-9 ]*PRIVATE KEY/;
/** Where keys are made up, unless somebody told git to ignore them. */
const FIXTURES =
  /(?:^|\/)(?:__tests__|__fixtures__|tests?|testing|testdata|test[-_]data|specs?|fixtures?|mocks?|examples?|samples?)\//i;
/** Settings of package managers, secret only where they hold a token or password. */
const MAYBE_SECRET: ReadonlySet<string> = new Set([
  '.npmrc',
  '.yarnrc.yml',
  '.yarnrc',
  'pip.conf',
  'nuget.config',
  '.bowerrc',
]);
const TOKEN =
  /(?:_auth(?:token)?|_password|npmauthtoken|npmauthident|\btoken|\bpassword|cleartextpassword)\s*["']?\s*[:=]\s*["']?\S|:\/\/[^\s/@]+:[^\s/@]+@/i;
/** A value that comes from the environment is no secret. */
const FROM_ENVIRONMENT = /[:=]\s*["']?\$\{?[A-Za-z_]\w*[^}\s]*\}?["']?\s*$/gm;

/** `content`: it depends on what is in it, see `holdsSecret`. */
export type SecretVerdict = 'secret' | 'content' | 'plain';

/** @param isIgnored by git or another rule: then somebody knew why */
export function judgeSecret(path: string, isIgnored: boolean): SecretVerdict {
  const name = path.slice(path.lastIndexOf('/') + 1).toLowerCase();
  if (MAYBE_SECRET.has(name)) return 'content';
  if (NAMES.has(name) || SSH_KEY.test(name)) return 'secret';
  if (TEMPLATE.test(name)) return 'plain';
  if (ENV_FILE.test(name)) return 'secret';
  if (KEY_FILE.test(name) || MAYBE_KEY.test(name)) {
    if (!isIgnored && FIXTURES.test(path)) return 'plain';
    return MAYBE_KEY.test(name) ? 'content' : 'secret';
  }
  if (ACCOUNT_FILE.test(name) && !TEMPLATE.test(name.replace(/\.\w+$/, ''))) return 'secret';
  const whole = `/${path.toLowerCase()}`;
  return LONG_NAMES.some((long) => whole.endsWith(`/${long}`)) ? 'secret' : 'plain';
}

/**
 * Is there a private key in it, or, in a package manager's settings, a token or a password? A `.pem` counts as a key unless
 * it says that it is something else (RFC 7468: `-----BEGIN CERTIFICATE-----`).
 */
export function holdsSecret(path: string, text: string): boolean {
  if (PRIVATE_KEY.test(text)) return true;
  if (MAYBE_KEY.test(path.toLowerCase())) return text.trim() !== '' && !text.includes('-----BEGIN ');
  return TOKEN.test(text.replaceAll(FROM_ENVIRONMENT, ''));
}
