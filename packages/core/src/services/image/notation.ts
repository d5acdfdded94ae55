// The short form of a program and its arguments: `sleep 1h`. The API takes a list too.

/** Words as a POSIX shell splits them: quotes and backslashes count, variables and operators do not. */
export function splitWords(text: string, fail: (message: string) => void): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote: '"' | "'" | undefined;
  for (let index = 0; index < text.length; index++) {
    const character = text.charAt(index);
    if (quote === "'") {
      if (character === "'") quote = undefined;
      else word += character;
    } else if (character === '\\') {
      const next = text.charAt(++index);
      if (quote === '"' && !'"\\$`'.includes(next)) word = `${word ?? ''}\\${next}`;
      else word = (word ?? '') + next;
    } else if (quote === '"') {
      if (character === '"') quote = undefined;
      else word += character;
    } else if (character === '"' || character === "'") {
      quote = character;
      word ??= '';
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? '') + character;
  }
  if (quote !== undefined) fail(`a ${quote} is not closed`);
  if (word !== undefined) words.push(word);
  return words;
}
