/** Where a terminal has no doubt: one cell each. */
const PLAIN = /^[\u0020-\u007E]*$/;
const NO_CELL = /^[\p{Mark}\p{Cf}]/u;
/** Wide and fullwidth characters as far as names and commands have them (UAX #11), and emoji. */
const TWO_CELLS =
  /^(?:[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\u3000-\u303E\uFF01-\uFF60\uFFE0-\uFFE6]|\p{Emoji_Presentation}|.\uFE0F)/u;
const HALF_WIDTH = /^[\uFF61-\uFFDC]/u;

/** Made where it is needed: that takes as long as all the rest of a table. */
let segmenter: Intl.Segmenter | null = null;

/** How many cells of a terminal a text without control characters takes. */
export function displayWidth(text: string): number {
  if (PLAIN.test(text)) return text.length;
  let cells = 0;
  for (const character of charactersOf(text)) cells += cellsOf(character);
  return cells;
}

/**
 * As much of a text as fits, whole characters as people see them.
 *
 * @param kept which side of it stays
 */
export function cutToWidth(text: string, cells: number, kept: 'start' | 'end'): string {
  const characters = charactersOf(text);
  let left = cells;
  const isTooMuch = (character: string): boolean => (left -= cellsOf(character)) < 0;
  if (kept === 'end') return characters.slice(characters.findLastIndex(isTooMuch) + 1).join('');
  const end = characters.findIndex(isTooMuch);
  return characters.slice(0, end < 0 ? characters.length : end).join('');
}

/** As people see them. */
function charactersOf(text: string): string[] {
  segmenter ??= new Intl.Segmenter();
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

function cellsOf(character: string): number {
  if (NO_CELL.test(character)) return 0;
  return TWO_CELLS.test(character) && !HALF_WIDTH.test(character) ? 2 : 1;
}
