// The source of truth: what a resource is and what can be done with it, as zod and plain data.
// Routes, OpenAPI, the typed client, CLI commands, permissions and a matrix of tests derive from here; no HTTP words, no handlers.
import { z } from 'zod';
import { withArticle, words } from './words.ts';

export interface FieldMeta {
  /** Set at creation, never changed. */
  immutable?: boolean;
  /** Stored, never shown: outputs carry `[REDACTED]`. */
  secret?: boolean;
  example?: unknown;
  /** The value is the name or id of this resource. Resolved before the handler runs; `<field>` then holds the name, `<field>Id` the id. */
  ref?: string;
  /** With `ref`: the thing referred to may be deleted all the same (provenance, not use). */
  weak?: boolean;
  cli?: {
    /** Flag name, when not the field's own in kebab case. */
    flag?: string;
    char?: string;
    /** Second and later positional arguments, in field order. A rest argument (array) comes last. */
    positional?: boolean;
    /** Value may be given as `@file`, or `-` for standard input. */
    file?: boolean;
    /** Not offered as a flag (set by the CLI itself). */
    hidden?: boolean;
    /** A number of seconds: may be written `5m`, and is shown with its unit. */
    seconds?: boolean;
  };
}

declare module 'zod' {
  interface GlobalMeta extends FieldMeta {}
}

export type Shape = Readonly<Record<string, z.ZodType>>;

/**
 * Who may try: `role` whoever a role or policy of the tenant lets; `administrator` those of the installation; `authenticated` everybody who is known
 * (about themselves); `anonymous` everybody.
 */
export type Access = 'role' | 'administrator' | 'authenticated' | 'anonymous';

/** `read` changes nothing; `write` runs in a transaction and is audited; `stream` yields items until closed; `channel` carries bytes both ways. */
export type Kind = 'read' | 'write' | 'stream' | 'channel';

export const NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const ID_LIKE = /^[a-z]+-[0-9a-hjkmnp-tv-z]{16}$/;

export const nameField = z
  .string()
  .regex(NAME, 'use 1 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends')
  .refine((name) => !ID_LIKE.test(name), 'this looks like an id; choose another name')
  .meta({ immutable: true, description: 'Name, unique per tenant', example: 'web' });

const LABEL_KEY = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/;
export const labelsField = z
  .record(
    z.string().regex(LABEL_KEY, 'a label key has 1 to 63 letters, digits, and . _ / - inside'),
    z.string().max(255, 'a label value has at most 255 characters'),
  )
  .refine((labels) => Object.keys(labels).length <= 64, 'at most 64 labels')
  .meta({ description: 'Labels, key=value', example: { env: 'dev' }, cli: { flag: 'label', char: 'l' } });

/** What every resource shows besides its own fields. */
const base = {
  id: z.string().meta({ description: 'Id, unique for ever' }),
  name: z.string(),
  labels: z.record(z.string(), z.string()),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
  generation: z.int().meta({ description: 'Counts changes of what is wanted; send it back as If-Match' }),
  operation: z.string().optional().meta({ description: 'Id of the newest operation on it' }),
  state: z.string(),
  reason: z.string().optional().meta({ description: 'Why it is in this state' }),
};

/** Output of a ref field `vpc` comes with `vpcId`. */
export type RefIds = { readonly [key in `${string}Id`]?: string };

type Out<S extends Shape> = { -readonly [K in keyof S as undefined extends z.output<S[K]> ? never : K]: z.output<S[K]> } & {
  -readonly [K in keyof S as undefined extends z.output<S[K]> ? K : never]?: z.output<S[K]>;
};
type In<S extends Shape> = { [K in keyof S as undefined extends z.input<S[K]> ? never : K]: z.input<S[K]> } & {
  [K in keyof S as undefined extends z.input<S[K]> ? K : never]?: z.input<S[K]>;
};

export interface ResourceBase {
  id: string;
  name: string;
  labels: Record<string, string>;
  createdAt: string;
  updatedAt: string;
  generation: number;
  operation?: string;
  state: string;
  reason?: string;
}

export type View<Spec extends Shape, Status extends Shape> = ResourceBase & Out<Spec> & Out<Status>;

export interface Resource<Name extends string = string, Spec extends Shape = Shape, Status extends Shape = Shape> {
  readonly name: Name;
  /** In routes: `vpcs`. */
  readonly plural: string;
  /** Ids are `<prefix>-<16 characters>`. */
  readonly prefix: string;
  readonly summary: string;
  readonly description?: string;
  readonly spec: Spec;
  readonly status: Status;
  readonly columns: readonly string[];
  /** Further columns of `--output wide`. */
  readonly wide: readonly string[];
  readonly states: readonly [string, ...string[]];
  /** Has a controller: creates, updates and deletes are accepted first and done after. */
  readonly reconciled: boolean;
  /** False for what is not kept as rows (catalogues, views of a backend). */
  readonly stored: boolean;
  /** `installation`: its rows belong to no tenant (users, tenants). */
  readonly scope: 'tenant' | 'installation';
  /** What the built-in roles leave to tenant administrators: changes, or even looking. */
  readonly restricted: 'no' | 'changes' | 'all';
  /** Rule for the names that callers give. */
  readonly nameField: z.ZodType<string>;
  /** What one of these costs of the tenant's quotas, by name: always the same, or told by its spec. A name ends with its unit: `volumeGiB`. */
  readonly quota?: Readonly<Record<string, number | ((spec: Record<string, unknown>) => number)>>;
  readonly output: z.ZodType<View<Spec, Status> & RefIds>;
}

export function resource<const Name extends string, const Spec extends Shape = Record<never, never>, const Status extends Shape = Record<never, never>>(
  name: Name,
  definition: {
    summary: string;
    description?: string;
    plural?: string;
    prefix?: string;
    spec?: Spec;
    status?: Status;
    columns: readonly string[];
    wide?: readonly string[];
    states?: readonly [string, ...string[]];
    reconciled?: boolean;
    stored?: boolean;
    scope?: 'tenant' | 'installation';
    restricted?: 'no' | 'changes' | 'all';
    /** Instead of the usual rule for names. */
    nameField?: z.ZodType<string>;
    quota?: Readonly<Record<string, number | ((spec: Out<Spec>) => number)>>;
  },
): Resource<Name, Spec, Status> {
  const spec = (definition.spec ?? {}) as Spec;
  const status = (definition.status ?? {}) as Status;
  const reconciled = definition.reconciled ?? false;
  const states = definition.states ?? (reconciled ? (['pending', 'ready', 'deleting', 'error'] as const) : (['ready'] as const));
  const refIds: Record<string, z.ZodType> = {};
  for (const [field, schema] of Object.entries(spec)) {
    if (fieldMeta(schema).ref === undefined) continue;
    if (unwrap(schema) instanceof z.ZodArray) refIds[refIdField(field, true)] = z.array(z.string()).optional();
    else refIds[refIdField(field, false)] = z.string().optional();
  }
  return {
    name,
    plural: definition.plural ?? `${name}s`,
    prefix: definition.prefix ?? name.replaceAll('-', ''),
    summary: definition.summary,
    ...(definition.description === undefined ? {} : { description: definition.description }),
    spec,
    status,
    columns: definition.columns,
    wide: definition.wide ?? [],
    states,
    reconciled,
    stored: definition.stored ?? true,
    scope: definition.scope ?? 'tenant',
    restricted: definition.restricted ?? 'no',
    nameField: definition.nameField ?? nameField,
    ...(definition.quota === undefined ? {} : { quota: definition.quota as Resource['quota'] & {} }),
    output: z.strictObject({ ...base, state: z.enum(states), ...mapShape(spec, redacted), ...refIds, ...status }) as unknown as z.ZodType<
      View<Spec, Status> & RefIds
    >,
  };
}

export interface Operation<K extends Kind = Kind, I extends z.ZodType = z.ZodType, O extends z.ZodType = z.ZodType, T extends boolean = boolean> {
  readonly kind: K;
  readonly summary: string;
  readonly description?: string;
  /** Takes the name or id of one resource. */
  readonly target: T;
  readonly input: I;
  /** Of a stream: one item. Of a channel: the result that ends it. */
  readonly output: O;
  /** Which of the five standard ones this is; the kernel handles those that the service does not. */
  readonly standard?: 'create' | 'list' | 'get' | 'update' | 'delete';
  /** A channel that changes nothing: whoever may look may open it. */
  readonly onlyReads: boolean;
  /** Accepted first, done after: the answer carries an operation to wait for. */
  readonly async: boolean;
  /** Asked for confirmation on a terminal. */
  readonly destructive: boolean;
  /** Only for other services; no transport offers it. */
  readonly internal: boolean;
  readonly access: Access;
  /** The answer holds what must not lie about (a new key): if it is kept, then sealed. */
  readonly secretAnswer: boolean;
  /** Answers with the resource itself (its new view). */
  readonly answersResource: boolean;
  /** Of a write: seconds for which a repeated idempotency key gets the stored answer. 0: nothing is kept, and a key means nothing. */
  readonly answerKept: number;
  /** Command lines without the leading `cloud`, each with what it does. */
  readonly examples: readonly (readonly [command: string, meaning: string])[];
}

interface Extra<X extends Shape> {
  access?: Access;
  summary?: string;
  description?: string;
  /** Fields besides the resource's own (or instead of one of the same name). */
  input?: X;
  examples?: readonly (readonly [string, string])[];
}

declare const NEVER_CHANGES: unique symbol;
/** A field's schema whose type says, too, that the field is set at creation and never changed. */
export type Immutable<S extends z.ZodType> = S & { readonly [NEVER_CHANGES]: true };
/** Goes around the whole schema: what is called on the result forgets it. */
export const immutable = <S extends z.ZodType>(schema: S): Immutable<S> => schema.meta({ ...schema.meta(), immutable: true }) as Immutable<S>;
type Mutable<S extends Shape> = { [K in keyof S as S[K] extends { readonly [NEVER_CHANGES]: true } ? never : K]: S[K] };

type CreateIn<Spec extends Shape, X extends Shape> = z.ZodType<
  Out<Omit<Spec, keyof X>> & Out<X> & { name: string; labels: Record<string, string> },
  In<Omit<Spec, keyof X>> & In<X> & { name: string; labels?: Record<string, string> }
>;
type UpdateIn<Spec extends Shape, X extends Shape> = z.ZodType<
  { -readonly [K in keyof Mutable<Omit<Spec, keyof X>>]?: z.output<Spec[K]> | null } & Out<X> & { labels?: Record<string, string> },
  { [K in keyof Mutable<Omit<Spec, keyof X>>]?: z.input<Spec[K]> | null } & In<X> & { labels?: Record<string, string> }
>;
export interface ListInput {
  label?: string[];
  limit?: number;
  cursor?: string;
}
/** Each selector is a condition of one statement, and a database takes only so many. */
const MOST_SELECTORS = 64;
/** The longest key and value with an operator between them. */
const MOST_SELECTOR = 320;
export const listInput = z.strictObject({
  label: z
    .array(
      z
        .string()
        .max(MOST_SELECTOR)
        .regex(/^[^=!]+(!?=.*)?$/, 'use key=value, key!=value or key'),
    )
    .max(MOST_SELECTORS)
    .optional()
    .meta({ description: 'Only those with this label: key=value, key!=value or key', example: ['env=dev'], cli: { flag: 'label', char: 'l' } }),
  limit: z.int().min(1).max(1000).optional().meta({ description: 'At most so many; the answer has a cursor when there are more' }),
  cursor: z.string().max(2048).optional().meta({ description: 'Where the page before ended' }),
});
const emptyInput = z.strictObject({});
type NoInput = typeof emptyInput;

const defaults = {
  onlyReads: false,
  async: false,
  destructive: false,
  internal: false,
  access: 'role',
  secretAnswer: false,
  answersResource: false,
  answerKept: 86_400,
  examples: [],
} as const;

type Shown<Spec extends Shape, Status extends Shape> = z.ZodType<View<Spec, Status> & RefIds>;

/** Has a name because declaration files then say it as it stands here; spelt out by the compiler they would not check in other projects. */
type Crud<Spec extends Shape, Status extends Shape, C extends Shape, L extends Shape, U extends Shape, D extends Shape> = {
  create: Operation<'write', CreateIn<Spec, C>, Shown<Spec, Status>, false>;
  list: Operation<
    'read',
    z.ZodType<z.output<typeof listInput> & Out<L>, ListInput & In<L>>,
    z.ZodType<{ items: (View<Spec, Status> & RefIds)[]; cursor?: string }>,
    false
  >;
  get: Operation<'read', NoInput, Shown<Spec, Status>, true>;
  update: Operation<'write', UpdateIn<Spec, U>, Shown<Spec, Status>, true>;
  delete: Operation<'write', z.ZodType<Out<D>, In<D>>, Shown<Spec, Status>, true>;
};

/** The five standard operations. */
export function crud<
  Name extends string,
  Spec extends Shape,
  Status extends Shape,
  const C extends Shape = Record<never, never>,
  const L extends Shape = Record<never, never>,
  const U extends Shape = Record<never, never>,
  const D extends Shape = Record<never, never>,
>(
  of: Resource<Name, Spec, Status>,
  options: { create?: Extra<C>; list?: Extra<L>; get?: { access?: Access }; update?: Extra<U>; delete?: Extra<D> } = {},
): Crud<Spec, Status, C, L, U, D> {
  type Operations = Crud<Spec, Status, C, L, U, D>;
  const { name, plural } = of;
  const one = withArticle(name);
  const mutable = Object.fromEntries(
    Object.entries(of.spec)
      .filter(([, schema]) => !fieldMeta(schema).immutable)
      .map(([key, schema]) => [key, forUpdate(schema)]),
  );
  const example = (verb: string, rest = '') => [[`${name} ${verb} my-${name}${rest}`, ''] as const];
  const list: Operations['list'] = {
    ...defaults,
    kind: 'read',
    onlyReads: true,
    standard: 'list',
    target: false,
    access: options.list?.access ?? 'role',
    summary: options.list?.summary ?? `List ${words(plural)}`,
    input: z.strictObject({ ...listInput.shape, ...options.list?.input }) as never,
    output: z.strictObject({ items: z.array(of.output), cursor: z.string().optional() }) as never,
    examples: options.list?.examples ?? [[`${name} list`, ''], ...(of.stored ? [[`${name} list --label env=dev --output json`, ''] as const] : [])],
  };
  const get: Operations['get'] = {
    ...defaults,
    kind: 'read',
    onlyReads: true,
    standard: 'get',
    target: true,
    answersResource: true,
    access: options.get?.access ?? 'role',
    summary: `Show ${one}`,
    input: emptyInput,
    output: of.output,
    examples: example('get'),
  };
  const create: Operations['create'] = {
    ...defaults,
    kind: 'write',
    standard: 'create',
    target: false,
    answersResource: true,
    async: of.reconciled,
    access: options.create?.access ?? 'role',
    summary: options.create?.summary ?? `Create ${one}`,
    ...(options.create?.description === undefined ? {} : { description: options.create.description }),
    input: z.strictObject({ name: of.nameField, labels: labelsField.default({}), ...of.spec, ...options.create?.input }) as never,
    output: of.output,
    examples: options.create?.examples ?? example('create'),
  };
  const update: Operations['update'] = {
    ...defaults,
    kind: 'write',
    standard: 'update',
    target: true,
    answersResource: true,
    async: of.reconciled,
    access: options.update?.access ?? 'role',
    summary: options.update?.summary ?? `Change ${one}`,
    ...(options.update?.description === undefined ? {} : { description: options.update.description }),
    input: z.strictObject({
      labels: labelsField.optional().describe('Labels; replaces all of them'),
      ...mutable,
      ...options.update?.input,
    }) as never,
    output: of.output,
    examples: options.update?.examples ?? example('update', ' --label env=prod'),
  };
  const remove: Operations['delete'] = {
    ...defaults,
    kind: 'write',
    standard: 'delete',
    target: true,
    answersResource: true,
    async: of.reconciled,
    destructive: true,
    access: options.delete?.access ?? 'role',
    summary: options.delete?.summary ?? `Delete ${one}`,
    ...(options.delete?.description === undefined ? {} : { description: options.delete.description }),
    input: z.strictObject({ ...options.delete?.input }) as never,
    output: of.output,
    examples: options.delete?.examples ?? example('delete'),
  };
  return { create, list, get, update, delete: remove };
}

interface ActionDefinition {
  summary: string;
  description?: string;
  input?: Shape;
  output?: z.ZodType;
  /** Default true: `cloud queue send <queue>`. */
  target?: boolean;
  /** Of a channel: it changes nothing. */
  onlyReads?: boolean;
  async?: boolean;
  destructive?: boolean;
  internal?: boolean;
  access?: Access;
  secretAnswer?: boolean;
  /** Default a day. Less where calls are many, or answers carry what must not stay. */
  answerKept?: number;
  examples?: readonly (readonly [string, string])[];
}

type ObjectOf<I extends Shape> = z.ZodType<Out<I>, In<I>>;

/** What an action needs of its resource; the whole of it would make the compiler compare views, which it cannot where status is partly optional. */
interface Shows {
  readonly output: z.ZodType;
}

/** Types come from the definition alone; were they parameters of their own, TypeScript would take them from where the result is used. */
type Defined<K extends Kind, R extends Shows, D extends ActionDefinition> = Operation<
  K,
  D extends { input: infer I extends Shape } ? ObjectOf<I> : NoInput,
  D extends { output: infer O extends z.ZodType } ? O : R['output'],
  D extends { target: false } ? false : true
>;

function define<K extends Kind>(kind: K) {
  return <R extends Shows, const D extends ActionDefinition>(of: R, definition: D): Defined<K, R, D> =>
    ({
      ...defaults,
      kind,
      summary: definition.summary,
      ...(definition.description === undefined ? {} : { description: definition.description }),
      target: definition.target ?? true,
      input: z.strictObject({ ...definition.input }),
      output: definition.output ?? of.output,
      answersResource: definition.output === undefined,
      onlyReads: definition.onlyReads ?? (kind === 'read' || kind === 'stream'),
      async: definition.async ?? false,
      destructive: definition.destructive ?? false,
      internal: definition.internal ?? false,
      access: definition.access ?? defaults.access,
      secretAnswer: definition.secretAnswer ?? false,
      answerKept: definition.answerKept ?? defaults.answerKept,
      examples: definition.examples ?? [],
    }) as Operation as Defined<K, R, D>;
}

/** A change other than the standard ones. Without `output` it answers with the resource. */
export const action = define('write');
/** A question other than get and list. */
export const query = define('read');
/** Items as they come; `output` is one item. */
export const stream = define('stream');
/** Bytes both ways; `output` is the result that ends it. */
export const channel = define('channel');

/** Any resource, whatever its views look like. */
export type AnyResource = Omit<Resource, 'output'> & Shows;

export interface Contract<R extends AnyResource = AnyResource, Ops extends Readonly<Record<string, Operation>> = Readonly<Record<string, Operation>>> {
  readonly resource: R;
  readonly operations: Ops;
}

export const contract = <R extends AnyResource, const Ops extends Readonly<Record<string, Operation>>>(of: R, operations: Ops): Contract<R, Ops> => ({
  resource: of,
  operations,
});

/** Contracts by the client's name for them: `sshKey` for the resource `ssh-key`. */
export type Contracts = Readonly<Record<string, Contract>>;

/** Looks through optional, default, nullable and pipes to the schema that says what the value is. */
export function unwrap(schema: z.ZodType): z.ZodType {
  let inner: z.ZodType = schema;
  for (;;) {
    if (inner instanceof z.ZodOptional || inner instanceof z.ZodNullable || inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault) {
      inner = inner.def.innerType as z.ZodType;
    } else if (inner instanceof z.ZodPipe && !(inner.def.in instanceof z.ZodTransform)) {
      inner = inner.def.in as z.ZodType;
    } else return inner;
  }
}

/** A field's facts, wherever in `.optional().default()` they were attached; the outermost wins. */
export function fieldMeta(schema: z.ZodType): FieldMeta & { description?: string } {
  const found: (FieldMeta & { description?: string })[] = [];
  let inner: z.ZodType = schema;
  for (;;) {
    const meta = inner.meta();
    if (meta !== undefined) found.unshift(meta as FieldMeta);
    if (inner instanceof z.ZodOptional || inner instanceof z.ZodNullable || inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault) {
      inner = inner.def.innerType as z.ZodType;
    } else if (inner instanceof z.ZodPipe) {
      inner = inner.def.in as z.ZodType;
    } else if (inner instanceof z.ZodArray) {
      const element = (inner.def.element as z.ZodType).meta() as FieldMeta | undefined;
      if (element?.ref !== undefined) found.unshift({ ref: element.ref, ...(element.weak === undefined ? {} : { weak: element.weak }) });
      break;
    } else break;
  }
  return Object.assign({}, ...found);
}

/** `vpc` → `vpcId`; `sshKeys` → `sshKeyIds`; `policies` → `policyIds`. */
export const refIdField = (field: string, many: boolean): string => (many ? `${field.replace(/ies$/, 'y').replace(/s$/, '')}Ids` : `${field}Id`);

function forUpdate(schema: z.ZodType): z.ZodType {
  const meta = schema.meta();
  let inner: z.ZodType = schema;
  let optional = false;
  for (;;) {
    if (inner instanceof z.ZodOptional || inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault) {
      optional ||= inner instanceof z.ZodOptional;
      inner = inner.def.innerType as z.ZodType;
    } else break;
  }
  const changed = optional ? inner.nullable().optional() : inner.optional();
  return meta === undefined ? changed : changed.meta(meta);
}

const redacted = (schema: z.ZodType): z.ZodType => (fieldMeta(schema).secret ? z.literal('[REDACTED]').optional() : schema);

const mapShape = (shape: Shape, map: (schema: z.ZodType) => z.ZodType): Record<string, z.ZodType> =>
  Object.fromEntries(Object.entries(shape).map(([key, schema]) => [key, map(schema)]));

/** What policies and roles speak of: `<resource>:<operation>` of every operation that they decide about, in a stable order. */
export const permissionsOf = (contracts: Iterable<Contract>): string[] =>
  [...contracts]
    .flatMap(({ resource: { name }, operations }) =>
      Object.entries(operations)
        .filter(([, { access, internal }]) => access === 'role' && !internal)
        .map(([operation]) => `${name}:${operation}`),
    )
    .sort();

/** Every name that something counts against, in the order of the contracts. */
export const quotasOf = (contracts: Iterable<Contract>): string[] => [
  ...new Set([...contracts].flatMap(({ resource: { quota } }) => Object.keys(quota ?? {}))),
];

/** The fields of an operation's input. */
export const inputShape = (operation: Operation): Record<string, z.ZodType> => (operation.input as z.ZodObject).shape as Record<string, z.ZodType>;
