// Pages and label selectors: how they are written, and a page of things that are not rows (a backend's images, a catalogue).
import { Fault } from './errors.ts';

export interface Page {
  label?: readonly string[] | undefined;
  limit?: number | undefined;
  cursor?: string | undefined;
}

export const MAX_PAGE = 1000;

export interface Selector {
  key: string;
  /** Absent: any value. */
  value?: string;
  negated: boolean;
}

/** `key=value`, `key!=value` (also those without the key) or `key`. */
export function selectorOf(text: string): Selector {
  const match = /^([^=!]+)(?:(!?=)(.*))?$/s.exec(text);
  if (match === null)
    throw new Fault('invalid_input', `"${text}" is not key=value, key!=value or key`, {
      details: [{ path: 'label', message: 'use key=value, key!=value or key' }],
    });
  const [, key = '', comparison, value = ''] = match;
  return { key, ...(comparison === undefined ? {} : { value }), negated: comparison === '!=' };
}

export const notACursor = (): Fault =>
  new Fault('invalid_input', 'The cursor is not one that a list answered with', {
    details: [{ path: 'cursor', message: 'use the cursor of the page before' }],
  });

/** Items in the order of `placeOf`, which is unique. The cursor is the last item's place, so items that come or go do not shift a page. */
export function pageOf<T extends { labels: Readonly<Record<string, string>> }>(
  items: readonly T[],
  placeOf: (item: T) => string,
  page: Page,
): { items: T[]; cursor?: string } {
  const selectors = (page.label ?? []).map(selectorOf);
  const after = page.cursor === undefined ? undefined : readPlace(page.cursor);
  const left = items
    .filter((item) =>
      selectors.every(({ key, value, negated }) => (Object.hasOwn(item.labels, key) && (value === undefined || item.labels[key] === value)) !== negated),
    )
    .map((item) => ({ item, place: placeOf(item) }))
    .filter(({ place }) => after === undefined || place > after)
    .sort((a, b) => (a.place < b.place ? -1 : 1));
  const limit = Math.min(page.limit ?? MAX_PAGE, MAX_PAGE);
  const shown = left.slice(0, limit);
  const last = shown.at(-1);
  return {
    items: shown.map(({ item }) => item),
    ...(left.length > limit && last !== undefined ? { cursor: Buffer.from(`p.${last.place}`).toString('base64url') } : {}),
  };
}

function readPlace(cursor: string): string {
  const text = Buffer.from(cursor, 'base64url').toString();
  if (!text.startsWith('p.')) throw notACursor();
  return text.slice(2);
}
