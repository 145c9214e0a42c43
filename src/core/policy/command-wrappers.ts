import { unreachable } from '../../base/assert.ts';
import type { CommandArg } from './command-pattern.ts';

/** How to find the command that another command runs. */
export interface Wrapper {
  /** Options that take the next word. */
  readonly valued?: string;
  /** Options whose value is a shell line, such as `-c` of su. */
  readonly lineOptions?: string;
  /** Options after which the command follows, with its words. */
  readonly commandOptions?: string;
  /** Words before the command, such as the duration of timeout. */
  readonly operands?: number;
  /** `NAME=value` words may stand before the command. */
  readonly assignments?: boolean;
  /** What follows is a shell line (`joined`), or each operand is one (`each`); otherwise it is an argv. */
  readonly lines?: 'joined' | 'each' | 'first';
  /** The command comes from an environment of its own (node_modules, a virtualenv), so PATH need not have it. */
  readonly privatePath?: boolean;
}

const SUDO = '-u --user -g --group -h --host -p --prompt -C -r -t -U -D --chdir -R --chroot -T';
const UV_RUN = `--with --with-requirements -p --python --extra --group --only-group --package --directory --project
 --env-file --index --cache-dir --color`.replaceAll('\n', '');

/** By the command's first word, or its first two. */
const WRAPPERS: ReadonlyMap<string, Wrapper> = new Map<string, Wrapper>([
  // POSIX and coreutils
  ['env', { valued: '-u --unset -C --chdir -a --argv0', lineOptions: '-S --split-string', assignments: true }],
  ['time', { valued: '-f --format -o --output' }],
  ['nice', { valued: '-n --adjustment' }],
  ['ionice', { valued: '-c --class -n --classdata -p' }],
  ['chrt', { operands: 1 }],
  ['taskset', { operands: 1 }],
  ['numactl', { valued: '-N -m -C -i -l' }],
  ['nohup', {}],
  ['setsid', {}],
  ['stdbuf', { valued: '-i -o -e --input --output --error' }],
  ['timeout', { valued: '-k --kill-after -s --signal', operands: 1 }],
  ['command', {}],
  ['builtin', {}],
  ['exec', { valued: '-a' }],
  ['eval', { lines: 'joined' }],
  ['trap', { lines: 'first' }],
  [
    'xargs',
    { valued: '-I -n -P -L -d -a -E -s --max-args --max-procs --max-lines --delimiter --arg-file --max-chars' },
  ],
  ['watch', { valued: '-n --interval -q --equexit', lines: 'joined' }],
  ['flock', { valued: '-w --timeout -E --conflict-exit-code', lineOptions: '-c --command', operands: 1 }],
  ['parallel', { valued: '-j --jobs --joblog --delay --retries --timeout -a --arg-file -N -L -n -I --colsep --halt' }],
  ['caffeinate', { valued: '-t -w' }],
  ['unbuffer', {}],
  ['chronic', {}],
  ['arch', {}],
  ['script', { valued: '-I -O -B -T -t', lineOptions: '-c --command' }],
  ['entr', {}],
  ['xcrun', { valued: '--sdk --toolchain' }],
  ['systemd-run', { valued: '-p --property --unit --slice -t -u', assignments: false }],
  // other users
  ['sudo', { valued: SUDO, assignments: true }],
  ['doas', { valued: '-u -C' }],
  ['pkexec', { valued: '--user' }],
  ['su', { valued: '-s --shell -g -G -w', lineOptions: '-c --command', operands: 1 }],
  ['runuser', { valued: '-u --user -s -g -G -w', lineOptions: '-c --command' }],
  ['chroot', { valued: '--userspec --groups', operands: 1 }],
  ['fakeroot', {}],
  ['proot', { valued: '-r -b -w' }],
  ['bwrap', {}],
  ['unshare', {}],
  // observers
  ['strace', { valued: '-o -e -p -s -u -E -P' }],
  ['ltrace', { valued: '-o -e -p -s -u' }],
  ['valgrind', {}],
  ['perf stat', { valued: '-e -o -r -C -p' }],
  ['perf record', { valued: '-e -o -F -C -p -c' }],
  ['hyperfine', { valued: '-w -r -m -M -s -p -c -n --warmup --runs --prepare --setup --export-json', lines: 'each' }],
  ['ccache', {}],
  ['sccache', {}],
  ['distcc', {}],
  ['bear', { valued: '--output -o' }],
  ['scan-build', { valued: '-o' }],
  ['xvfb-run', { valued: '-s -n -e -f --server-args' }],
  ['dbus-run-session', {}],
  ['firejail', {}],
  // environments
  ['cross-env', { assignments: true }],
  ['cross-env-shell', { assignments: true, lines: 'joined' }],
  ['env-cmd', { valued: '-f --file -e --environments -r --rc-file' }],
  ['dotenv', { valued: '-e -c -v -p' }],
  ['dotenvx run', { valued: '-f --env-file -e --env' }],
  ['doppler run', { valued: '-p -c --project --config' }],
  ['op run', { valued: '--env-file' }],
  ['infisical run', { valued: '--env --path' }],
  ['aws-vault exec', { operands: 1 }],
  ['direnv exec', { operands: 1, privatePath: true }],
  ['mise exec', { privatePath: true }],
  ['mise x', { privatePath: true }],
  ['asdf exec', { privatePath: true }],
  ['rustup run', { operands: 1, privatePath: true }],
  ['pyenv exec', { privatePath: true }],
  ['rbenv exec', { privatePath: true }],
  ['nodenv exec', { privatePath: true }],
  ['volta run', { valued: '--node --npm --yarn --pnpm', privatePath: true }],
  ['fnm exec', { valued: '--using', privatePath: true }],
  ['nvm exec', { operands: 1, privatePath: true }],
  ['corepack', { privatePath: true }],
  ['bundle exec', { privatePath: true }],
  ['poetry run', { privatePath: true }],
  ['pipenv run', { privatePath: true }],
  ['pdm run', { privatePath: true }],
  ['hatch run', { privatePath: true }],
  ['rye run', { privatePath: true }],
  ['uv run', { valued: UV_RUN, privatePath: true }],
  ['uvx', { valued: `${UV_RUN} --from`, privatePath: true }],
  ['uv tool run', { valued: `${UV_RUN} --from`, privatePath: true }],
  ['pipx run', { valued: '--spec --python', privatePath: true }],
  ['conda run', { valued: '-n -p --name --prefix --cwd', privatePath: true }],
  ['mamba run', { valued: '-n -p --name --prefix --cwd', privatePath: true }],
  ['micromamba run', { valued: '-n -p --name --prefix --cwd', privatePath: true }],
  ['nix develop', { commandOptions: '-c --command', privatePath: true }],
  ['nix-shell', { lineOptions: '--run --command', valued: '-p --packages', operands: 99, privatePath: true }],
  ['npx', { valued: '-p --package', lineOptions: '-c --call', privatePath: true }],
  ['pnpx', { valued: '--package', privatePath: true }],
  ['bunx', { valued: '--package', privatePath: true }],
  ['npm exec', { valued: '-p --package -w --workspace', lineOptions: '-c --call', privatePath: true }],
  ['npm x', { valued: '-p --package -w --workspace', lineOptions: '-c --call', privatePath: true }],
  ['pnpm exec', { privatePath: true }],
  ['pnpm dlx', { valued: '--package', privatePath: true }],
  ['yarn exec', { privatePath: true }],
  ['yarn dlx', { valued: '-p --package', privatePath: true }],
  ['bun x', { privatePath: true }],
  ['dotnet exec', {}],
  [
    'concurrently',
    { valued: '-n --names -c --prefix-colors -p --prefix -s --success', lines: 'each', privatePath: true },
  ],
  ['git bisect run', {}],
  ['cargo watch', { lineOptions: '-s --shell' }],
]);

const WRAPPER_WORDS_MAX = 3;

/** The wrapper that a command is, with the number of words that name it. */
export function wrapperOf(
  name: string,
  args: readonly CommandArg[],
): { readonly wrapper: Wrapper; readonly words: number; readonly key: string } | null {
  let key = name;
  let found: { wrapper: Wrapper; words: number; key: string } | null = null;
  for (let words = 1; words <= WRAPPER_WORDS_MAX; words++) {
    const wrapper = WRAPPERS.get(key);
    if (wrapper !== undefined) found = { wrapper, words, key };
    key += ` ${args[words - 1]?.text ?? ''}`;
  }
  return found;
}

/** What a wrapper runs: an argv, shell lines, or neither where it was given no command. */
export interface Unwrapped {
  readonly argv: readonly CommandArg[];
  readonly lines: readonly string[];
  /** Names assigned before the command, as `env PATH=… make` does. */
  readonly assigned: readonly string[];
}

const ASSIGNMENT = /^([A-Za-z_][A-Za-z0-9_]*)=/;

/** Finds the wrapped command in the words after the wrapper's own name. */
export function unwrap(wrapper: Wrapper, args: readonly CommandArg[]): Unwrapped {
  const valued = new Set((wrapper.valued ?? '').split(/\s+/));
  const lineOptions = new Set((wrapper.lineOptions ?? '').split(/\s+/));
  const commandOptions = new Set((wrapper.commandOptions ?? '').split(/\s+/));
  const lines: string[] = [];
  const assigned: string[] = [];
  let left = wrapper.operands ?? 0;
  let i = 0;
  for (; i < args.length; i++) {
    const text = args[i]?.text ?? '';
    if (text === '--') {
      i += 1;
      break;
    }
    if (text.startsWith('-') && text.length > 1) {
      const [option = '', value] = splitOnce(text);
      if (lineOptions.has(option)) lines.push(value ?? args[(i += 1)]?.text ?? '');
      else if (commandOptions.has(option)) {
        i += 1;
        break;
      } else if (valued.has(text)) i += 1;
    } else if (wrapper.assignments === true && ASSIGNMENT.test(text)) assigned.push(splitOnce(text)[0] ?? '');
    else if (left > 0) left -= 1;
    else break;
  }
  return { ...commandIn(wrapper, args.slice(i), lines), assigned };
}

function commandIn(wrapper: Wrapper, rest: readonly CommandArg[], lines: string[]): Omit<Unwrapped, 'assigned'> {
  const only = rest.length === 1 ? rest[0] : undefined;
  switch (wrapper.lines) {
    case 'joined':
      // One word is a line; several keep their bounds as an argv, which loses nothing that a class depends on.
      if (only !== undefined) return { argv: [], lines: [...lines, only.text] };
      return { argv: rest, lines };
    case 'each':
      return { argv: [], lines: [...lines, ...rest.map((word) => word.text)] };
    case 'first':
      return { argv: [], lines: rest[0] === undefined ? lines : [...lines, rest[0].text] };
    case undefined:
      return { argv: lines.length > 0 ? [] : rest, lines };
    default:
      return unreachable(wrapper.lines);
  }
}

function splitOnce(text: string): [string | undefined, string | undefined] {
  const at = text.indexOf('=');
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}
