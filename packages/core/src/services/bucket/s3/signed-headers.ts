// Values of headers as they were signed, which is not always as node:http gives them.
import type { IncomingHttpHeaders } from 'node:http';

/** Empty for one that did not come, whatever objects have by that name. */
export function textOf(headers: IncomingHttpHeaders, name: string): string {
  const value = Object.hasOwn(headers, name) ? headers[name] : undefined;
  return typeof value === 'string' ? value : (value ?? []).join(',');
}
// Not \s: the bytes 85 and A0 are no spaces here.
export const tidy = (value: string, collapse: boolean): string =>
  (collapse && (value.includes('  ') || value.includes('\t')) ? value.replace(/[ \t]+/g, ' ') : value).trim();

/** Headers that came more than once: node:http joins or drops them in its own way, and they were signed one by one. */
export function repeatedHeaders(rawHeaders: readonly string[]): Map<string, string[]> | undefined {
  const seen = new Set<string>();
  let repeated: Map<string, string[]> | undefined;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] as string).toLowerCase();
    if (seen.has(name)) {
      repeated ??= new Map();
      repeated.set(name, []);
    }
    seen.add(name);
  }
  if (repeated !== undefined) {
    for (let index = 0; index < rawHeaders.length; index += 2) repeated.get((rawHeaders[index] as string).toLowerCase())?.push(rawHeaders[index + 1] as string);
  }
  return repeated;
}
