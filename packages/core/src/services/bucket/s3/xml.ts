// XML of S3, both ways.
//
//   element('Owner', [element('ID', id), element('DisplayName', name)])      a tree of plain strings
//   list('Contents', objects, (object) => [element('Key', object.key)])      one element for each
//   optional('NextMarker', marker)                                           nothing when undefined
//   document('ListBucketResult', [ … ])                                      with S3's namespace: what `S3Reply.xml` takes
//   urlEncoded(key)                                                          for `encoding-type=url`
//
// An `Element` is text that is escaped already, so that a page of 1,000 keys is a few string additions and no tree. `Content` is a string (escaped
// when it is put into an element), a number, a boolean, or elements.
//
//   const body = parseXml(bytes, { root: 'Tagging' })                        MalformedXML for anything else
//   body.child('TagSet')?.children('Tag').map((tag) => tag.text('Key'))
import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { S3Error } from './types.ts';

const S3_NAMESPACE = 'http://s3.amazonaws.com/doc/2006-03-01/';
export const XSI_NAMESPACE = 'http://www.w3.org/2001/XMLSchema-instance';
export const declaration = '<?xml version="1.0" encoding="UTF-8"?>\n';

/** Escaped and complete. */
export type Element = { readonly xml: string };
export type Content = string | number | boolean | readonly (Element | undefined)[];

// Control characters that XML 1.0 has no way to say are sent as references all the same: S3 does, and clients that ask for plain keys with them know.
const SPECIAL = /[&<>"\r\u0000-\u0008\u000b\u000c\u000e-\u001f\u0085\u2028\ufffe\uffff]/;
const SPECIALS = new RegExp(SPECIAL, 'g');
const reference = (character: string): string => {
  switch (character) {
    case '&':
      return '&amp;';
    case '<':
      return '&lt;';
    case '>':
      return '&gt;';
    case '"':
      return '&quot;';
    default:
      return `&#x${character.charCodeAt(0).toString(16).toUpperCase()};`;
  }
};
const escapeXml = (text: string): string => (SPECIAL.test(text) ? text.replace(SPECIALS, reference) : text);

const inner = (content: Content): string => {
  if (typeof content === 'string') return escapeXml(content);
  if (typeof content === 'number' || typeof content === 'boolean') return String(content);
  let text = '';
  for (const child of content) if (child !== undefined) text += child.xml;
  return text;
};

/** `attributes` as they are written: `xsi:type`. Names are ours, never a client's. */
export function element(name: string, content: Content, attributes?: Readonly<Record<string, string>>): Element {
  let open = name;
  if (attributes !== undefined) for (const [key, value] of Object.entries(attributes)) open += ` ${key}="${escapeXml(value)}"`;
  return { xml: `<${open}>${inner(content)}</${name}>` };
}
export const optional = (name: string, content: Content | undefined): Element | undefined => (content === undefined ? undefined : element(name, content));
/** One element for each item. */
export function list<Item>(name: string, items: Iterable<Item>, content: (item: Item) => Content): Element {
  let xml = '';
  for (const item of items) xml += `<${name}>${inner(content(item))}</${name}>`;
  return { xml };
}
export const render = (tree: Element): string => tree.xml;
/** The root element in S3's namespace, without declaration: what `S3Reply.xml` takes. */
export const document = (root: string, content: Content): string => element(root, content, { xmlns: S3_NAMESPACE }).xml;

const PLAIN = /^[A-Za-z0-9_.*/-]*$/;
/** As `encoding-type=url` wants names: percent-encoded UTF-8, with slashes left, a space as `+`. */
export function urlEncoded(text: string): string {
  if (PLAIN.test(text)) return text;
  return encodeURIComponent(text.toWellFormed())
    .replace(/%2F/g, '/')
    .replace(/%20/g, '+')
    .replace(/[!'()~]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}

// ---- reading

const malformed = (message?: string): S3Error =>
  new S3Error('MalformedXML', 400, message ?? 'The XML you provided was not well-formed or did not validate against our published schema');

/** An element that came. All texts are as they were written, only references undone. */
export class Node {
  readonly name: string;
  readonly #parts: readonly unknown[];
  readonly #attributes: Readonly<Record<string, string>>;
  constructor(name: string, parts: readonly unknown[], attributes: Readonly<Record<string, string>>) {
    this.name = name;
    this.#parts = parts;
    this.#attributes = attributes;
  }

  *[Symbol.iterator](): IterableIterator<Node> {
    for (const part of this.#parts) {
      const node = nodeOf(part);
      if (node !== undefined) yield node;
    }
  }
  /** Those of this name, in order. */
  children(name: string): Node[] {
    return [...this].filter((node) => node.name === name);
  }
  /** The only one of this name. MalformedXML when there are several. */
  child(name: string): Node | undefined {
    const found = this.children(name);
    if (found.length > 1) throw malformed();
    return found[0];
  }
  /** The same, or MalformedXML. */
  need(name: string): Node {
    const found = this.child(name);
    if (found === undefined) throw malformed();
    return found;
  }
  /** Text of the only child of this name; undefined when there is none. MalformedXML when it has elements in it. */
  text(name: string): string | undefined {
    return this.child(name)?.value();
  }
  needText(name: string): string {
    return this.need(name).value();
  }
  /** A whole number, not negative. */
  integer(name: string): number | undefined {
    const text = this.text(name)?.trim();
    if (text === undefined) return undefined;
    if (!/^\d{1,15}$/.test(text)) throw malformed();
    return Number(text);
  }
  boolean(name: string): boolean | undefined {
    const text = this.text(name)?.trim().toLowerCase();
    if (text === undefined) return undefined;
    if (text !== 'true' && text !== 'false') throw malformed();
    return text === 'true';
  }
  /** Its own text. */
  value(): string {
    let text = '';
    for (const part of this.#parts) {
      if (nodeOf(part) !== undefined) throw malformed();
      text += textOf(part);
    }
    return text;
  }
  /** By local name: `type` of `xsi:type`. */
  attribute(name: string): string | undefined {
    const value = this.#attributes[name];
    return value === undefined ? undefined : unescapeXml(value);
  }
  /** MalformedXML unless all elements in it have one of these names. */
  only(...names: string[]): this {
    for (const node of this) if (!names.includes(node.name)) throw malformed();
    return this;
  }
}

// With `preserveOrder` an element is `{ [name]: parts, ':@'?: attributes }` and text is `{ '#text': text }`.
function nodeOf(part: unknown): Node | undefined {
  if (typeof part !== 'object' || part === null) return undefined;
  let attributes: Record<string, string> = {};
  let node: [string, readonly unknown[]] | undefined;
  for (const [name, value] of Object.entries(part)) {
    if (name === ':@') attributes = value as Record<string, string>;
    else if (name !== '#text' && name !== '#cdata' && Array.isArray(value)) node = [name, value];
  }
  return node === undefined ? undefined : new Node(node[0], node[1], attributes);
}
const plainText = (part: unknown): string => {
  const text = typeof part === 'object' && part !== null && '#text' in part ? part['#text'] : '';
  return typeof text === 'string' ? text : '';
};
const textOf = (part: unknown): string => {
  if (typeof part === 'object' && part !== null && '#cdata' in part && Array.isArray(part['#cdata'])) return part['#cdata'].map(plainText).join('');
  return unescapeXml(plainText(part));
};

const parser = new XMLParser({
  preserveOrder: true,
  ignoreAttributes: false,
  attributeNamePrefix: '',
  removeNSPrefix: true,
  parseTagValue: false,
  parseAttributeValue: false,
  trimValues: false,
  // References are undone by `unescapeXml`: numbers and the five names of XML itself. Nothing that a document declares is ever expanded.
  processEntities: false,
  cdataPropName: '#cdata',
  ignoreDeclaration: true,
  ignorePiTags: true,
  maxNestedTags: 32,
});

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
const REFERENCES = /&(?:#x([0-9a-fA-F]{1,6})|#(\d{1,7})|(\w+));|&/g;
function unescapeXml(text: string): string {
  if (!text.includes('&')) return text;
  const undone = text.replace(REFERENCES, (_whole, hexadecimal: string | undefined, decimal: string | undefined, name: string | undefined) => {
    const code = hexadecimal !== undefined ? Number.parseInt(hexadecimal, 16) : decimal !== undefined ? Number(decimal) : undefined;
    if (code !== undefined && code <= 0x10ffff) return String.fromCodePoint(code);
    const character = name === undefined || !Object.hasOwn(NAMED, name) ? undefined : NAMED[name];
    if (character === undefined) throw malformed();
    return character;
  });
  // Half a character, which no UTF-8 can say.
  if (!undone.isWellFormed()) throw malformed();
  return undone;
}

const decoder = new TextDecoder('utf-8', { fatal: true });

/**
 * What no document of S3 has. The parser makes an object of each and lets nobody else run meanwhile, so they are counted before it sees them: the most tags has
 * the list of 10,000 parts with five checksums each.
 */
const MOST_TAGS = 170_000;
const MOST_ATTRIBUTES = 1000;
const LONGEST_TAG = 2048;
/** A tag and the text behind it: a key has 1,024 bytes. */
const LONGEST_RUN = 32 * 1024;
const [LESS, GREATER, EQUALS, EXCLAMATION] = [0x3c, 0x3e, 0x3d, 0x21];

function isExcessive(bytes: Buffer): boolean {
  let tags = 0;
  let attributes = 0;
  for (let at = bytes.indexOf(LESS), next = at; at >= 0; at = next) {
    next = bytes.indexOf(LESS, at + 1);
    if (++tags > MOST_TAGS || (next < 0 ? bytes.length : next) - at > LONGEST_RUN) return true;
    // Comments and CDATA have no attributes, and may be long.
    if (bytes[at + 1] === EXCLAMATION) continue;
    const tag = bytes.subarray(at, at + LONGEST_TAG);
    const end = tag.indexOf(GREATER);
    if (end < 0) return true;
    for (let equals = tag.indexOf(EQUALS); equals >= 0 && equals < end; equals = tag.indexOf(EQUALS, equals + 1)) {
      if (++attributes > MOST_ATTRIBUTES) return true;
    }
  }
  return false;
}

/** The document's root. MalformedXML unless it is well-formed UTF-8 without a DOCTYPE, with this root (one of several, if given so). */
export function parseXml(bytes: Buffer, expected: { root: string | readonly string[] }): Node {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch (error) {
    throw new S3Error('MalformedXML', 400, 'The XML you provided is not UTF-8', { cause: error });
  }
  if (isExcessive(bytes)) throw malformed();
  if (text.includes('<!DOCTYPE') || text.includes('<!ENTITY')) throw malformed();
  if (XMLValidator.validate(text) !== true) throw malformed();
  let parts: unknown;
  try {
    parts = parser.parse(text);
  } catch (error) {
    throw new S3Error('MalformedXML', 400, malformed().message, { cause: error });
  }
  const roots = (Array.isArray(parts) ? parts : []).flatMap((part: unknown) => nodeOf(part) ?? []);
  const root = roots[0];
  const names = typeof expected.root === 'string' ? [expected.root] : expected.root;
  if (root === undefined || roots.length !== 1 || !names.includes(root.name)) throw malformed();
  return root;
}
