// Names of resources in parts between colons, and whether some name fits a pattern at all: one that fits none is refused when it is written.
import { variablesOf } from './pattern.ts';

const PARTS = 5;
/** `arn:<partition>:<service>:<region>:<account>:…` has one more. */
const PARTS_OF_ARN = 6;

/** The five parts (of an ARN six) of a pattern, or of a name, which has no variables; the last takes the rest, colons and all. Undefined: there are fewer. */
export function partsOf(text: string, { name = false }: { name?: boolean } = {}): string[] | undefined {
  // Colons inside variables are no borders.
  const variables = name ? [] : (variablesOf(text) ?? []);
  const wanted = text.startsWith('arn:') ? PARTS_OF_ARN : PARTS;
  const parts: string[] = [];
  let from = 0;
  for (let at = 0; at < text.length && parts.length < wanted - 1; at++) {
    const inside = variables.find(({ start }) => start === at);
    if (inside !== undefined) at = inside.end - 1;
    else if (text[at] === ':') {
      parts.push(text.slice(from, at));
      from = at + 1;
    }
  }
  return parts.length < wanted - 1 ? undefined : [...parts, text.slice(from)];
}

const STAR = -1;
const ONE = -2;
/** Anything but a colon. */
const STAR_IN_PART = -3;
const COLON = 0x3a;

/** A variable may be anything. */
function codesOf(pattern: string): number[] {
  const codes: number[] = [];
  let from = 0;
  const plain = (text: string): void => {
    for (const letter of text) codes.push(letter === '*' ? STAR : letter === '?' ? ONE : (letter.codePointAt(0) as number));
  };
  for (const { key, start, end } of variablesOf(pattern) ?? []) {
    plain(pattern.slice(from, start));
    codes.push(['*', '?', '$'].includes(key) ? (key.codePointAt(0) as number) : STAR);
    from = end;
  }
  plain(pattern.slice(from));
  return codes;
}

/** Whether some text fits both: every pair of places that can be reached together, from left to right. */
function meet(a: readonly number[], b: readonly number[]): boolean {
  const width = b.length + 1;
  const reached = new Uint8Array((a.length + 1) * width);
  reached[0] = 1;
  const star = (code: number | undefined): boolean => code === STAR || code === STAR_IN_PART;
  const takes = (starred: number, code: number): boolean => starred === STAR || code !== COLON;
  for (let i = 0; i <= a.length; i++) {
    for (let j = 0; j <= b.length; j++) {
      if (reached[i * width + j] === 0) continue;
      const [x, y] = [a[i], b[j]];
      if (star(x)) reached[(i + 1) * width + j] = 1;
      if (star(y)) reached[i * width + j + 1] = 1;
      if (x === undefined || y === undefined || (star(x) && star(y))) continue;
      if (star(x)) {
        if (takes(x, y)) reached[i * width + j + 1] = 1;
      } else if (star(y)) {
        if (takes(y, x)) reached[(i + 1) * width + j] = 1;
      } else if (x === y || x === ONE || y === ONE) reached[(i + 1) * width + j + 1] = 1;
    }
  }
  return reached[reached.length - 1] === 1;
}

/**
 * Whether a resource of one of these services can have a name that fits: `crn:cloud:<tenant id>:<service>:<service>/…`. A pattern of five parts is
 * read part by part, although its stars reach over colons: what fits only a name with the rest of a pattern inside was not meant.
 */
export function canFit(pattern: string, services: readonly string[]): boolean {
  const parts = partsOf(pattern)?.map(codesOf);
  const whole = parts === undefined ? codesOf(pattern) : [];
  return services.some((service) => {
    const name = ['crn', 'cloud', 'tnt-*', service, `${service}/*`];
    if (parts !== undefined) return parts.every((part, index) => meet(part, codesOf(name[index] as string)));
    return meet(whole, [...codesOf('crn:cloud:tnt-'), STAR_IN_PART, ...codesOf(`:${service}:${service}/*`)]);
  });
}
