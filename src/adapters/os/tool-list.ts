/**
 * The developer tools that a node looks for and advertises. A requirement may name any other executable too: that is
 * looked up on PATH when a job asks for it.
 */
const COMPILERS = `cc c++ gcc g++ clang clang++ ld lld mold as ar nm strip objdump nasm gfortran rustc swiftc swift javac kotlinc
  scalac ghc ocamlfind nvcc zig fpc gnat dmd ldc2 nim crystal protoc flatc tsc esbuild swc emcc wasm-pack`;
const RUNTIMES = `node deno bun java python python3 pypy3 ruby perl php lua luajit R Rscript julia erl elixir dotnet mono go
  guile racket sbcl wasmtime octave bash zsh fish pwsh qemu-system-x86_64`;
const PACKAGES = `npm npx pnpm yarn corepack pip pip3 pipx uv poetry pdm conda mamba gem bundle composer cargo rustup nvm pyenv
  rbenv mise asdf brew apt-get dnf apk nix opam stack cabal sbt mvn gradle lein mix rebar3 vcpkg conan`;
const BUILDERS = `make gmake cmake ctest ninja meson bazel bazelisk buck2 scons autoconf automake libtool pkg-config ccache
  sccache distcc just task ant rake turbo nx xcodebuild msbuild`;
const CHECKERS = `eslint oxlint biome prettier jest vitest mocha pytest tox nox mypy ruff black pylint flake8 clang-format
  clang-tidy cppcheck shellcheck shfmt golangci-lint rubocop valgrind gdb lldb strace perf`;
const SYSTEM = `git git-lfs hg svn gh docker docker-compose podman buildah kubectl helm terraform ansible vagrant ssh rsync
  curl wget jq rg fd tar zip unzip gzip xz zstd ffmpeg convert pandoc latexmk pdflatex sqlite3 psql mysql redis-cli
  nvidia-smi parallel tmux`;

export const KNOWN_TOOLS: ReadonlySet<string> = new Set(
  [COMPILERS, RUNTIMES, PACKAGES, BUILDERS, CHECKERS, SYSTEM].flatMap((group) => group.split(/\s+/)),
);

/** How a tool's version is asked for, where its compatibility between nodes matters. */
export interface VersionQuestion {
  readonly args: readonly string[];
  /** The first group is the version; applied to stdout, then to stderr (java). */
  readonly pattern: RegExp;
}

const ANY_VERSION = /(\d+(?:\.\d+)+)/;
const DASHED: VersionQuestion = { args: ['--version'], pattern: ANY_VERSION };
/** `gcc (Debian 12.2.0-14) 12.2.0`: the packager's text comes first. Apple's gcc is clang and says so. */
const GNU: VersionQuestion = { args: ['--version'], pattern: /(?:\) |version )(\d+(?:\.\d+)+)/ };

/**
 * Only these programs are ever run to learn something. Each prints and ends: none starts a daemon, downloads or asks
 * (yarn, pnpm and gradle may). In the order in which they are asked.
 */
export const VERSION_QUESTIONS: ReadonlyMap<string, VersionQuestion> = new Map([
  ['node', { args: ['--version'], pattern: /v(\d+(?:\.\d+)+)/ }],
  ['git', DASHED],
  ['python3', DASHED],
  ['gcc', GNU],
  ['g++', GNU],
  ['cc', GNU],
  ['c++', GNU],
  ['make', DASHED],
  ['cargo', DASHED],
  ['rustc', DASHED],
  ['go', { args: ['version'], pattern: /go(\d+(?:\.\d+)+)/ }],
  ['clang', { args: ['--version'], pattern: /version (\d+(?:\.\d+)+)/ }],
  ['clang++', { args: ['--version'], pattern: /version (\d+(?:\.\d+)+)/ }],
  ['cmake', DASHED],
  ['ninja', DASHED],
  ['docker', DASHED],
  ['python', DASHED],
  ['java', { args: ['-version'], pattern: /version "([^"]+)"/ }],
  ['javac', { args: ['-version'], pattern: /javac (\S+)/ }],
  ['npm', DASHED],
  ['npx', DASHED],
  ['tsc', DASHED],
  ['deno', { args: ['--version'], pattern: /deno (\d+(?:\.\d+)+)/ }],
  ['bun', DASHED],
  ['ruby', DASHED],
  ['php', DASHED],
  ['swift', { args: ['--version'], pattern: /Swift version (\d+(?:\.\d+)+)/ }],
  ['zig', { args: ['version'], pattern: ANY_VERSION }],
]);

/** What a version question adds to the login environment, so that asking starts and downloads nothing. */
export const QUIET_ENVIRONMENT: Readonly<Record<string, string>> = {
  LC_ALL: 'C',
  NO_COLOR: '1',
  NO_UPDATE_NOTIFIER: '1',
  npm_config_update_notifier: 'false',
  RUSTUP_AUTO_INSTALL: '0',
  GOTOOLCHAIN: 'local',
  DOCKER_CLI_HINTS: 'false',
};

/**
 * macOS ships stubs of these in /usr/bin that open an installer window when the command line tools are absent: they
 * count as missing then, and are not run.
 */
export const XCODE_STUBS: ReadonlySet<string> = new Set(
  `ar as c++ c++filt cc clang clang++ g++ gcc git gnumake gmake ld lldb make nm objdump pip3 python3 strip swift swiftc
  xcodebuild m4`.split(/\s+/),
);
