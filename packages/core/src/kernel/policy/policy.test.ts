// What AWS documents, row by row, and what a document may not say.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Fault, type FieldProblem } from '../errors.ts';
import { operators } from './conditions.ts';
import { cloudKeys, compilePolicy, evaluate, explain, lint } from './index.ts';
import { cases, crn, vocabulary } from './testing/cases.ts';

const documentOf = (statements: unknown) => ({ Version: '2012-10-17', Statement: statements });
const compile = (document: unknown) => compilePolicy('pol-1', 'one', document, vocabulary);

describe('as AWS documents it', () => {
  test('there are enough cases, each with a name and a section of its own', () => {
    expect(cases.length).toBeGreaterThanOrEqual(170);
    expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
  });

  test.each(cases.map((one) => [`${one.source}: ${one.name}`, one] as const))('%s', (_, { policies, action, resources, context, expected }) => {
    const compiled = policies.map((statements, index) => compilePolicy(`pol-${index}`, `p${index}`, documentOf(statements), vocabulary));
    const request = { action, resources, context };
    expect(evaluate(compiled, request).effect).toBe(expected);
    const explained = explain(compiled, request);
    expect(explained.decision).toEqual(evaluate(compiled, request));
    expect(explained.wouldAllow === undefined).toBe(expected === 'allow');
  });
});

const allowing = (more: Readonly<Record<string, unknown>>) => documentOf([{ Effect: 'Allow', Action: 'instance:get', Resource: '*', ...more }]);
const held = (condition: unknown) => allowing({ Condition: condition });
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
const deep = (depth: number): unknown => JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`) as unknown;

describe('is refused when it is written', () => {
  const refused: readonly [name: string, document: unknown, path: string, says?: RegExp][] = [
    ['no object', 'text', 'document'],
    ['null', null, 'document'],
    ['no version', { Statement: [] }, 'document.Version', /2012-10-17/],
    ['an older version', { ...allowing({}), Version: '2008-10-17' }, 'document.Version'],
    ['no statement', { Version: '2012-10-17' }, 'document.Statement'],
    ['an empty list of statements', documentOf([]), 'document.Statement'],
    ['an unknown element of the document', { ...allowing({}), Statements: [] }, 'document.Statements', /Statement\?/],
    [
      '__proto__ in the document',
      JSON.parse('{"Version":"2012-10-17","__proto__":{"Statement":[]},"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'),
      'document.__proto__',
    ],
    ['__proto__ in a statement', documentOf([JSON.parse('{"Effect":"Allow","Action":"*","Resource":"*","__proto__":{}}')]), `${S}.__proto__`],
    ['__proto__ as an operator', held(JSON.parse('{"__proto__":{"test:Name":"a"}}')), `${S}.Condition.__proto__`],
    ['__proto__ as a key', held(JSON.parse('{"StringEquals":{"__proto__":"a"}}')), `${S}.Condition.StringEquals.__proto__`],
    ['constructor as an operator', held({ constructor: { 'test:Name': 'a' } }), `${S}.Condition.constructor`],
    ['an unknown element of a statement', allowing({ Actions: [] }), `${S}.Actions`, /Action\?/],
    ['an element in another case', documentOf([{ effect: 'Allow', Action: '*', Resource: '*' }]), `${S}.effect`, /Effect\?/],
    ['a principal', allowing({ Principal: '*' }), `${S}.Principal`, /attach/],
    ['another effect', allowing({ Effect: 'allow' }), `${S}.Effect`],
    ['a sid with control characters', allowing({ Sid: 'a\nb' }), `${S}.Sid`],
    ['no action', documentOf([{ Effect: 'Allow', Resource: '*' }]), `${S}.Action`],
    ['Action and NotAction', allowing({ NotAction: 'vpc:*' }), `${S}.NotAction`, /not both/],
    ['Resource and NotResource', allowing({ NotResource: '*' }), `${S}.NotResource`, /not both/],
    ['no resource', documentOf([{ Effect: 'Allow', Action: '*' }]), `${S}.Resource`],
    ['an action that is no text', allowing({ Action: ['instance:get', 7] }), `${S}.Action.1`],
    ['an action that does not exist', allowing({ Action: ['instance:get', 'instance:delet'] }), `${S}.Action.1`, /instance:delete/],
    ['a pattern that no action fits', allowing({ Action: 'disk:*' }), `${S}.Action`],
    ['no actions', allowing({ Action: [] }), `${S}.Action`],
    ['a resource of another cloud', allowing({ Resource: 'arn:aws:s3:::bucket' }), `${S}.Resource`, /crn:cloud/],
    ['a resource that does not begin as one', allowing({ Resource: '*:instance/web' }), `${S}.Resource`],
    ['an unknown service', allowing({ Resource: 'crn:cloud:*:instanc:instance/web' }), `${S}.Resource`, /instance\?/],
    ['another type than the service', allowing({ Resource: 'crn:cloud:*:instance:vpc/web' }), `${S}.Resource`, /instance\//],
    ['a name without its type', allowing({ Resource: 'crn:cloud:*:instance:web' }), `${S}.Resource`, /instance\//],
    ['another second part', allowing({ Resource: 'crn:clod:*:instance:instance/*' }), `${S}.Resource`, /"cloud"/],
    ['another second part and a star', allowing({ Resource: 'crn:clod:*' }), `${S}.Resource`],
    ['the name of a tenant', allowing({ Resource: 'crn:cloud:acme:instance:instance/*' }), `${S}.Resource`, /tenant/],
    ['a resource that is too long', allowing({ Resource: `crn:cloud:*:instance:instance/${'a'.repeat(2048)}` }), `${S}.Resource`, /2048/],
    ['an unknown variable', allowing({ Resource: 'crn:cloud:*:instance:instance/${cloud:PrincipleName}' }), `${S}.Resource`, /cloud:PrincipalName/],
    ['a variable that is not closed', allowing({ Resource: 'crn:cloud:*:instance:instance/${test:Name' }), `${S}.Resource`],
    ['a default without quotes', allowing({ Resource: 'crn:cloud:*:instance:instance/${test:Name, x}' }), `${S}.Resource`],
    ['a variable with several values', allowing({ Resource: 'crn:cloud:*:instance:instance/${test:Names}' }), `${S}.Resource`, /several/],
    ['a condition that is no object', held(['a']), `${S}.Condition`],
    ['an unknown operator', held({ StringEqual: { 'test:Name': 'a' } }), `${S}.Condition.StringEqual`, /StringEquals/],
    ['an operator in another case', held({ stringEquals: { 'test:Name': 'a' } }), `${S}.Condition.stringEquals`, /StringEquals/],
    ['an unknown set operator', held({ 'ForEachValue:StringEquals': { 'test:Names': 'a' } }), `${S}.Condition.ForEachValue:StringEquals`],
    ['Null with IfExists', held({ NullIfExists: { 'test:Name': 'true' } }), `${S}.Condition.NullIfExists`],
    ['an unknown key', held({ StringEquals: { 'cloud:TenantID2': 'a' } }), `${S}.Condition.StringEquals.cloud:TenantID2`, /cloud:TenantId/],
    ['a label without its key', held({ StringEquals: { 'cloud:RequestLabel/': 'a' } }), `${S}.Condition.StringEquals.cloud:RequestLabel/`],
    ['a key twice in two cases', held({ StringEquals: { 'test:Name': 'a', 'TEST:name': 'b' } }), `${S}.Condition.StringEquals.TEST:name`, /twice/],
    ['a number operator on text', held({ NumericEquals: { 'test:Name': 1 } }), `${S}.Condition.NumericEquals.test:Name`],
    ['a text operator on a number', held({ StringEquals: { 'test:Count': '1' } }), `${S}.Condition.StringEquals.test:Count`],
    ['a text operator on an address', held({ StringLike: { 'cloud:SourceIp': '10.*' } }), `${S}.Condition.StringLike.cloud:SourceIp`],
    ['a date operator on an address', held({ DateEquals: { 'cloud:SourceIp': '2026-01-01' } }), `${S}.Condition.DateEquals.cloud:SourceIp`],
    ['several values without a set operator', held({ StringEquals: { 'cloud:LabelKeys': 'a' } }), `${S}.Condition.StringEquals.cloud:LabelKeys`, /ForAnyValue/],
    ['a number where text is compared', held({ StringEquals: { 'test:Name': 1 } }), `${S}.Condition.StringEquals.test:Name`, /quotes/],
    ['a value that is null', held({ StringEquals: { 'test:Name': [null] } }), `${S}.Condition.StringEquals.test:Name.0`],
    ['no number', held({ NumericEquals: { 'test:Count': ['1', '0x10'] } }), `${S}.Condition.NumericEquals.test:Count.1`],
    ['no date', held({ DateLessThan: { 'test:When': 'tomorrow' } }), `${S}.Condition.DateLessThan.test:When`],
    ['a day that there is not', held({ DateLessThan: { 'test:When': '2026-02-30' } }), `${S}.Condition.DateLessThan.test:When`],
    ['neither true nor false', held({ Bool: { 'test:Flag': 'yes' } }), `${S}.Condition.Bool.test:Flag`],
    ['neither true nor false for Null', held({ Null: { 'test:Name': 'yes' } }), `${S}.Condition.Null.test:Name`],
    ['no base64', held({ BinaryEquals: { 'test:Bytes': 'a' } }), `${S}.Condition.BinaryEquals.test:Bytes`],
    ['no address', held({ IpAddress: { 'cloud:SourceIp': '10.0.0.256' } }), `${S}.Condition.IpAddress.cloud:SourceIp`],
    ['an address with leading zeros', held({ IpAddress: { 'cloud:SourceIp': '010.0.0.1' } }), `${S}.Condition.IpAddress.cloud:SourceIp`],
    ['a prefix that is too long', held({ IpAddress: { 'cloud:SourceIp': '10.0.0.0/33' } }), `${S}.Condition.IpAddress.cloud:SourceIp`],
    ['a name with too few parts', held({ ArnLike: { 'test:Name': 'crn:cloud:x' } }), `${S}.Condition.ArnLike.test:Name`],
    [
      'a variable where numbers are compared',
      held({ NumericEquals: { 'test:Count': '${test:Name}' } }),
      `${S}.Condition.NumericEquals.test:Count`,
      /variables/,
    ],
    [
      'a variable where addresses are compared',
      held({ IpAddress: { 'cloud:SourceIp': '${test:Name}' } }),
      `${S}.Condition.IpAddress.cloud:SourceIp`,
      /variables/,
    ],
    ['a variable where absence is asked for', held({ Null: { 'test:Name': '${test:Name}' } }), `${S}.Condition.Null.test:Name`, /variables/],
    ['no values', held({ StringEquals: { 'test:Name': [] } }), `${S}.Condition.StringEquals.test:Name`],
    ['more than 64 KiB', { ...allowing({}), Id: 'x'.repeat(70_000) }, 'document', /64 KiB/],
    ['more than 200 statements', documentOf(Array.from({ length: 201 }, () => ({ Effect: 'Allow', Action: '*', Resource: '*' }))), 'document.Statement', /200/],
    ['nesting without end', documentOf(deep(100_000)), 'document'],
    ['a condition of nesting without end', held({ StringEquals: { 'test:Name': deep(100_000) } }), 'document'],
  ];

  test.each(refused)('%s', (_, document, path, says = /./) => {
    const problems = problemsOf(document);
    expect(problems.map((problem) => problem.path)).toContain(path);
    expect(problems.find((problem) => problem.path === path)?.message).toMatch(says);
    expect(lint(document, vocabulary).filter(({ level }) => level === 'error')).toHaveLength(problems.length);
  });

  test('with every problem at once', () => {
    const paths = problemsOf({ Version: 'x', Statement: [{ Effect: 'x', Action: 'x', Resource: 'x', Condition: { x: {} } }, 7] }).map(({ path }) => path);
    expect(paths).toEqual(['document.Version', `${S}.Effect`, `${S}.Action`, `${S}.Resource`, `${S}.Condition.x`, 'document.Statement.1']);
  });

  test('and nothing that all objects have is changed by it', () => {
    problemsOf(
      JSON.parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"Version":"2012-10-17","Statement":{"__proto__":{"polluted":1}}}'),
    );
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });
});

test('a key of the call that objects have by themselves is absent', () => {
  const policy = compile(held({ Null: { 'cloud:RequestLabel/constructor': 'true' } }));
  const request = { action: 'instance:get', resources: [crn('instance', 'web')] };
  expect(evaluate([policy], { ...request, context: {} }).effect).toBe('allow');
  expect(evaluate([policy], { ...request, context: { 'cloud:RequestLabel/constructor': 'x' } }).effect).toBe('none');
});

describe('lint warns', () => {
  const warned: readonly [name: string, statements: readonly Readonly<Record<string, unknown>>[], path: string, says: RegExp][] = [
    ['of what allows everything', [{ Effect: 'Allow', Action: '*', Resource: '*' }], 'Statement.0', /everything/],
    [
      'of a Sid that is there twice',
      [
        { Sid: 'a', Effect: 'Allow', Action: 'vpc:*', Resource: '*' },
        { Sid: 'a', Effect: 'Allow', Action: 'volume:*', Resource: '*' },
      ],
      'Statement.1.Sid',
      /a/,
    ],
    ['of NotAction with Allow', [{ Effect: 'Allow', NotAction: 'vpc:*', Resource: '*' }], 'Statement.0.NotAction', /later/],
    ['of NotResource with Allow', [{ Effect: 'Allow', Action: 'vpc:*', NotResource: crn('vpc', 'x') }], 'Statement.0.NotResource', /not named/],
    ['of a pattern that another has already', [{ Effect: 'Allow', Action: ['vpc:*', 'vpc:get'], Resource: '*' }], 'Statement.0.Action.1', /already/],
    [
      'of a statement that a Deny covers',
      [
        { Effect: 'Allow', Action: 'vpc:get', Resource: '*' },
        { Effect: 'Deny', Action: 'vpc:*', Resource: '*' },
      ],
      'Statement.0',
      /denies all/,
    ],
    [
      'of a star where none is understood',
      [{ Effect: 'Allow', Action: 'vpc:*', Resource: '*', Condition: { StringEquals: { 'test:Name': 'a*' } } }],
      'Statement.0.Condition.StringEquals.test:Name',
      /StringLike/,
    ],
    [
      'of ForAllValues',
      [{ Effect: 'Allow', Action: 'vpc:*', Resource: '*', Condition: { 'ForAllValues:StringEquals': { 'test:Names': 'a' } } }],
      'Statement.0.Condition.ForAllValues:StringEquals.test:Names',
      /absent/,
    ],
    [
      'of two texts at once',
      [{ Effect: 'Allow', Action: 'vpc:*', Resource: '*', Condition: { StringEquals: { 'test:Name': 'a' }, StringLike: { 'test:Name': 'b*' } } }],
      'Statement.0.Condition',
      /never/,
    ],
    [
      'of numbers that exclude each other',
      [{ Effect: 'Allow', Action: 'vpc:*', Resource: '*', Condition: { NumericLessThan: { 'test:Count': 5 }, NumericGreaterThan: { 'test:Count': 5 } } }],
      'Statement.0.Condition',
      /never/,
    ],
    [
      'of dates that exclude each other',
      [
        {
          Effect: 'Allow',
          Action: 'vpc:*',
          Resource: '*',
          Condition: { DateLessThan: { 'test:When': '2026-01-01' }, DateGreaterThan: { 'test:When': '2026-02-01' } },
        },
      ],
      'Statement.0.Condition',
      /never/,
    ],
    [
      'of a value of what is absent',
      [{ Effect: 'Allow', Action: 'vpc:*', Resource: '*', Condition: { Null: { 'test:Name': 'true' }, StringLike: { 'test:Name': '*' } } }],
      'Statement.0.Condition',
      /never/,
    ],
    ['of NotAction that leaves none', [{ Effect: 'Deny', NotAction: '*', Resource: '*' }], 'Statement.0.NotAction', /never/],
    [
      'of resources of another service',
      [{ Effect: 'Allow', Action: 'instance:*', Resource: [crn('instance', '*'), crn('vpc', '*')] }],
      'Statement.0.Resource.1',
      /never/,
    ],
    ['of a document that allows nothing', [{ Effect: 'Deny', Action: 'vpc:*', Resource: '*' }], 'Statement', /nothing is allowed/],
  ];

  test.each(warned)('%s', (_, statements, path, says) => {
    const findings = lint(documentOf(statements), vocabulary);
    expect(findings.every(({ level }) => level === 'warning')).toBe(true);
    expect(findings.find((finding) => finding.path === path)?.message).toMatch(says);
  });

  test.each([
    ['a plain statement', { Action: 'vpc:*', Resource: crn('vpc', '*') }],
    [
      'bounds that leave room',
      { Action: 'vpc:*', Resource: '*', Condition: { NumericLessThan: { 'test:Count': 6 }, NumericGreaterThan: { 'test:Count': 5 } } },
    ],
    [
      'one moment',
      {
        Action: 'vpc:*',
        Resource: '*',
        Condition: { DateLessThanEquals: { 'test:When': '2026-01-01' }, DateGreaterThanEquals: { 'test:When': '2026-01-01' } },
      },
    ],
    ['an escaped star', { Action: 'vpc:*', Resource: '*', Condition: { StringEquals: { 'test:Name': 'a${*}' } } }],
    [
      'what holds where the key is absent',
      { Action: 'vpc:*', Resource: '*', Condition: { StringEqualsIfExists: { 'test:Name': 'a' }, StringNotEquals: { 'test:Name': 'a' } } },
    ],
    ['a pattern that is wider than another', { Action: ['vpc:?et', 'vpc:l*'], Resource: [crn('vpc', 'a?'), crn('vpc', 'a*b')] }],
  ])('not of %s', (_, statement) => {
    expect(lint(documentOf([{ Effect: 'Allow', ...statement }]), vocabulary)).toEqual([]);
  });
});

describe('the guide', () => {
  const guide = readFileSync(join(import.meta.dirname, '../../../../../docs/guides/policies.md'), 'utf8');
  const examples = [...guide.matchAll(/^```json\n(.*?)^```/gms)].map(([, text]) => JSON.parse(text as string) as unknown);

  test('shows documents that are sound', () => {
    expect(examples.length).toBeGreaterThanOrEqual(4);
    for (const document of examples) {
      expect(problemsOf(document)).toEqual([]);
      expect(lint(document, vocabulary).filter(({ message }) => !/allows everything/.test(message))).toEqual([]);
    }
  });

  test('names every operator and every key', () => {
    for (const name of operators.keys()) expect(guide).toContain(`\`${name}\``);
    for (const { name } of cloudKeys) expect(guide).toContain(`\`${name}${name.endsWith('/') ? '<key>' : ''}\``);
  });

  test('says what its examples do', () => {
    const [web, outside, , own] = examples.map((document) => [compile(document)]);
    const decide = (policies: typeof web, action: string, service: string, name: string, context = {}) =>
      evaluate(policies ?? [], { action, resources: [crn(service, name)], context: { 'cloud:TenantId': 'tnt-0000000000000000', ...context } });
    expect(decide(web, 'instance:stop', 'instance', 'web-1').by?.sid).toBe('RunTheWeb');
    expect(decide(web, 'instance:delete', 'instance', 'web-1', { 'cloud:ResourceLabel/env': 'production' }).by?.sid).toBe('KeepProduction');
    expect(decide(web, 'instance:list', 'instance', '*').effect).toBe('none');
    expect(decide(outside, 'instance:stop', 'instance', 'a', { 'cloud:SourceIp': '192.0.2.1' }).effect).toBe('deny');
    expect(decide(outside, 'instance:stop', 'instance', 'a', { 'cloud:SourceIp': '10.1.1.1' }).effect).toBe('allow');
    expect(decide(outside, 'instance:stop', 'instance', 'a').effect).toBe('deny');
    expect(decide(own, 'volume:get', 'volume', 'usr-1-data', { 'cloud:PrincipalId': 'usr-1' }).effect).toBe('allow');
    expect(decide(own, 'volume:get', 'volume', 'usr-1-data', { 'cloud:PrincipalId': '*' }).effect).toBe('none');
  });
});
