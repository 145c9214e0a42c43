import { canonicalName, lookup } from './command-pattern.ts';
import type { Invocation } from './command-walk.ts';

/** A line that needs more is judged by the first of them. */
export const REQUIRED_TOOLS_MAX = 32;
const TOOL_CHARS_MAX = 64;

/** What a shell has built in, so that no executable is needed: POSIX 2.14 and bash(1) SHELL BUILTIN COMMANDS. */
const BUILTINS = new Set(
  `. : [ alias bg bind break builtin caller cd command compgen complete compopt continue declare dirs disown echo enable
  eval exec exit export false fc fg getopts hash help history jobs kill let local logout mapfile popd printf pushd pwd read
  readarray readonly return set shift shopt source suspend test time times trap true type typeset ulimit umask unalias
  unset wait [[ ((`.split(/\s+/),
);

/** What a tool needs besides itself. */
const IMPLIED: ReadonlyMap<string, readonly string[]> = lookup({
  npm: ['node'],
  npx: ['node'],
  yarn: ['node'],
  pnpm: ['node'],
  pnpx: ['node'],
  corepack: ['node'],
  gradlew: ['java'],
  mvnw: ['java'],
  gradle: ['java'],
  mvn: ['java'],
  sbt: ['java'],
  ant: ['java'],
  lein: ['java'],
  bunx: ['bun'],
  uvx: ['uv'],
});

/**
 * In a package script or a virtualenv a name is first looked for among the project's own executables, where it cannot
 * be seen. These never come from there, so they are required all the same.
 */
const NEVER_PRIVATE = new Set(
  `make cmake ninja cargo rustc go gcc g++ cc c++ clang clang++ java javac mvn gradle dotnet docker podman git bash ffmpeg
  ruby php node npm npx yarn pnpm`.split(/\s+/),
);

/** The executables that PATH must have for these commands, in the order met. */
export function toolsOf(invocations: readonly Invocation[]): string[] {
  const tools = new Set<string>();
  for (const { name, onPath, privatePath } of invocations) {
    const needed = (onPath && !BUILTINS.has(name)) || (privatePath && NEVER_PRIVATE.has(name));
    for (const tool of needed ? [name, ...(IMPLIED.get(canonicalName(name)) ?? [])] : (IMPLIED.get(name) ?? [])) {
      if (tool.length > TOOL_CHARS_MAX || !/^[\w.+@[-]+$/.test(tool)) continue;
      tools.add(tool);
      if (tools.size >= REQUIRED_TOOLS_MAX) return [...tools];
    }
  }
  return [...tools];
}
