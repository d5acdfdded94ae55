// What AWS documents, row by row, and what a document may not say.
import { describe, expect, test } from 'vitest';
import { Fault, type FieldProblem } from '../errors.ts';
import { compilePolicy, evaluate, explain, lint } from './index.ts';
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
