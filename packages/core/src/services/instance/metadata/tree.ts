// A tree of texts by path, with listings as EC2 prints them: a name for each line, a slash behind those that lead further, no line break at the end.

/** A text, or what is below. Keys are names as a listing shows them. */
export type Node = string | Branch;
export interface Branch {
  readonly [name: string]: Node;
}

/** Entries that are undefined are left out. */
export const branch = (entries: Readonly<Record<string, Node | undefined>>): Branch =>
  Object.fromEntries(Object.entries(entries).filter((entry): entry is [string, Node] => entry[1] !== undefined));

/** A name that stands in one line and in one part of a path, whatever is in it. */
export const nameInPath = (key: string): string => encodeURIComponent(key).replaceAll('%3A', ':').replaceAll('%40', '@');

/** What a path leads to. Both spellings of a branch, with and without a slash, are the branch; a text has no slash behind it. */
export function find(root: Node, path: readonly string[]): Node | undefined {
  let node = root;
  for (const [index, part] of path.entries()) {
    if (typeof node === 'string') return undefined;
    if (part === '' && index === path.length - 1) return node;
    // Names may be written as the listing shows them, and that again encoded, as some clients do.
    const name = [part, nameInPath(part)].find((each) => Object.hasOwn(node as Branch, each));
    if (name === undefined) return undefined;
    node = node[name] as Node;
  }
  return node;
}

/** `labels`, by name, replace the names of a listing (`0` is shown as `0=my-key`). */
export const listing = (node: Branch, labels: Readonly<Record<string, string>> = {}): string =>
  Object.entries(node)
    .map(([name, child]) => labels[name] ?? (typeof child === 'string' ? name : `${name}/`))
    .join('\n');
