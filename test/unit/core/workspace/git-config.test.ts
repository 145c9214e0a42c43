import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  parseGitConfig,
  parseGitConfigList,
  sanitiseGitConfig,
  writeGitConfig,
} from '../../../../src/core/workspace/git-config.ts';

const MINIMAL = '[core]\n\tbare = "false"\n\trepositoryformatversion = "0"\n';

test('keeps data, drops what names a program or a file', () => {
  const text = `; comment
[core]
	repositoryformatversion = 0
	filemode = true # here
	hooksPath = /tmp/h
	fsmonitor = "/tmp/x"
	sshCommand = ssh
	pager = less
	worktree = /elsewhere
	attributesFile = /x
[include] path = /etc/passwd
[alias]
	st = !sh
[filter "lfs"]
	clean = git-lfs clean
[remote "or\\"igin"]
	url = https://user:pw@example.org/a.git?private_token=1
	fetch = +refs/heads/*:refs/remotes/origin/*
	fetch = +refs/tags/*:refs/tags/*
	uploadpack = /tmp/evil
[branch "a.b"]
	merge = refs/heads/a.b
	remote = origin
[submodule "x"]
	url = ext::sh -c evil
	update = !evil
	active = true
[user]
	name = "A  \\"B\\" # no comment"
	email = a@b.c
`;
  expect(sanitiseGitConfig(text)).toBe(`[core]
	bare = "false"
	filemode = "true"
	repositoryformatversion = "0"
[branch "a.b"]
	merge = "refs/heads/a.b"
	remote = "origin"
[remote "or\\"igin"]
	fetch = "+refs/heads/*:refs/remotes/origin/*"
	fetch = "+refs/tags/*:refs/tags/*"
	url = "https://example.org/a.git"
[submodule "x"]
	active = "true"
[user]
	email = "a@b.c"
	name = "A  \\"B\\" # no comment"
`);
});

test.each([
  ['ssh://git:pw@example.org:22/x', 'ssh://git@example.org:22/x'],
  ['git@example.org:x/y.git', 'git@example.org:x/y.git'],
  ['https://ghp_token@github.com/x', 'https://github.com/x'],
  ['https://a:b@c@example.org/x', 'https://example.org/x'],
  ['/srv/x.git', '/srv/x.git'],
  ['../x.git', '../x.git'],
  ['file:///srv/x.git', 'file:///srv/x.git'],
  ['ext::sh -c x', null],
  ['fd::17', null],
  ['transport-helper::https://a/b', null],
  ['-oProxyCommand=x', null],
  ['foo://host/x', null],
])('the address %s', (url, kept) => {
  const written = writeGitConfig([{ key: 'remote.o.url', value: url }]);
  expect(written).toBe(kept === null ? MINIMAL : `${MINIMAL}[remote "o"]\n\turl = "${kept}"\n`);
});

test('of settings with one value the last one counts, and without a value it is true', () => {
  const list = 'core.quotepath\0core.abbrev\n7\0core.abbrev\n12\0core.editor\nvi\0';
  expect(writeGitConfig(parseGitConfigList(list))).toBe(
    '[core]\n\tabbrev = "12"\n\tbare = "false"\n\tquotepath = "true"\n\trepositoryformatversion = "0"\n',
  );
});

test.each(['[core', 'a = b', '[core]\n\tname = "open', '[core] x = \\q', '\0', '[a "b\n"]'])(
  'what git refuses: %j',
  (text) => {
    expect(sanitiseGitConfig(text)).toBe(MINIMAL);
  },
);

test('what was sanitised is its own, whatever it was', () => {
  const word = fc.constantFrom(
    'core',
    'remote',
    'branch',
    'user',
    'url',
    'fetch',
    'name',
    'filemode',
    'true',
    '"',
    '\\',
    '\n',
    '\t',
    ' ',
    '=',
    '[',
    ']',
    '#',
    '.',
    'x',
    '\r',
    'é',
  );
  const text = fc.array(word, { maxLength: 60 }).map((words) => words.join(''));
  fc.assert(
    fc.property(text, (source) => {
      const once = sanitiseGitConfig(source);
      expect(sanitiseGitConfig(once)).toBe(once);
    }),
    { numRuns: 2000 },
  );
  const value = fc
    .array(fc.constantFrom('"', '\\', '\n', '\t', ' ', '#', ';', 'a', 'é'), { maxLength: 8 })
    .map((chars) => chars.join(''));
  fc.assert(
    fc.property(value, value, (name, section) => {
      const written = writeGitConfig([
        { key: 'user.name', value: name },
        { key: `branch.${section.replaceAll(/[\n\t]/g, '')}.merge`, value: name },
      ]);
      expect(sanitiseGitConfig(written)).toBe(written);
      expect(parseGitConfig(written)).toContainEqual({ key: 'user.name', value: name });
    }),
    { numRuns: 1000 },
  );
});
