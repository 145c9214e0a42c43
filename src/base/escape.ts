/**
 * Shows control characters, escape sequences and bidirectional overrides instead of passing them on: for names from
 * other nodes, and for output that a model reads.
 *
 * @param keep characters left as they are, such as '\n\t' in a command's output
 */
export function escapeControls(text: string, keep = ''): string {
  let escaped = '';
  let from = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (!isControl(code) || keep.includes(text.charAt(at))) continue;
    escaped += `${text.slice(from, at)}\\u${code.toString(16).padStart(4, '0')}`;
    from = at + 1;
  }
  return from === 0 ? text : escaped + text.slice(from);
}

function isControl(code: number): boolean {
  if (code < 0x20) return true;
  if (code < 0x7f) return false;
  if (code <= 0x9f) return true;
  // Line and paragraph separators, and the bidirectional controls (CVE-2021-42574 "Trojan Source").
  return (
    (code >= 0x2028 && code <= 0x202e) ||
    (code >= 0x2066 && code <= 0x2069) ||
    code === 0x200e ||
    code === 0x200f ||
    code === 0x061c
  );
}
