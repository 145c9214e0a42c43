/**
 * A glob that fits this path and, but for names with braces, no other: what has a meaning in globs (`*`, `?`, `[`, `\`, a
 * `!` at the beginning) gets a `\` before it. Braces are expanded before anything else, so each becomes `?`.
 */
export function literalGlob(path: string): string {
  const escaped = path.replaceAll(/[*?[\\]/g, String.raw`\$&`).replaceAll(/[{}]/g, '?');
  return escaped.startsWith('!') ? `\\${escaped}` : escaped;
}
