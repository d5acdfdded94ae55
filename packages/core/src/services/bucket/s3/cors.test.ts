// Rules of CORS: which fits, and what is said then.
import { expect, test } from 'vitest';
import type { CorsRule } from '../engine/config.ts';
import { answerPreflight, corsHeaders, crossOrigin, matchCors, preflight } from './cors.ts';
import type { S3Error } from './types.ts';

const rule = (origins: string[], methods: string[], more: Partial<CorsRule> = {}): CorsRule => ({
  allowedOrigins: origins,
  allowedMethods: methods,
  allowedHeaders: [],
  exposeHeaders: [],
  ...more,
});
const RULES = [rule(['*suffix'], ['GET']), rule(['start*end'], ['GET']), rule(['prefix*'], ['GET']), rule(['*.put'], ['PUT'])];
const codeOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return (error as S3Error).code;
  }
  return 'allowed';
};

test.each<[string, string, boolean]>([
  ['foo.suffix', 'GET', true],
  ['suffix', 'GET', true],
  ['foo.suffix.get', 'GET', false],
  ['startend', 'GET', true],
  ['start1end', 'GET', true],
  ['0start12end', 'GET', false],
  ['starend', 'GET', false],
  ['prefix', 'GET', true],
  ['bla.prefix', 'GET', false],
  ['foo.put', 'GET', false],
  ['foo.put', 'PUT', true],
])('%s may %s: %s', (origin, method, allowed) => {
  expect(matchCors(RULES, { origin, method, headers: [] }) !== undefined).toBe(allowed);
});

test('overlapping ends of a pattern do not fit', () => {
  expect(matchCors([rule(['aba*ba'], ['GET'])], { origin: 'aba', method: 'GET', headers: [] })).toBeUndefined();
});

test('headers of a preflight, in any case and with a star', () => {
  const rules = [rule(['*'], ['PUT'], { allowedHeaders: ['X-Amz-*', 'content-type'] })];
  const ask = (headers: string) => preflight({ origin: 'o', 'access-control-request-method': 'PUT', 'access-control-request-headers': headers });
  expect(answerPreflight(rules, ask('Content-Type, x-amz-meta-a'), 'OBJECT')).toMatchObject({ 'access-control-allow-headers': 'content-type, x-amz-meta-a' });
  expect(codeOf(() => answerPreflight(rules, ask('authorization'), 'OBJECT'))).toBe('AccessForbidden');
  expect(codeOf(() => answerPreflight(undefined, ask(''), 'OBJECT'))).toBe('AccessForbidden');
  expect(codeOf(() => answerPreflight([], ask(''), 'OBJECT'))).toBe('AccessForbidden');
});

test('what is no preflight', () => {
  expect(codeOf(() => preflight({}))).toBe('BadRequest');
  expect(codeOf(() => preflight({ origin: 'o' }))).toBe('BadRequest');
  expect(codeOf(() => preflight({ origin: 'o', 'access-control-request-method': 'PATCH' }))).toBe('BadRequest');
});

test('everyone is told apart from somebody', () => {
  const question = { origin: 'https://a.example', method: 'GET', headers: [] };
  expect(corsHeaders(rule(['*'], ['GET', 'PUT'], { exposeHeaders: ['ETag'], maxAgeSeconds: 60 }), question)).toEqual({
    'access-control-allow-origin': '*',
    'access-control-allow-methods': 'GET, PUT',
    'access-control-expose-headers': 'ETag',
    'access-control-max-age': '60',
    vary: 'Origin, Access-Control-Request-Headers, Access-Control-Request-Method',
  });
  expect(corsHeaders(rule(['https://*'], ['GET']), question)).toMatchObject({
    'access-control-allow-origin': 'https://a.example',
    'access-control-allow-credentials': 'true',
  });
});

test('a request that says what it would be asks as that', () => {
  expect(crossOrigin('PUT', {})).toBeUndefined();
  expect(crossOrigin('PUT', { origin: 'o' })?.method).toBe('PUT');
  expect(crossOrigin('PUT', { origin: 'o', 'access-control-request-method': 'GET' })?.method).toBe('GET');
});
