// From a request to an answer, without HTTP around it: who must show a token, which paths there are, what they say.
import type { IncomingHttpHeaders } from 'node:http';
import type { Keys } from '../../../kernel/keyring.ts';
import { ec2Tree, keyLabels, VERSIONS } from './ec2.ts';
import { seedOf } from './nocloud.ts';
import type { Subject } from './subject.ts';
import { issueToken, LONGEST_TOKEN, tokenLeft } from './tokens.ts';
import { find, listing, type Node } from './tree.ts';

export interface Question {
  readonly method: string;
  /** As it stands in the request line. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface AnswerContext {
  readonly keys: Pick<Keys, 'mac'>;
  /** Unix milliseconds. */
  readonly now: number;
}

const TOKEN = 'x-aws-ec2-metadata-token';
const TTL = 'x-aws-ec2-metadata-token-ttl-seconds';

const text = (body: string, type = 'text/plain; charset=utf-8'): Answer => ({ status: 200, headers: { 'content-type': type }, body });
const refusal = (status: number, sentence: string, headers: Readonly<Record<string, string>> = {}): Answer => ({
  status,
  headers: { 'content-type': 'text/plain; charset=utf-8', ...headers },
  body: `${sentence}\n`,
});
const nothing = (): Answer => refusal(404, 'There is nothing at this path');

/** Nobody that we know has this address. */
export const stranger = (): Answer => refusal(404, 'No instance has this address');

/** The parts of a path, an empty last one for a slash at its end; undefined for what is no path. */
function partsOf(url: string): string[] | undefined {
  const [path = ''] = url.split(/[?#]/, 1);
  if (!path.startsWith('/')) return undefined;
  const parts = path.split('/').slice(1);
  try {
    return parts.filter((part, index) => part !== '' || index === parts.length - 1).map(decodeURIComponent);
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
}

/** Cloud-init knows tokens only where the firmware says that this is AWS. A page that makes a program fetch an address does not choose this header. */
const isCloudInit = (headers: IncomingHttpHeaders): boolean => headers['user-agent']?.startsWith('Cloud-Init/') === true;

export function answerTo(subject: Subject, { method, url, headers }: Question, { keys, now }: AnswerContext): Answer {
  const parts = partsOf(url);
  if (parts === undefined) return refusal(400, 'This is no path');
  // It came through a proxy, and whoever sent it is not who it seems.
  if (headers['x-forwarded-for'] !== undefined) return refusal(403, 'Not through a proxy');
  const isToken = parts.length === 3 && parts[1] === 'api' && parts[2] === 'token';
  if (method === 'PUT') {
    if (!isToken) return refusal(405, 'Only GET and HEAD here', { allow: 'GET, HEAD' });
    return parts[0] === 'latest' ? token(subject, headers, keys, now) : refusal(403, 'A token comes from /latest/api/token');
  }
  if (method !== 'GET' && method !== 'HEAD') return refusal(405, 'Only GET and HEAD here', { allow: 'GET, HEAD' });
  if (isToken) return refusal(405, 'PUT gives a token', { allow: 'PUT' });

  const shown = headers[TOKEN];
  let more = {};
  if (shown !== undefined) {
    const left = tokenLeft(keys, subject, String(shown), now);
    if (left === undefined) return refusal(401, 'The token is not valid for this instance, or not any more; PUT /latest/api/token gives one');
    more = { [TTL]: String(left) };
  } else if (subject.tokens !== 'optional' && !(subject.tokens === 'except-cloud-init' && isCloudInit(headers))) {
    return refusal(401, `A token is needed in the header ${TOKEN}; PUT /latest/api/token gives one`);
  }
  const answer = at(subject, parts);
  return { ...answer, headers: { ...answer.headers, ...more } };
}

function token(subject: Subject, headers: IncomingHttpHeaders, keys: Pick<Keys, 'mac'>, now: number): Answer {
  const wanted = String(headers[TTL] ?? '');
  const ttl = Number(wanted);
  if (!/^\d{1,5}$/.test(wanted) || ttl < 1 || ttl > LONGEST_TOKEN)
    return refusal(400, `The header ${TTL} says how long the token lasts: 1 to ${LONGEST_TOKEN}`);
  const answer = text(issueToken(keys, subject, ttl, now), 'text/plain');
  return { ...answer, headers: { ...answer.headers, [TTL]: String(ttl) } };
}

function at(subject: Subject, parts: readonly string[]): Answer {
  const [first = '', ...rest] = parts;
  if (parts.length === 1 && first === '') return text(VERSIONS.join('\n'));
  const seed = first === 'nocloud' ? rest : parts;
  if (first === 'nocloud' && (rest.length === 0 || (rest.length === 1 && rest[0] === ''))) return text(listing(seedOf(subject)));
  if (seed.length === 1) {
    const files = seedOf(subject);
    const [name = ''] = seed;
    if (Object.hasOwn(files, name)) return text(files[name] as string, name === 'user-data' ? 'application/octet-stream' : 'text/yaml; charset=utf-8');
  }
  if (!VERSIONS.includes(first)) return nothing();
  const node: Node | undefined = find(ec2Tree(subject), rest);
  if (node === undefined) return nothing();
  if (typeof node === 'string') {
    if (rest[0] === 'user-data') return text(node, 'application/octet-stream');
    return text(node, rest[0] === 'dynamic' ? 'application/json' : undefined);
  }
  const isKeys = rest[0] === 'meta-data' && rest[1] === 'public-keys' && (rest.length === 2 || (rest.length === 3 && rest[2] === ''));
  return text(listing(node, isKeys ? keyLabels(subject) : {}));
}
