// What holds for every document: a naive evaluator agrees, denies only take away, order is nothing, and no text makes the engine crash or crawl.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Fault } from '../errors.ts';
import { type CompiledPolicy, compilePolicy, evaluate, explain, lint, type PolicyRequest } from './index.ts';
import { fits, matchTokens, templateOf } from './pattern.ts';
import { vocabulary } from './testing/cases.ts';
import { lettersOf, type ReferenceStatement, recursiveMatch, referenceDecision } from './testing/reference.ts';

const TENANT = 'tnt-1';
const service = fc.constantFrom('instance', 'vpc');
const actionPattern = fc.constantFrom('instance:get', 'instance:*', '*', '*:get', 'INSTANCE:g?t', 'vpc:list', 'vpc:*', 'i*:*e*', '*:?ist');
const resourcePattern = fc.oneof(
  fc.constant('*'),
  fc
    .tuple(
      fc.constantFrom('', '*', TENANT, 'tnt-?', '${cloud:TenantId}'),
      service,
      fc.constantFrom('*', 'a', 'b', 'a*', '?', '*b', '${test:Name}', "${test:Name, 'a'}", '${*}'),
    )
    .map(([tenant, of, name]) => `crn:cloud:${tenant}:${of}:${of}/${name}`),
);
const some = <T>(one: fc.Arbitrary<T>) => fc.oneof(one, fc.array(one, { minLength: 1, maxLength: 3 }));
const text = fc.constantFrom('', 'a', 'A', 'b', 'ab', '*', 'a*', '?b', '${test:Name}', '${cloud:TenantName}', "${cloud:TenantName, 'b'}", '${?}');
const suffix = fc.constantFrom('', 'IfExists');
const stringOperator = fc.constantFrom('StringEquals', 'StringNotEquals', 'StringEqualsIgnoreCase', 'StringNotEqualsIgnoreCase', 'StringLike', 'StringNotLike');
const numericOperator = fc.constantFrom(
  'NumericEquals',
  'NumericNotEquals',
  'NumericLessThan',
  'NumericLessThanEquals',
  'NumericGreaterThan',
  'NumericGreaterThanEquals',
);
const set = fc.constantFrom('ForAnyValue:', 'ForAllValues:');
const maybeSet = fc.oneof(fc.constant(''), set);
const entry = fc.oneof(
  fc.tuple(maybeSet, stringOperator, suffix, fc.constantFrom('test:Name', 'cloud:ResourceLabel/team'), some(text)),
  fc.tuple(set, stringOperator, suffix, fc.constant('test:Names'), some(text)),
  fc.tuple(maybeSet, numericOperator, suffix, fc.constant('test:Count'), some(fc.constantFrom<string | number>(0, 1, '2'))),
  fc.tuple(
    fc.constant(''),
    fc.constant('Null'),
    fc.constant(''),
    fc.constantFrom('test:Name', 'test:Names'),
    some(fc.constantFrom<string | boolean>('true', false)),
  ),
);
const condition = fc.array(entry, { maxLength: 2 }).map((entries) => {
  const made: Record<string, Record<string, string | number | boolean | (string | number | boolean)[]>> = {};
  for (const [before, operator, after, key, values] of entries) made[`${before}${operator}${after}`] = { [key]: values };
  return made;
});
const statement: fc.Arbitrary<ReferenceStatement> = fc
  .record({
    Effect: fc.constantFrom('Allow' as const, 'Deny' as const),
    action: fc.tuple(fc.constantFrom('Action', 'Action', 'NotAction'), some(actionPattern)),
    resource: fc.tuple(fc.constantFrom('Resource', 'Resource', 'NotResource'), some(resourcePattern)),
    Condition: fc.option(condition, { nil: undefined }),
  })
  .map(({ Effect, action: [act, actions], resource: [on, resources], Condition }) => ({
    Effect,
    [act]: actions,
    [on]: resources,
    ...(Condition === undefined ? {} : { Condition }),
  }));
const statements = fc.array(statement, { minLength: 1, maxLength: 4 });
const documents = fc.array(statements, { maxLength: 4 });
const request: fc.Arbitrary<PolicyRequest> = fc.record({
  action: fc.constantFrom('instance:get', 'Instance:GET', 'instance:delete', 'vpc:list', 'vpc:get'),
  resources: fc
    .tuple(service, fc.uniqueArray(fc.constantFrom('a', 'b', 'ab', '*', 'id-1'), { minLength: 1, maxLength: 2 }))
    .map(([of, names]) => names.map((name) => `crn:cloud:${TENANT}:${of}:${of}/${name}`)),
  context: fc
    .record(
      {
        'cloud:TenantId': fc.constant(TENANT),
        'cloud:TenantName': fc.constantFrom('a', 'b', '*'),
        'cloud:ResourceLabel/team': fc.constantFrom('', 'a', 'ab'),
        'test:Name': fc.constantFrom('', 'a', 'A', 'b', 'ab', '*'),
        'test:Names': fc.array(fc.constantFrom('a', 'b', 'ab', 'A'), { maxLength: 3 }),
        'test:Count': fc.constantFrom<string | number>(0, 1, '2', 3),
      },
      { requiredKeys: [] },
    )
    .map((context) => ({ ...context })),
});

const compile = (all: readonly (readonly ReferenceStatement[])[]): CompiledPolicy[] =>
  all.map((each, index) => compilePolicy(`pol-${index}`, `p${index}`, { Version: '2012-10-17', Statement: each }, vocabulary));
const effect = (all: readonly (readonly ReferenceStatement[])[], asked: PolicyRequest) => evaluate(compile(all), asked).effect;
const runs = { numRuns: 1500 };

describe('decisions', () => {
  test('are those of a naive evaluator', () => {
    fc.assert(
      fc.property(documents, request, (all, asked) => {
        expect(effect(all, asked)).toBe(referenceDecision(all.flat(), asked));
      }),
      { numRuns: 4000 },
    );
  });

  test('name a statement that says so', () => {
    fc.assert(
      fc.property(documents, request, (all, asked) => {
        const decided = evaluate(compile(all), asked);
        if (decided.by === undefined) {
          expect(decided.effect).toBe('none');
          return;
        }
        const by = all[Number(decided.by.policyId.slice('pol-'.length))]?.[decided.by.index] as ReferenceStatement;
        expect(referenceDecision([by], asked)).toBe(decided.effect);
      }),
      runs,
    );
  });

  test('are explained as they are made', () => {
    fc.assert(
      fc.property(documents, request, (all, asked) => {
        const policies = compile(all);
        const { decision, statements: explained, wouldAllow } = explain(policies, asked);
        expect(decision).toEqual(evaluate(policies, asked));
        expect(explained.map(({ matched }) => matched)).toEqual(all.flat().map((each) => referenceDecision([each], asked) !== 'none'));
        expect(wouldAllow === undefined).toBe(decision.effect === 'allow');
      }),
      runs,
    );
  });

  test('never become more by a Deny', () => {
    fc.assert(
      fc.property(documents, statement, request, fc.nat(4), (all, added, asked, at) => {
        const denying = [...all.slice(0, at), [{ ...added, Effect: 'Deny' as const }], ...all.slice(at)];
        if (effect(all, asked) !== 'allow') expect(effect(denying, asked)).not.toBe('allow');
      }),
      runs,
    );
  });

  test('never become less by an Allow', () => {
    fc.assert(
      fc.property(documents, statement, request, (all, added, asked) => {
        const before = effect(all, asked);
        const after = effect([...all, [{ ...added, Effect: 'Allow' as const }]], asked);
        expect(before === 'none' ? ['none', 'allow'] : [before]).toContain(after);
      }),
      runs,
    );
  });

  test('do not depend on the order of statements and policies', () => {
    const shuffled = documents.chain((all) =>
      fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }), fc.shuffledSubarray(all.flat(), { minLength: all.flat().length })),
    );
    fc.assert(
      fc.property(shuffled, request, ([all, policies, flat], asked) => {
        expect(effect(policies, asked)).toBe(effect(all, asked));
        expect(effect(flat.length === 0 ? [] : [flat], asked)).toBe(effect(all, asked));
      }),
      runs,
    );
  });

  test('are the same when a list is asked again, and of a list that was never asked', () => {
    fc.assert(
      fc.property(documents, fc.array(request, { minLength: 1, maxLength: 4 }), (all, asked) => {
        const policies = compile(all);
        const first = asked.map((each) => evaluate(policies, each));
        expect(asked.map((each) => evaluate(policies, each))).toEqual(first);
        expect(asked.map((each) => evaluate([...policies], each))).toEqual(first);
      }),
      { numRuns: 500 },
    );
  });
});

describe('patterns', () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', '*', '?'), maxLength: 8 });
  const plain = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 9 });

  test('fit as they do for a matcher that tries everything', () => {
    fc.assert(
      fc.property(letters, plain, (pattern, value) => {
        expect(fits(templateOf(pattern, { wildcards: true }), value, {})).toBe(recursiveMatch(lettersOf(pattern, {}, true) as never, value));
      }),
      { numRuns: 5000 },
    );
  });

  test('take no more steps than the lengths multiplied', () => {
    const steps = (pattern: string, value: string): number => {
      const count = { count: 0 };
      matchTokens(templateOf(pattern, { wildcards: true }).tokens ?? [], value, count);
      return count.count;
    };
    const most = (pattern: string, value: string): number => (pattern.length + 1) * (value.length + 1);
    for (const [pattern, value] of [
      [`${'*a'.repeat(1000)}*b`, 'a'.repeat(2000)],
      [`${'*a'.repeat(30)}b`, 'a'.repeat(2000)],
      [`${'*'.repeat(2000)}b`, 'a'.repeat(2000)],
      [`*${'a'.repeat(1000)}b`, 'a'.repeat(2000)],
      [`${'?*'.repeat(1000)}b`, 'a'.repeat(2000)],
    ] as const) {
      expect(steps(pattern, value)).toBeLessThanOrEqual(most(pattern, value));
    }
    fc.assert(fc.property(letters, plain, (pattern, value) => steps(pattern, value) <= most(pattern, value)));
  });
});

describe('whatever is written', () => {
  /** Compiles it or says `invalid_input`, and lint agrees. */
  const compiles = (document: unknown): boolean => {
    const errors = lint(document, vocabulary).filter(({ level }) => level === 'error');
    try {
      const policy = compilePolicy('pol-1', 'one', document, vocabulary);
      evaluate([policy], { action: 'instance:get', resources: ['crn:cloud:t:instance:instance/a'], context: { 'test:Name': 'a' } });
      explain([policy], { action: 'instance:get', resources: [], context: {} });
      expect(errors).toEqual([]);
      return true;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      expect(error.code).toBe('invalid_input');
      expect(errors.length).toBeGreaterThan(0);
      expect((error.details as unknown[]).length).toBe(errors.length);
      return false;
    }
  };

  test('any JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), (document) => void compiles(document)),
      runs,
    );
  });

  const words = fc.constantFrom(
    ...[
      'Version',
      'Id',
      'Statement',
      'Sid',
      'Effect',
      'Action',
      'NotAction',
      'Resource',
      'NotResource',
      'Condition',
      'Principal',
      '2012-10-17',
      'Allow',
      'Deny',
    ],
    ...['instance:get', '*', 'crn:cloud:*:instance:instance/*', 'crn:', 'StringEquals', 'ForAnyValue:StringLike', 'NumericEquals', 'Null', 'IpAddress', 'Bool'],
    ...[
      'test:Name',
      'cloud:SourceIp',
      'cloud:RequestLabel/',
      '10.0.0.0/8',
      '::/0',
      '${test:Name}',
      '${',
      "${a, '",
      '${}',
      'true',
      '__proto__',
      'constructor',
      'toString',
      '',
    ],
  );
  const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
    tree: fc.oneof(
      { depthSize: 'medium' },
      words,
      fc.constantFrom(null, true, 1, -0, 1e308),
      fc.array(tie('tree'), { maxLength: 4 }),
      fc
        .array(fc.tuple(words, tie('tree')), { maxLength: 5 })
        .map((entries) => JSON.parse(`{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`) as unknown),
    ),
  }));

  test('trees of the words of the language', () => {
    fc.assert(
      fc.property(tree, (document) => void compiles(document)),
      runs,
    );
    fc.assert(
      fc.property(tree, tree, tree, (action, resource, held) => {
        compiles({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: action, Resource: resource, Condition: held }] });
      }),
      runs,
    );
  });

  test('a sound document with one thing changed', () => {
    fc.assert(
      fc.property(statements, fc.nat(), tree, (all, where, other) => {
        const document = JSON.parse(JSON.stringify({ Version: '2012-10-17', Statement: all })) as Record<string, unknown>;
        expect(compiles(document)).toBe(true);
        const places: [Record<string, unknown>, string][] = [];
        const walk = (node: unknown): void => {
          if (typeof node !== 'object' || node === null) return;
          for (const key of Object.keys(node)) {
            places.push([node as Record<string, unknown>, key]);
            walk((node as Record<string, unknown>)[key]);
          }
        };
        walk(document);
        const [node, key] = places[where % places.length] as [Record<string, unknown>, string];
        node[key] = other;
        compiles(document);
      }),
      runs,
    );
  });

  test('any text in every place of a text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (value) => {
        compiles({ Version: '2012-10-17', Id: value, Statement: { Sid: value, Effect: 'Allow', Action: value, Resource: `crn:${value}` } });
        compiles({
          Version: '2012-10-17',
          Statement: { Effect: 'Allow', Action: '*', Resource: '*', Condition: { StringLike: { 'test:Name': value, [value]: value } } },
        });
        compiles({
          Version: '2012-10-17',
          Statement: { Effect: 'Allow', Action: '*', Resource: '*', Condition: { [value]: { 'test:Name': value }, IpAddress: { 'cloud:SourceIp': value } } },
        });
      }),
      runs,
    );
  });
});
