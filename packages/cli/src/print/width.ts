// How many columns of a terminal a text takes: wide characters two, combining ones none, colour codes none.

// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
const ESCAPES = /\x1b\[[0-9;]*m/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the plain range
const PLAIN = /^[\x20-\x7e]*$/;
const NONE = /^[\p{Mn}\p{Me}\p{Cf}]$/u;
const WIDE =
  /^(?:\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}])$/u;

const widthOf = (character: string): number => (PLAIN.test(character) ? 1 : NONE.test(character) ? 0 : WIDE.test(character) ? 2 : 1);

export function width(text: string): number {
  const plain = text.includes('\x1b') ? text.replace(ESCAPES, '') : text;
  if (PLAIN.test(plain)) return plain.length;
  let total = 0;
  for (const character of plain) total += widthOf(character);
  return total;
}

export const pad = (text: string, to: number): string => text + ' '.repeat(Math.max(0, to - width(text)));

/** At most `to` columns wide, the last of them an ellipsis where something is left out. Colours stay whole. */
export function cut(text: string, to: number): string {
  if (width(text) <= to) return text;
  if (to <= 0) return '';
  let kept = '';
  let used = 0;
  let coloured = false;
  for (let index = 0; index < text.length; ) {
    if (text[index] === '\x1b') {
      const end = text.indexOf('m', index);
      const code = text.slice(index, end + 1);
      kept += code;
      coloured = code !== '\x1b[0m';
      index = end + 1;
      continue;
    }
    const character = String.fromCodePoint(text.codePointAt(index) as number);
    if (used + widthOf(character) > to - 1) break;
    kept += character;
    used += widthOf(character);
    index += character.length;
  }
  return `${kept}…${coloured ? '\x1b[0m' : ''}`;
}
