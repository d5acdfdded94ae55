// Policies that hang on a resource: they say whom they are about, name the resource in a form of its own, and have two versions.
import { describe, expect, test } from 'vitest';
import { Fault, type FieldProblem } from '../errors.ts';
import { allowsAll, compilePolicy, evaluate, explain, type RequestPrincipal, type Vocabulary } from './index.ts';

const vocabulary: Vocabulary = {
  actions: ['box:Open', 'box:Close', 'box:Paint'],
  services: [],
  keys: [
    { name: 'box:Colour', types: ['string'], meaning: 'text' },
    { name: 'box:Owner', types: ['string'], meaning: 'a name' },
  ],
  resourcePolicy: {
    resource: (text) => (text.startsWith('box/') ? undefined : 'a box is named box/…'),
    principal: (kind, text) => (kind === 'AWS' && /^\w+$/.test(text) ? { name: text } : { problem: `nobody is called ${kind} ${text}` }),
  },
};
const statement = (more: Readonly<Record<string, unknown>> = {}) => ({ Effect: 'Allow', Principal: '*', Action: 'box:Open', Resource: 'box/*', ...more });
const documentOf = (...statements: unknown[]) => ({ Version: '2012-10-17', Statement: statements });
const compile = (document: unknown) => compilePolicy('box', 'box', document, vocabulary);
const ann: RequestPrincipal = { names: ['ann'], groups: ['smiths'] };
const bob: RequestPrincipal = { names: ['bob'], groups: ['smiths'] };
const of = (document: unknown, principal: RequestPrincipal | undefined, more: { action?: string; resource?: string; context?: Record<string, string> } = {}) =>
  evaluate([compile(document)], {
    action: more.action ?? 'box:Open',
    resources: [more.resource ?? 'box/red'],
    context: more.context ?? {},
    ...(principal === undefined ? {} : { principal }),
  }).effect;

describe('whom it is about', () => {
  test('everybody, also those whom nobody knows', () => {
    for (const Principal of ['*', { AWS: '*' }, { AWS: ['ann', '*'] }]) {
      expect(of(documentOf(statement({ Principal })), ann)).toBe('allow');
      expect(of(documentOf(statement({ Principal })), undefined)).toBe('allow');
    }
  });

  test('one who is named, or who is part of what is named', () => {
    expect(of(documentOf(statement({ Principal: { AWS: 'ann' } })), ann)).toBe('allow');
    expect(of(documentOf(statement({ Principal: { AWS: ['ann', 'carl'] } })), bob)).toBe('none');
    expect(of(documentOf(statement({ Principal: { AWS: 'smiths' } })), bob)).toBe('allow');
    expect(of(documentOf(statement({ Principal: { AWS: 'ann' } })), undefined)).toBe('none');
  });

  test('all but one: to be part of what is excepted is not enough', () => {
    const deny = documentOf(statement(), statement({ Effect: 'Deny', Principal: undefined, NotPrincipal: { AWS: ['ann', 'smiths'] } }));
    expect(of(deny, ann)).toBe('allow');
    expect(of(deny, bob)).toBe('deny');
    expect(of(deny, undefined)).toBe('deny');
    expect(of(documentOf(statement(), statement({ Effect: 'Deny', Principal: undefined, NotPrincipal: '*' })), undefined)).toBe('allow');
  });

  test('is explained', () => {
    const policies = [compile(documentOf(statement({ Principal: { AWS: 'ann' } })))];
    const [said] = explain(policies, { action: 'box:Open', resources: ['box/red'], context: {}, principal: bob }).statements;
    expect(said).toMatchObject({ matched: false, why: 'its principals do not include who asks' });
  });

  test('is never everything that one may give to others', () => {
    expect(allowsAll([compile(documentOf(statement({ Resource: 'box/*' })))], { action: 'box:Open', prefix: 'box/', context: {} })).toBe(false);
  });
});

describe('what it is about', () => {
  test('names of this resource, with variables', () => {
    const own = documentOf(statement({ Resource: 'box/${box:Owner}' }));
    expect(of(own, ann, { resource: 'box/ann', context: { 'box:Owner': 'ann' } })).toBe('allow');
    expect(of(own, ann, { resource: 'box/bob', context: { 'box:Owner': 'ann' } })).toBe('none');
    expect(of(documentOf(statement({ Resource: undefined, NotResource: 'box/red' })), ann)).toBe('none');
    expect(of(documentOf(statement({ Action: 'box:*' })), ann, { action: 'box:paint' })).toBe('allow');
  });

  test('in the older version a variable is text', () => {
    const older = (Version?: string) => ({
      Version,
      Statement: [statement({ Resource: 'box/${box:Owner}', Condition: { StringLike: { 'box:Colour': '${x*' } } })],
    });
    for (const document of [older('2008-10-17'), older()]) {
      expect(of(document, ann, { resource: 'box/ann', context: { 'box:Owner': 'ann', 'box:Colour': '${xy' } })).toBe('none');
      expect(of(document, ann, { resource: 'box/${box:Owner}', context: { 'box:Colour': '${xy' } })).toBe('allow');
      expect(of(document, ann, { resource: 'box/${box:Owner}', context: { 'box:Colour': 'xy' } })).toBe('none');
    }
  });
});

describe('is refused when it is written', () => {
  const problemsOf = (document: unknown): FieldProblem[] => {
    try {
      compile(document);
    } catch (error) {
      if (error instanceof Fault && error.code === 'invalid_input') return error.details as FieldProblem[];
      throw error;
    }
    return [];
  };
  const S = 'document.Statement.0';
  test.each([
    ['no principal', statement({ Principal: undefined }), `${S}.Principal`],
    ['both', statement({ NotPrincipal: '*' }), `${S}.NotPrincipal`],
    ['an Allow to all but some', statement({ Principal: undefined, NotPrincipal: { AWS: 'ann' } }), `${S}.NotPrincipal`],
    ['a principal that is no object', statement({ Principal: 'ann' }), `${S}.Principal`],
    ['a list', statement({ Principal: ['*'] }), `${S}.Principal`],
    ['nobody', statement({ Principal: {} }), `${S}.Principal`],
    ['an empty list', statement({ Principal: { AWS: [] } }), `${S}.Principal.AWS`],
    ['an unknown kind', statement({ Principal: { Federated: 'ann' } }), `${S}.Principal.Federated`],
    ['everybody of another kind', statement({ Principal: { Service: '*' } }), `${S}.Principal.Service`],
    ['an unknown principal in a list', statement({ Principal: { AWS: ['ann', 'a n n'] } }), `${S}.Principal.AWS.1`],
    ['__proto__', JSON.parse('{"Effect":"Allow","Principal":{"__proto__":"ann"},"Action":"box:Open","Resource":"box/*"}'), `${S}.Principal.__proto__`],
    ['every resource', statement({ Resource: '*' }), `${S}.Resource`],
    ['a resource of another kind', statement({ Resource: ['box/*', 'crn:cloud:*:instance:instance/*'] }), `${S}.Resource.1`],
    ['an unknown action', statement({ Action: 'box:Burn' }), `${S}.Action`],
    ['an unknown element', statement({ Principle: '*' }), `${S}.Principle`],
  ])('%s', (_, one, path) => expect(problemsOf(documentOf(one)).map((problem) => problem.path)).toContain(path));

  test.each(['2020-01-01', null, 2012])('the version %s', (Version) => {
    expect(problemsOf({ ...documentOf(statement()), Version })[0]?.path).toBe('document.Version');
  });
});
