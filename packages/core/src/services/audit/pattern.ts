// Patterns with * (anything, or nothing) and ? (one character), matched without regular expressions: a pattern cannot be written that takes long.

export const isLiteral = (pattern: string): boolean => !/[*?]/.test(pattern);

/** What every match begins with. */
export const literalStart = (pattern: string): string => /^[^*?]*/.exec(pattern)?.[0] ?? '';

/** At most pattern × text steps: on a mismatch only the newest * is tried further on. */
export function matches(pattern: string, text: string): boolean {
  let [p, t] = [0, 0];
  let star = -1;
  let resume = 0;
  while (t < text.length) {
    if (p < pattern.length && pattern[p] === '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === text[t])) {
      p++;
      t++;
    } else if (star >= 0) {
      p = star + 1;
      t = ++resume;
    } else return false;
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}
