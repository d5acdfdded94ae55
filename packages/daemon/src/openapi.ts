// OpenAPI 3.1 from the contracts: the document of `/openapi.json`, and `docs/openapi.json` in the repository.
import {
  API_PREFIX,
  CHANNEL_PROTOCOL,
  type Contract,
  contracts,
  ERRORS,
  type ErrorCode,
  type FieldMeta,
  fieldMeta,
  HEADER,
  inputShape,
  STREAM_PROTOCOL,
  unwrap,
} from '@thecloud/core/contracts';
import { z } from 'zod';
import { type Endpoint, endpoints } from './endpoints.ts';

type Json = Record<string, unknown>;

const pascal = (name: string): string => name.replace(/(?:^|-)([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
const ref = (kind: string, name: string): Json => ({ $ref: `#/components/${kind}/${name}` });

/** What a resource looks like is described once; everything else refers to it. */
const shared = new Map<unknown, string>();
for (const { resource, operations } of Object.values(contracts) as Contract[]) {
  const items = operations.list === undefined ? undefined : (operations.list.output as z.ZodObject).shape.items;
  const view = operations.get?.output ?? (items instanceof z.ZodArray ? (items.def.element as z.ZodType) : undefined);
  if (view !== undefined) shared.set(view, pascal(resource.name));
}

/** Facts about fields that matter to callers; how the CLI spells them does not. */
const EXTENSIONS = { immutable: 'x-cloud-immutable', ref: 'x-cloud-ref' } as const satisfies Partial<Record<keyof FieldMeta, string>>;
const INTERNAL = ['cli', 'weak', 'secret', 'example'];
const isSafeBound = (bound: unknown): boolean => bound === Number.MAX_SAFE_INTEGER || bound === Number.MIN_SAFE_INTEGER;

function schemaOf(schema: z.ZodType, io: 'input' | 'output', root = false): Json {
  const name = shared.get(schema);
  if (name !== undefined && !root) return ref('schemas', name);
  const { $schema, $defs, ...json } = z.toJSONSchema(schema, {
    target: 'draft-2020-12',
    io,
    unrepresentable: 'any',
    override: ({ zodSchema, jsonSchema: node, path }) => {
      const known = shared.get(zodSchema);
      if (known !== undefined && !(root && path.length === 0)) {
        for (const key of Object.keys(node)) delete node[key];
        Object.assign(node, ref('schemas', known));
        return;
      }
      if (node.example !== undefined) node.examples = [node.example];
      if (node.secret === true && io === 'input') node.writeOnly = true;
      for (const [from, to] of Object.entries(EXTENSIONS)) {
        if (node[from] !== undefined) node[to] = node[from];
        delete node[from];
      }
      for (const key of INTERNAL) delete node[key];
      if (node.format !== undefined) delete node.pattern;
      // A field that a later version adds must not break a client of today.
      if (io === 'output' && node.additionalProperties === false) delete node.additionalProperties;
      // zod's own bounds of every whole number say nothing about the field.
      if (isSafeBound(node.minimum)) delete node.minimum;
      if (isSafeBound(node.maximum)) delete node.maximum;
    },
  });
  return $defs === undefined ? json : (withoutDefs(json) as Json);
}

/** The one thing in contracts that refers to itself is JSON of any kind, and that needs no definition. */
function withoutDefs(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(withoutDefs);
  if (typeof node !== 'object' || node === null) return node;
  if (String((node as Json).$ref).startsWith('#/$defs/')) return {};
  return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, withoutDefs(value)]));
}

/** A body of the fields with examples, if it would be accepted in form. */
function exampleOf(endpoint: Endpoint): Json | undefined {
  const fields = Object.entries(inputShape(endpoint.operation)).flatMap(([name, schema]) => {
    const { example, ref: resource } = fieldMeta(schema);
    const required = !schema.safeParse(undefined).success;
    const shown = example ?? (required && resource !== undefined ? `my-${resource}` : undefined);
    return shown === undefined ? [] : [[name, shown] as const];
  });
  const example = Object.fromEntries(fields);
  return fields.length > 0 && endpoint.operation.input.safeParse(example).success ? example : undefined;
}

function queryParameters(endpoint: Endpoint): Json[] {
  return Object.entries(inputShape(endpoint.operation)).map(([name, schema]) => {
    const inner = unwrap(schema);
    const { description, ...json } = schemaOf(schema, 'input');
    // `wire.ts` sends anything nested as JSON, and a list as a repeated parameter.
    const nested = inner instanceof z.ZodObject || inner instanceof z.ZodRecord;
    return {
      name,
      in: 'query',
      ...(description === undefined ? {} : { description }),
      required: !schema.safeParse(undefined).success,
      ...(nested
        ? { content: { 'application/json': { schema: json } } }
        : { schema: json, ...(inner instanceof z.ZodArray ? { style: 'form', explode: true } : {}) }),
    };
  });
}

function errorsOf({ operation, contract }: Endpoint): ErrorCode[] {
  // Even what is open to anybody refuses wrong passwords, and pages of other sites.
  const codes: ErrorCode[] = ['invalid_input', 'unauthenticated', 'forbidden'];
  const input = inputShape(operation);
  const refs = Object.values(input).some((schema) => fieldMeta(schema).ref !== undefined);
  if (operation.target || refs) codes.push('not_found');
  if (operation.kind === 'write') codes.push('conflict');
  if (operation.kind === 'write' && operation.target) codes.push('stale');
  if (operation.kind === 'write') codes.push('quota_exceeded');
  codes.push('rate_limited', 'internal');
  if (operation.kind !== 'read' || !contract.resource.stored) codes.push('unsupported');
  codes.push('unavailable');
  if (input.timeout !== undefined && operation.kind === 'read') codes.push('timeout');
  return codes;
}

/** One response a status; codes that share one are told apart in the body. */
const responseName = (status: number): string =>
  (Object.entries(ERRORS) as [ErrorCode, { status: number }][])
    .filter(([, error]) => error.status === status)
    .map(([code]) => pascal(code.replaceAll('_', '-')))
    .join('Or');

function success(endpoint: Endpoint): Json {
  const { operation } = endpoint;
  const schema = schemaOf(operation.output, 'output');
  if (operation.kind === 'channel') {
    return {
      '101': {
        description: `A WebSocket of subprotocol ${CHANNEL_PROTOCOL}; the result that ends it is described by x-cloud-result`,
        'x-cloud-result': schema,
      },
    };
  }
  const requestId = { 'X-Request-Id': ref('headers', 'RequestId') };
  if (operation.kind === 'stream') {
    return {
      '200': {
        description: 'Items as they come, each the JSON of one `data:` line; a failure is an event `error` with a Fault',
        headers: requestId,
        content: { 'text/event-stream': { schema: { type: 'string' }, 'x-cloud-item': schema } },
      },
      '101': { description: `The same items, each a text message, over a WebSocket of subprotocol ${STREAM_PROTOCOL}` },
    };
  }
  const etag = operation.answersResource ? { ETag: ref('headers', 'ETag') } : {};
  const answer = (description: string, headers: Json) => ({ description, headers: { ...requestId, ...headers }, content: { 'application/json': { schema } } });
  if (operation.async) {
    return {
      '202': answer('Accepted; the operation tells when it is done', { ...etag, Operation: ref('headers', 'Operation') }),
      '200': answer('Nothing was left to be done', etag),
    };
  }
  return operation.standard === 'create' ? { '201': answer('Created', etag) } : { '200': answer('Done', etag) };
}

function pathItem(endpoint: Endpoint): Json {
  const { operation, contract, service, name, route, parameter } = endpoint;
  const parameters: Json[] = [];
  if (parameter !== undefined) {
    parameters.push({
      name: parameter,
      in: 'path',
      required: true,
      description: `Name or id of the ${service.replaceAll('-', ' ')}`,
      schema: { type: 'string' },
    });
  }
  if (route.query) parameters.push(...queryParameters(endpoint));
  const open = operation.access === 'anonymous';
  if (!open) parameters.push(ref('parameters', 'Tenant'));
  parameters.push(ref('parameters', 'RequestId'));
  if (operation.kind === 'write') parameters.push(ref('parameters', 'IdempotencyKey'));
  if (operation.kind === 'write' && operation.target) parameters.push(ref('parameters', 'IfMatch'));
  const example = exampleOf(endpoint);
  const statuses = new Set(errorsOf(endpoint).map((code) => ERRORS[code].status));
  return {
    operationId: `${service}.${name}`,
    tags: [contract.resource.name],
    summary: operation.summary,
    ...(operation.description === undefined ? {} : { description: operation.description }),
    // Whoever can open the socket needs no credentials; of installation administrators no key is taken.
    security: open ? [] : operation.access === 'administrator' ? [{ token: [] }, {}] : [{ token: [] }, { apiKey: [] }, {}],
    ...(operation.access === 'administrator' ? { 'x-cloud-administrator': true } : {}),
    parameters,
    ...(route.query
      ? {}
      : {
          requestBody: {
            required: !operation.input.safeParse({}).success,
            content: { 'application/json': { schema: schemaOf(operation.input, 'input'), ...(example === undefined ? {} : { example }) } },
          },
        }),
    responses: {
      ...success(endpoint),
      ...Object.fromEntries([...statuses].sort((a, b) => a - b).map((status) => [String(status), ref('responses', responseName(status))])),
    },
  };
}

function components(): Json {
  const schemas: Json = {
    Fault: {
      type: 'object',
      description: 'What every error looks like',
      properties: {
        code: {
          enum: Object.keys(ERRORS),
          description: Object.entries(ERRORS)
            .map(([code, { meaning }]) => `\`${code}\`: ${meaning}`)
            .join('. '),
        },
        message: { type: 'string', description: 'One sentence for people' },
        details: { description: 'For programs; of `invalid_input` a list of `{ path, message }`' },
        hint: { type: 'string', description: 'What to do next, often a command to type' },
        requestId: { type: 'string' },
      },
      required: ['code', 'message'],
    },
    ErrorBody: { type: 'object', properties: { error: ref('schemas', 'Fault') }, required: ['error'] },
  };
  for (const [schema, name] of shared) schemas[name] = schemaOf(schema as z.ZodType, 'output', true);

  const responses: Json = {};
  for (const status of new Set(Object.values(ERRORS).map((error) => error.status))) {
    const codes = (Object.keys(ERRORS) as ErrorCode[]).filter((code) => ERRORS[code].status === status);
    const retry = codes.some((code) => ERRORS[code].retry);
    responses[responseName(status)] = {
      description: codes.map((code) => `\`${code}\`: ${ERRORS[code].meaning}`).join('; '),
      headers: {
        'X-Request-Id': ref('headers', 'RequestId'),
        ...(retry ? { 'Retry-After': ref('headers', 'RetryAfter') } : {}),
        ...(codes.includes('unauthenticated') ? { 'WWW-Authenticate': ref('headers', 'Challenge') } : {}),
        ...(codes.includes('rate_limited')
          ? Object.fromEntries(Object.keys(LIMIT_HEADERS).map((header) => [header, ref('headers', header.replaceAll('-', ''))]))
          : {}),
      },
      content: { 'application/json': { schema: ref('schemas', 'ErrorBody') } },
    };
  }
  const text = { schema: { type: 'string' } };
  const header = (name: string, description: string, schema: Json = { type: 'string' }) => ({ name, in: 'header', required: false, description, schema });
  return {
    schemas,
    responses,
    parameters: {
      Tenant: header(headerName(HEADER.tenant), "Name or id of the tenant to act in; the caller's own when absent"),
      RequestId: header(headerName(HEADER.requestId), 'A name for this call in logs and audit; made up when absent', {
        type: 'string',
        pattern: '^[\\w.:-]{1,128}$',
      }),
      IdempotencyKey: header(headerName(HEADER.idempotencyKey), 'Repeating a write with the same key for 24 hours changes nothing and gives the first answer', {
        type: 'string',
        pattern: '^[\\x21-\\x7e]{1,255}$',
      }),
      IfMatch: header(headerName(HEADER.ifMatch), 'Only if the target still has this generation (the ETag of the answer that was read), else `stale`', {
        type: 'string',
        examples: ['"3"'],
      }),
    },
    headers: {
      RequestId: { description: 'Name of this call in logs and audit', ...text },
      ETag: { description: 'Generation of the resource, for If-Match. It counts changes of what is wanted, not of the status', ...text },
      Operation: { description: `Id of the operation to wait for: \`GET ${API_PREFIX}/operations/{operation}/wait\``, ...text },
      RetryAfter: { description: 'Seconds', schema: { type: 'integer' } },
      Challenge: { description: 'RFC 6750 §3: `error="invalid_token"` when a token or key came along and was refused', ...text },
      ...Object.fromEntries(
        Object.entries(LIMIT_HEADERS).map(([name, description]) => [name.replaceAll('-', ''), { description, schema: { type: 'integer' } }]),
      ),
    },
    securitySchemes: {
      token: {
        type: 'http',
        scheme: 'bearer',
        bearerFormat: 'JWT',
        description:
          'Access token of `POST /v1/auth/login` or `/v1/auth/client-token`; for the first call over TCP also the token in the file `admin-token` of the data directory. Over the Unix socket, calls without one are those of its owner',
      },
      apiKey: { type: 'http', scheme: 'bearer', bearerFormat: 'tck_…', description: 'API key of a user or service account, good for one tenant' },
    },
  };
}

/** Over TCP, of the caller. */
const LIMIT_HEADERS = {
  'RateLimit-Limit': 'Calls in a window',
  'RateLimit-Remaining': 'Calls left in this one',
  'RateLimit-Reset': 'Seconds until the next',
} as const;

/** `x-tenant` → `X-Tenant`. */
const headerName = (name: string): string => name.replace(/(?:^|-)[a-z]/g, (letters) => letters.toUpperCase());

let document: Json | undefined;

/** The same object at every call; not to be changed. */
export function openapi(): Json {
  if (document !== undefined) return document;
  const paths: Record<string, Json> = {};
  for (const endpoint of endpoints) {
    const { path, method } = endpoint.route;
    paths[path] = { ...paths[path], [method.toLowerCase()]: pathItem(endpoint) };
  }
  const plain = (description: string, type: string, schema: Json) => ({ '200': { description, content: { [type]: { schema } } } });
  document = {
    openapi: '3.1.0',
    info: {
      title: 'The Cloud',
      version: API_PREFIX.slice(1),
      summary: "A cloud on one's own machine",
      description: 'Generated from the contracts. Served over a Unix socket, and over TCP when asked for.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: 'http://localhost', description: 'The Unix socket `cloud.sock` in the data directory, or a TCP address' }],
    security: [{ token: [] }, { apiKey: [] }, {}],
    tags: (Object.values(contracts) as Contract[]).map(({ resource }) => ({
      name: resource.name,
      description: [resource.summary, resource.description].filter((text) => text !== undefined).join('. '),
    })),
    paths: {
      ...paths,
      '/healthz': {
        get: {
          operationId: 'healthz',
          summary: 'Whether the daemon answers',
          security: [],
          responses: plain('It does', 'application/json', { type: 'object', properties: { ok: { const: true } }, required: ['ok'] }),
        },
      },
      '/metrics': {
        get: {
          operationId: 'metrics',
          summary: 'Metrics for Prometheus',
          security: [{ token: [] }, {}],
          'x-cloud-administrator': true,
          responses: {
            ...plain('Text form', 'text/plain', { type: 'string' }),
            '401': ref('responses', 'Unauthenticated'),
            '403': ref('responses', 'Forbidden'),
          },
        },
      },
      '/openapi.json': { get: { operationId: 'openapi', summary: 'This document', responses: plain('OpenAPI 3.1', 'application/json', { type: 'object' }) } },
    },
    components: components(),
  };
  return document;
}
