import type { Command } from '../../wire/job-spec.ts';

/** Where a command runs, as far as its history goes. */
export interface ProjectPlace {
  /** The same for all work trees of one repository. */
  readonly id: string;
  /** The top of the project's tree, absolute. */
  readonly root: string;
  /** The directory relative to `root`, '' for the top itself. */
  readonly prefix: string;
}

/** Names what is kept of a command: never its words, which may hold secrets. */
export interface CommandKey {
  /** Of the command but for what is new in every run: temporary files, hashes. */
  readonly exact: string;
  /** Of the command without its numbers too: `shard 3 of 8` is like `shard 4 of 8`. */
  readonly general: string;
}

/** Commands that differ only behind this are taken for the same. */
const CHARS_MAX = 4096;
const UUID = /\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b/gi;
/** Of a commit, a digest: hexadecimal digits with a letter and a digit among them. */
const HASH = /\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,64}\b/g;
const TEMPORARY = /(?:\/private)?(?:\/tmp|\/var\/tmp|\/var\/folders)\/[^\s'":;,)]+/g;
/** Not the digits of a name: `python3`, `es2020`, `-j8`. */
const NUMBER = /(?<![A-Za-z_\d.])\d+(?:\.\d+)*(?![A-Za-z_\d])/g;

/** Commands of one project and directory that are likely to take equally long have equal keys. */
export function commandKey(place: ProjectPlace, command: Command): CommandKey {
  const exact = normalised(command, place.root);
  const general = exact.replace(NUMBER, '#');
  const at = `${place.id}\n${place.prefix}\n`;
  return { exact: fingerprint(`${at}=${exact}`), general: fingerprint(`${at}~${general}`) };
}

function normalised(command: Command, root: string): string {
  const text = (command.kind === 'line' ? command.line : command.argv.join(' ')).slice(0, CHARS_MAX);
  const here = root === '/' ? text : text.replaceAll(root, '.');
  return here
    .replace(/['"\\]/g, '')
    .replace(TEMPORARY, '/tmp/*')
    .replace(UUID, '#')
    .replace(HASH, '#')
    .replace(/\s+/g, ' ')
    .trim();
}

/** 64 bits in hexadecimal: two FNV-1a hashes (draft-eastlake-fnv) over the UTF-16 units, of which one sees them mixed. */
function fingerprint(text: string): string {
  let [a, b] = [0x811c9dc5, 0x2f0b4c47];
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    a = Math.imul(a ^ unit, 0x01000193);
    b = Math.imul(b ^ (unit + (a >>> 16)), 0x01000193);
  }
  return [a, b].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
}
