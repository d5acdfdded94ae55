// The document holds together as OpenAPI 3.1 wants, and says what the contracts say.
import { API_PREFIX, ERRORS } from '@thecloud/core/contracts';
import { describe, expect, it } from 'vitest';
import { endpoints } from './endpoints.ts';
import { openapi } from './openapi.ts';

type Node = Record<string, unknown>;
interface Operation {
  operationId: string;
  summary?: string;
  parameters?: (Node & { name?: string; in?: string; $ref?: string })[];
  security?: Node[];
  requestBody?: { content: Record<string, { schema: Node; example?: Node }> };
  responses: Record<string, Node & { description?: string; $ref?: string }>;
}
const document = JSON.parse(JSON.stringify(openapi())) as {
  openapi: string;
  info: Node;
  paths: Record<string, Record<string, Operation>>;
  components: Record<string, Record<string, Node>>;
};
const operations = Object.entries(document.paths).flatMap(([path, item]) => Object.entries(item).map(([method, operation]) => ({ path, method, operation })));
const resolve = (ref: string): unknown =>
  ref
    .replace(/^#\//, '')
    .split('/')
    .reduce<unknown>((node, key) => (node as Node | undefined)?.[key], document);

function* nodes(node: unknown): Generator<Node> {
  if (Array.isArray(node)) for (const item of node) yield* nodes(item);
  else if (typeof node === 'object' && node !== null) {
    yield node as Node;
    for (const value of Object.values(node)) yield* nodes(value);
  }
}

/** Words of JSON Schema 2020-12 and of ours; anything else is a leak from the contracts. */
const SCHEMA_WORDS = new Set(
  'type enum const properties required additionalProperties propertyNames items prefixItems anyOf oneOf allOf not $ref description default examples format pattern minimum maximum exclusiveMinimum exclusiveMaximum minLength maxLength minItems maxItems uniqueItems contentEncoding writeOnly readOnly x-cloud-immutable x-cloud-ref'.split(
    ' ',
  ),
);
function checkSchema(schema: Node, where: string): void {
  for (const word of Object.keys(schema)) expect(SCHEMA_WORDS, `${where}: ${word}`).toContain(word);
  const inner = [
    ...Object.entries((schema.properties as Record<string, Node> | undefined) ?? {}),
    ...['anyOf', 'oneOf', 'allOf', 'prefixItems'].flatMap((word) => Object.entries((schema[word] as Node[] | undefined) ?? [])),
    ...['items', 'additionalProperties', 'propertyNames', 'not']
      .filter((word) => typeof schema[word] === 'object')
      .map((word) => [word, schema[word]] as const),
  ] as [string, Node][];
  for (const [key, value] of inner) checkSchema(value, `${where}.${key}`);
  if (typeof schema.pattern === 'string') new RegExp(schema.pattern, 'u');
  for (const field of (schema.required as string[] | undefined) ?? []) expect(schema.properties, `${where} requires ${field}`).toHaveProperty([field]);
}

describe('openapi', () => {
  it('has the frame of a 3.1 document', () => {
    expect(document.openapi).toMatch(/^3\.1\.\d+$/);
    expect(document.info).toMatchObject({ title: expect.any(String) as string, version: 'v1' });
    expect(Object.keys(document.paths).every((path) => path.startsWith('/'))).toBe(true);
  });

  it('has every public operation once, where it is served', () => {
    const found = operations
      .filter(({ path }) => path.startsWith(API_PREFIX))
      .map(({ path, method, operation }) => `${method.toUpperCase()} ${path} ${operation.operationId}`);
    expect(found.sort()).toEqual(endpoints.map(({ route, service, name }) => `${route.method} ${route.path} ${service}.${name}`).sort());
    expect(new Set(operations.map(({ operation }) => operation.operationId)).size).toBe(operations.length);
    expect(new Set(endpoints.map(({ route }) => `${route.method} ${route.path}`)).size, 'no two operations share a route').toBe(endpoints.length);
  });

  it('refers only to what is there', () => {
    for (const { $ref } of nodes(document)) if (typeof $ref === 'string') expect(resolve($ref), $ref).toBeTypeOf('object');
  });

  it('declares each path parameter, once', () => {
    for (const { path, operation } of operations) {
      const declared = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path').map(({ name }) => name);
      expect(declared, path).toEqual([...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name));
      const keys = (operation.parameters ?? []).map(({ $ref, name, in: place }) => $ref ?? `${place} ${name}`);
      expect(new Set(keys).size, path).toBe(keys.length);
    }
  });

  it('describes each answer, and lists errors of the table only', () => {
    const statuses = new Set(Object.values(ERRORS).map(({ status }) => String(status)));
    for (const { path, method, operation } of operations) {
      expect(operation.summary, `${method} ${path}`).toBeTruthy();
      for (const [status, response] of Object.entries(operation.responses)) {
        const described = response.$ref === undefined ? response : (resolve(response.$ref) as Node);
        expect(described.description, `${method} ${path} ${status}`).toBeTypeOf('string');
        if (Number(status) >= 400) expect(statuses, `${method} ${path}`).toContain(status);
      }
      expect(
        Object.keys(operation.responses).some((status) => Number(status) < 400),
        `${method} ${path}`,
      ).toBe(true);
    }
  });

  it('says what each operation needs to be asked with', () => {
    for (const { route, operation } of endpoints) {
      const found = document.paths[route.path]?.[route.method.toLowerCase()];
      const names = (found?.security ?? []).flatMap((scheme) => Object.keys(scheme));
      expect(names, route.path).toEqual(operation.access === 'anonymous' ? [] : operation.access === 'administrator' ? ['token'] : ['token', 'apiKey']);
      const tenant = (found?.parameters ?? []).some(({ $ref }) => $ref === '#/components/parameters/Tenant');
      expect(tenant, route.path).toBe(operation.access !== 'anonymous');
      expect(Object.keys(found?.responses ?? {}), route.path).toEqual(expect.arrayContaining(['401', '403', '429']));
    }
    expect(document.components.parameters?.Tenant).toMatchObject({ name: 'X-Tenant', in: 'header' });
    for (const name of ['token', 'apiKey']) expect(document.components.securitySchemes?.[name]).toMatchObject({ type: 'http', scheme: 'bearer' });
  });

  it('has schemas of JSON Schema only', () => {
    for (const [name, schema] of Object.entries(document.components.schemas ?? {})) checkSchema(schema, name);
    for (const { path, method, operation } of operations) {
      for (const parameter of operation.parameters ?? [])
        if (parameter.schema !== undefined) checkSchema(parameter.schema as Node, `${path} ${parameter.name}`);
      for (const { schema } of Object.values(operation.requestBody?.content ?? {})) checkSchema(schema, `${method} ${path}`);
    }
  });

  it('has examples that the contracts accept', () => {
    let examples = 0;
    for (const { route, operation } of endpoints) {
      const example = document.paths[route.path]?.[route.method.toLowerCase()]?.requestBody?.content['application/json']?.example;
      if (example === undefined) continue;
      examples++;
      const parsed = operation.input.safeParse(example);
      expect(parsed.error?.issues, `${route.method} ${route.path}: ${JSON.stringify(example)}`).toBeUndefined();
    }
    expect(examples).toBeGreaterThan(5);
  });
});
