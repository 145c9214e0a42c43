/**
 * What of a repository's configuration goes along: data that decides what git says (git-config(1)), never what names a
 * program (hooks, filters, helpers, aliases, pagers, ssh commands), another file (include) or a password.
 */
export interface GitSetting {
  /** `section.name` or `section.subsection.name`; section and name in lower case, as `git config --list` has them. */
  readonly key: string;
  readonly value: string;
}

const SETTINGS_MAX = 4096;
const VALUE_CHARS_MAX = 4096;
export const GIT_CONFIG_BYTES_MAX = 256 * 1024;
const PLAIN_KEYS: ReadonlySet<string> = new Set(
  `core.repositoryformatversion core.filemode core.bare core.symlinks core.ignorecase core.autocrlf core.eol core.safecrlf
  core.quotepath core.precomposeunicode core.sparsecheckout core.sparsecheckoutcone core.abbrev core.trustctime core.checkstat
  core.commentchar extensions.objectformat extensions.partialclone user.name user.email status.showuntrackedfiles
  status.relativepaths status.branch status.short status.renames diff.renames diff.noprefix diff.mnemonicprefix
  diff.algorithm diff.context diff.ignoresubmodules diff.submodule log.date log.decorate format.pretty color.ui
  versionsort.suffix tag.sort branch.sort init.defaultbranch merge.conflictstyle`.split(/\s+/),
);
const NAMED_KEYS: Readonly<Record<string, ReadonlySet<string>>> = {
  branch: new Set(['merge', 'remote', 'rebase']),
  remote: new Set(['fetch', 'url', 'tagopt', 'promisor', 'partialclonefilter']),
  submodule: new Set(['url', 'active', 'branch', 'ignore']),
};
/** The order in which they are written: what git reads first comes first. */
const FIRST = ['core', 'extensions'];

/**
 * The config of `.git` as it travels: allow-listed settings only, in one way of writing.
 *
 * @param settings in git's order: of those with one value the last one counts
 */
export function writeGitConfig(settings: readonly GitSetting[]): string {
  const kept = new Map<string, Map<string, string[]>>();
  for (const setting of settings.slice(0, SETTINGS_MAX)) {
    const allowed = allowedSetting(setting);
    if (allowed === null) continue;
    const { section, name, value } = allowed;
    const names = kept.get(section) ?? new Map<string, string[]>();
    kept.set(section, names);
    const values = names.get(name) ?? [];
    // fetch is a list, as versionsort.suffix is.
    const isList = name === 'fetch' || name === 'suffix';
    names.set(name, isList ? [...values.filter((known) => known !== value), value] : [value]);
  }
  const core = kept.get('core') ?? new Map<string, string[]>();
  core.set('bare', ['false']);
  if (core.get('repositoryformatversion')?.[0] !== '1') core.set('repositoryformatversion', ['0']);
  kept.set('core', core);
  return [...kept]
    .toSorted(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : 1))
    .map(([section, names]) => `[${section}]\n${linesOf(names)}`)
    .join('');
}

const rank = (section: string): number => (FIRST.includes(section) ? FIRST.indexOf(section) : FIRST.length);

const linesOf = (names: ReadonlyMap<string, readonly string[]>): string =>
  [...names]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, values]) => values.map((value) => `\t${name} = "${escaped(value)}"\n`))
    .join('');

const escaped = (value: string): string =>
  value
    .replaceAll(/[\\"]/g, String.raw`\$&`)
    .replaceAll('\n', String.raw`\n`)
    .replaceAll('\t', String.raw`\t`);

/**
 * The same of a text. A config that may be written is its own: `sanitiseGitConfig(text) === text`.
 * What cannot be read as git would is left out.
 */
export function sanitiseGitConfig(text: string): string {
  return writeGitConfig(parseGitConfig(text));
}

interface Allowed {
  /** As it is written: `remote "origin"`. */
  readonly section: string;
  readonly name: string;
  readonly value: string;
}

function allowedSetting({ key, value }: GitSetting): Allowed | null {
  const first = key.indexOf('.');
  const last = key.lastIndexOf('.');
  // oxlint-disable-next-line no-control-regex -- that is what must not be there
  if (first <= 0 || value.length > VALUE_CHARS_MAX || /[\0-\x08\x0b-\x1f\x7f]/.test(value)) return null;
  const section = key.slice(0, first).toLowerCase();
  const name = key.slice(last + 1).toLowerCase();
  if (first === last) {
    return PLAIN_KEYS.has(`${section}.${name}`) ? { section, name, value } : null;
  }
  const subsection = key.slice(first + 1, last);
  // oxlint-disable-next-line no-control-regex -- that is what must not be there
  if (/[\0-\x1f\x7f]/.test(subsection) || NAMED_KEYS[section]?.has(name) !== true) return null;
  const safe = name === 'url' || (section === 'branch' && name === 'remote') ? withoutPassword(value) : value;
  return safe === null
    ? null
    : { section: `${section} "${subsection.replaceAll(/[\\"]/g, String.raw`\$&`)}"`, name, value: safe };
}

/**
 * A remote's address without what gives access to it: everything before the '@' of http, the password of ssh, queries.
 * Null where git would start a helper for it (gitremote-helpers(7), `ext::sh -c …`) or take it for an option.
 */
function withoutPassword(url: string): string | null {
  if (url.startsWith('-')) return null;
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(url)?.[1]?.toLowerCase();
  if (scheme === undefined) return /^[A-Za-z0-9+.-]*::/.test(url) ? null : url;
  if (scheme === 'http' || scheme === 'https' || scheme === 'ftp' || scheme === 'ftps') {
    return url.replace(/^([^/]+:\/\/)[^/?#]*@/, '$1').replace(/[?#].*$/s, '');
  }
  if (scheme === 'ssh' || scheme === 'git+ssh' || scheme === 'ssh+git' || scheme === 'git') {
    return url.replace(/^([^/]+:\/\/[^/:@]*):[^/]*@/, '$1@');
  }
  return scheme === 'file' ? url : null;
}

/** Of `git config --list -z`: `key\nvalue\0`, or `key\0` where there is no value, which means true. */
export function parseGitConfigList(list: string): GitSetting[] {
  return list.split('\0').flatMap((entry) => {
    if (entry === '') return [];
    const end = entry.indexOf('\n');
    return [end === -1 ? { key: entry, value: 'true' } : { key: entry.slice(0, end), value: entry.slice(end + 1) }];
  });
}

const SECTION = /^\[\s*([A-Za-z0-9.-]+)(?:\s+"((?:[^"\\\n]|\\.)*)")?\s*\]/;
const NAME = /^([A-Za-z][A-Za-z0-9-]*)[ \t]*(?:=[ \t]*)?/;

/** git-config(1) "Syntax", without includes. Ends at what git would refuse. */
export function parseGitConfig(text: string): GitSetting[] {
  const settings: GitSetting[] = [];
  let section = '';
  let rest = text
    .slice(0, GIT_CONFIG_BYTES_MAX)
    .replace(/^\u{feff}/u, '')
    .replaceAll('\r\n', '\n');
  for (;;) {
    rest = rest.replace(/^(?:\s+|[#;][^\n]*)+/, '');
    if (rest === '' || settings.length > SETTINGS_MAX) return settings;
    const header = SECTION.exec(rest);
    if (header !== null) {
      const [all, name = '', subsection] = header;
      section =
        subsection === undefined
          ? name.toLowerCase()
          : `${name.toLowerCase()}.${subsection.replaceAll(/\\(.)/g, '$1')}`;
      rest = rest.slice(all.length);
      continue;
    }
    const name = NAME.exec(rest);
    if (name === null || section === '') return settings;
    const key = `${section}.${(name[1] ?? '').toLowerCase()}`;
    rest = rest.slice(name[0].length);
    if (!name[0].includes('=')) {
      settings.push({ key, value: 'true' });
      if (rest !== '' && !/^[\n#;]/.test(rest)) return settings;
      continue;
    }
    const value = readValue(rest);
    if (value === null) return settings;
    settings.push({ key, value: value.text });
    rest = rest.slice(value.length);
  }
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', b: '\b', '\\': '\\', '"': '"' };

function readValue(text: string): { readonly text: string; readonly length: number } | null {
  let value = '';
  let spaces = '';
  let isQuoted = false;
  let at = 0;
  for (; at < text.length; at++) {
    const char = text.charAt(at);
    if (char === '\n') {
      if (isQuoted) return null;
      break;
    }
    if (!isQuoted && (char === '#' || char === ';')) {
      const end = text.indexOf('\n', at);
      at = end === -1 ? text.length : end;
      break;
    }
    if (!isQuoted && (char === ' ' || char === '\t')) {
      if (value !== '') spaces += char;
      continue;
    }
    if (char === '"') {
      isQuoted = !isQuoted;
    } else if (char === '\\') {
      at++;
      const next = text.charAt(at);
      if (next === '\n') continue;
      const plain = ESCAPES[next];
      if (plain === undefined) return null;
      value += spaces + plain;
      spaces = '';
    } else {
      value += spaces + char;
      spaces = '';
    }
  }
  return isQuoted ? null : { text: value, length: at };
}
