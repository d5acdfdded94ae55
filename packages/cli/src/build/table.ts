// Contracts to the CLI's table. Runs in the build and in the generator of the docs, never in a command.
import {
  type Contract,
  contracts,
  type FieldMeta,
  fieldMeta,
  inputShape,
  kebab,
  type Operation,
  routeOf,
  targetParameter,
  unwrap,
} from '@thecloud/core/contracts';
import { z } from 'zod';
import { GLOBAL } from '../common-flags.ts';
import type { Column, Command, Flag, FlagType, Form, Format, Group, GroupTable, Index, OperationSpec, Positional } from '../table.ts';
import { handWritten, groups as ownGroups } from './hand-written.ts';
import { stepsOfOthers } from './hand-written-objects.ts';

interface JsonSchema {
  type?: string | string[];
  enum?: unknown[];
  anyOf?: JsonSchema[];
  items?: JsonSchema;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  additionalProperties?: JsonSchema | boolean;
  minimum?: number;
  maximum?: number;
  default?: unknown;
  format?: string;
  description?: string;
  cli?: FieldMeta['cli'];
}

const jsonOf = (schema: z.ZodType, io: 'input' | 'output'): JsonSchema => z.toJSONSchema(schema, { io, unrepresentable: 'any' }) as JsonSchema;

export interface Tables {
  index: Index;
  groups: Record<string, GroupTable>;
}

export function buildTables(): Tables {
  const groups: Record<string, GroupTable> = {};
  const replaced = new Map(handWritten.map((command) => [command.id, command]));
  for (const contract of Object.values(contracts) as Contract[]) {
    const commands: Command[] = [];
    const name = contract.resource.name;
    for (const [operationName, operation] of Object.entries(contract.operations)) {
      if (operation.internal) continue;
      const generated = commandFrom(contract, operationName, operation);
      const own = replaced.get(generated.id);
      if (own !== undefined) {
        replaced.delete(generated.id);
        commands.push(merge(generated, own));
      } else if (operation.kind !== 'channel' && !stepsOfOthers.has(generated.id)) commands.push(generated);
      // A channel without a command of its own (upload, download) is a part of another: no bytes fit a generated command.
      else commands.push({ ...generated, hidden: true });
    }
    for (const [id, own] of replaced) {
      if (!id.startsWith(`${name} `)) continue;
      replaced.delete(id);
      commands.push(merge(undefined, own));
    }
    const fields = fieldsOf(contract);
    groups[name] = {
      group: {
        name,
        summary: contract.resource.summary,
        ...(contract.resource.description === undefined ? {} : { description: contract.resource.description }),
        resource: true,
        commands: listed(commands),
      },
      path: `/v1/${contract.resource.plural}/{${targetParameter(name)}}`,
      columns: [...contract.resource.columns.map((field) => ({ field })), ...contract.resource.wide.map((field) => ({ field, wide: true as const }))].map(
        (column) => ({ ...(fields.find(({ field }) => field === column.field) ?? columnOf(column.field, {})), ...column }),
      ),
      fields,
      states: contract.resource.states,
      commands,
    };
  }
  for (const { name, summary, description } of ownGroups) {
    const commands = handWritten.filter(({ id }) => id.startsWith(`${name} `)).map((own) => merge(undefined, own));
    groups[name] = {
      group: { name, summary, ...(description === undefined ? {} : { description }), resource: false, commands: listed(commands) },
      columns: [],
      fields: [],
      states: [],
      commands,
    };
  }
  const top = handWritten.filter(({ id }) => !id.includes(' ')).map((own) => merge(undefined, own));
  groups[''] = { group: { name: '', summary: '', resource: false, commands: listed(top) }, columns: [], fields: [], states: [], commands: top };
  for (const [name, table] of Object.entries(groups)) {
    const spoken = spokenOf(name, groups);
    if (spoken === undefined) continue;
    const inWords = (line: string): string => (line.startsWith(`${name} `) ? `${spoken}${line.slice(name.length)}` : line);
    groups[name] = {
      ...table,
      group: { ...table.group, spoken },
      commands: table.commands.map((one) => ({ ...one, examples: one.examples.map(([line, meaning]) => [inWords(line), meaning] as const) })),
    };
  }
  const all = Object.values(groups)
    .map(({ group }) => group)
    .filter(({ name }) => name !== '')
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  return { index: { groups: all, commands: listed(top) }, groups };
}

/** `tenant-member` is `tenant member` because there is `tenant`; no command of `tenant` may be called `member` then. */
function spokenOf(name: string, groups: Readonly<Record<string, GroupTable>>): string | undefined {
  for (let at = name.indexOf('-'); at > 0; at = name.indexOf('-', at + 1)) {
    const [first, rest] = [name.slice(0, at), name.slice(at + 1)];
    if (groups[first] === undefined) continue;
    if (groups[first].commands.some(({ id }) => id === `${first} ${rest}`)) throw new Error(`${name}: \`cloud ${first} ${rest}\` is a command already`);
    return `${first} ${rest}`;
  }
  return undefined;
}

const listed = (commands: readonly Command[]): Group['commands'] =>
  commands.map(({ id, summary, hidden }) => ({ id, summary, ...(hidden === undefined ? {} : { hidden }) }));

function merge(generated: Command | undefined, own: (typeof handWritten)[number]): Command {
  const { moreFlags, positionals, flags, common, examples, ...rest } = own;
  const space = own.id.indexOf(' ');
  return {
    ...(generated ?? { group: space < 0 ? '' : own.id.slice(0, space) }),
    ...rest,
    positionals: positionals ?? generated?.positionals ?? [],
    flags: [...(flags ?? generated?.flags ?? []), ...(moreFlags ?? [])],
    common: common ?? generated?.common ?? [...GLOBAL],
    examples: examples ?? generated?.examples ?? [],
  };
}

function commandFrom(contract: Contract, name: string, operation: Operation): Command {
  const resource = contract.resource.name;
  const { method, path } = routeOf(contract, name, operation);
  const shape = inputShape(operation);
  const required = new Set(jsonOf(operation.input, 'input').required ?? []);
  const positionals: Positional[] = [];
  const flags: Flag[] = [];
  if (operation.target) {
    positionals.push({
      field: '$target',
      label: resource,
      type: 'string',
      required: true,
      ref: resource,
      description: resource === 'operation' ? 'Id' : resource === 'object' ? '<bucket>/<key>' : 'Name or id',
    });
  }
  for (const [field, schema] of Object.entries(shape)) {
    const meta = fieldMeta(schema);
    const flag = flagOf(field, schema, required.has(field), operation);
    if ((operation.standard === 'create' && field === 'name') || meta.cli?.positional) {
      positionals.push({
        field,
        label: field === 'name' ? 'name' : kebab(field),
        type: flag.type,
        required: required.has(field),
        ...(flag.values === undefined ? {} : { values: flag.values }),
        ...(flag.many ? { rest: true } : {}),
        ...(flag.file ? { file: true } : {}),
        ...(flag.secret ? { secret: true } : {}),
        ...(flag.ref === undefined ? {} : { ref: flag.ref }),
        ...(flag.description === undefined ? {} : { description: flag.description }),
      });
    } else flags.push(flag);
  }
  const form: Form =
    operation.kind === 'stream' || operation.kind === 'channel'
      ? operation.kind
      : operation.answersResource
        ? 'resource'
        : answersItems(operation)
          ? 'items'
          : 'object';
  const shows = (Object.values(contracts) as Contract[]).find((one) => one !== contract && one.resource.output === operation.output)?.resource.name;
  const fields = shows !== undefined ? undefined : form === 'items' || form === 'object' ? ownFields(contract, operation) : undefined;
  const simple = form === 'resource' && flags.every((flag) => !flag.required) && positionals.length === 1;
  const spec: OperationSpec = {
    resource,
    name,
    kind: operation.kind,
    ...(operation.standard === undefined ? {} : { standard: operation.standard }),
    method,
    path,
    target: operation.target,
    async: operation.async,
    destructive: operation.destructive,
    form,
    ...(operation.target && operation.kind === 'write' && simple && operation.standard !== 'update' ? { manyTargets: true } : {}),
    ...(shows === undefined ? {} : { shows }),
    ...(fields === undefined ? {} : { fields }),
    ...('allowRestart' in shape ? { restarts: true } : {}),
    ...(operation.access === 'anonymous' ? { anonymous: true } : {}),
    ...(operation.access === 'administrator' ? { administrators: true } : {}),
    ...(operation.kind === 'write' && operation.answerKept === 0 ? { once: true } : {}),
    ...(operation.secretAnswer ? { secretAnswer: true } : {}),
  };
  return {
    id: `${resource} ${kebab(name)}`,
    group: resource,
    summary: operation.summary,
    ...(operation.description === undefined ? {} : { description: operation.description }),
    positionals: spec.manyTargets ? positionals.map((one) => ({ ...one, rest: true as const })) : positionals,
    flags,
    examples: operation.examples.length > 0 ? operation.examples : [[`${resource} ${kebab(name)}${operation.target ? ` my-${resource}` : ''}`, ''] as const],
    common: commonFlags(spec, flags),
    operation: spec,
  };
}

function commonFlags(operation: OperationSpec, flags: readonly Flag[]): string[] {
  const common: string[] = [];
  if (operation.form === 'items') common.push('columns', 'header', ...(operation.kind === 'read' ? ['watch'] : []));
  if (operation.standard === 'get') common.push('watch');
  if (operation.kind === 'write') {
    if (operation.async) common.push('wait', 'wait-timeout');
    if (operation.destructive || operation.restarts) common.push('yes');
    common.push('dry-run');
    if (flags.some((flag) => flag.field !== 'allowRestart')) common.push('from');
    if (flags.some((flag) => flag.nullable)) common.push('unset');
  }
  return [...common, ...GLOBAL];
}

const answersItems = (operation: Operation): boolean => {
  const output = unwrap(operation.output);
  return output instanceof z.ZodObject && 'items' in output.shape;
};

function flagOf(field: string, schema: z.ZodType, required: boolean, operation: Operation): Flag {
  const meta = fieldMeta(schema);
  const json = jsonOf(schema, 'input');
  const { type, many, values, minimum, maximum } = typeOf(json);
  const example = exampleOf(meta.example);
  const fallback = json.default;
  return {
    field,
    name: meta.cli?.flag ?? kebab(field),
    ...(meta.cli?.char === undefined ? {} : { char: meta.cli.char }),
    type,
    ...(many ? { many: true } : {}),
    ...(values === undefined ? {} : { values }),
    ...(fallback === undefined || (typeof fallback === 'object' && Object.keys(fallback as object).length === 0) || fallback === false
      ? {}
      : { default: fallback }),
    ...(minimum === undefined ? {} : { minimum }),
    ...(maximum === undefined ? {} : { maximum }),
    ...(required ? { required: true } : {}),
    ...(json.anyOf?.some((one) => one.type === 'null') ? { nullable: true } : {}),
    ...(type === 'boolean' && (fallback === true || operation.standard === 'update') ? { negatable: true } : {}),
    ...(meta.description === undefined ? {} : { description: meta.description }),
    ...(example === undefined ? {} : { example }),
    ...(meta.ref === undefined && field !== 'type' ? {} : meta.ref === undefined ? typeRef(operation) : { ref: meta.ref }),
    ...(meta.cli?.file || meta.secret ? { file: true } : {}),
    ...(meta.secret ? { secret: true } : {}),
    ...(meta.cli?.hidden ? { hidden: true } : {}),
    ...(meta.cli?.seconds ? { seconds: true } : {}),
    ...(json.format === 'date-time' ? { time: ['since', 'until'].includes(field) ? ('ago' as const) : ('from now' as const) } : {}),
  };
}

/** Instance types are a catalogue and not rows, so that the contract's `type` is no ref; completion can offer them all the same. */
const typeRef = (operation: Operation): { ref?: string } =>
  inputShape(operation)['type'] !== undefined && operation.kind === 'write' ? { ref: 'instance-type' } : {};

function exampleOf(example: unknown): string | undefined {
  if (example === undefined) return undefined;
  if (Array.isArray(example)) return exampleOf(example[0]);
  if (typeof example === 'object' && example !== null) {
    const [first] = Object.entries(example);
    return first === undefined ? undefined : `${first[0]}=${String(first[1])}`;
  }
  return String(example);
}

function typeOf(json: JsonSchema): { type: FlagType; many?: boolean; values?: string[]; minimum?: number; maximum?: number } {
  if (json.anyOf !== undefined) {
    const options = json.anyOf.filter((one) => one.type !== 'null');
    // Where a short form is understood (`8080:80`), the command line speaks that.
    return typeOf(options.find((one) => one.type === 'string') ?? options[0] ?? {});
  }
  if (json.enum !== undefined) return { type: 'string', values: json.enum.map(String) };
  switch (json.type) {
    case 'boolean':
      return { type: 'boolean' };
    case 'integer':
    case 'number': {
      const bound = (value: number | undefined) => (value === undefined || Math.abs(value) >= Number.MAX_SAFE_INTEGER ? undefined : value);
      const minimum = bound(json.minimum);
      const maximum = bound(json.maximum);
      return { type: json.type, ...(minimum === undefined ? {} : { minimum }), ...(maximum === undefined ? {} : { maximum }) };
    }
    case 'string':
      return { type: 'string' };
    case 'array':
      return { ...typeOf(json.items ?? {}), many: true };
    case 'object':
      return json.properties === undefined && typeof json.additionalProperties === 'object' && json.additionalProperties.type === 'string'
        ? { type: 'map', many: true }
        : { type: 'json' };
    default:
      return { type: 'json' };
  }
}

/** What an answer shows that is neither the resource nor what the resource's list shows. */
function ownFields(contract: Contract, operation: Operation): Column[] | undefined {
  const json = jsonOf(operation.output, 'output');
  const properties = (answersItems(operation) ? json.properties?.['items']?.items?.properties : json.properties) ?? {};
  const known = fieldsOf(contract);
  const names = new Set(known.map(({ field }) => field));
  if (Object.keys(properties).every((field) => names.has(field))) return undefined;
  // A resource with something more (the key that was issued) begins like the resource.
  const more = Object.entries(properties).map(([field, one]) => columnOf(field, one));
  return known.every(({ field }) => field in properties) ? [...known, ...more.filter(({ field }) => !names.has(field))] : more;
}

/** Fields in the order in which a reader wants them: what it is, how it is, what was asked for, the rest. */
function fieldsOf(contract: Contract): Column[] {
  const list = contract.operations['list'];
  const output =
    list !== undefined && answersItems(list) ? jsonOf(list.output, 'output').properties?.['items']?.items : jsonOf(contract.resource.output, 'output');
  const properties = output?.properties ?? {};
  const first = ['id', 'name', 'state', 'reason'];
  const last = ['labels', 'createdAt', 'updatedAt', 'generation', 'operation'];
  const hidden = (field: string) => {
    const schema = contract.resource.spec[field];
    return ['generation', 'operation'].includes(field) || (schema !== undefined && fieldMeta(schema).cli?.hidden === true);
  };
  const order = (field: string) => (first.includes(field) ? first.indexOf(field) : last.includes(field) ? 1000 + last.indexOf(field) : 100);
  return Object.entries(properties)
    .map(([field, json], index) => ({ field, json, index }))
    .sort((a, b) => order(a.field) - order(b.field) || a.index - b.index)
    .map(({ field, json }) => ({
      ...columnOf(field, json),
      // Of a copy of something that has a size of its own.
      ...(field === 'sizeBytes' && 'size' in properties ? { header: 'Stored' } : {}),
      ...(hidden(field) ? { wide: true as const } : {}),
    }));
}

const columnOf = (field: string, json: JsonSchema): Column => ({ field, header: headerOf(field), format: formatOf(field, json) });

function formatOf(field: string, json: JsonSchema): Format {
  if (field === 'state' || field === 'status' || field === 'level') return 'state';
  if (json.format === 'date-time') return field.endsWith('At') ? 'age' : 'time';
  if (field === 'bytes' || /Bytes$|^bytes[A-Z]/.test(field) || (field === 'size' && !/GiB/.test(json.description ?? ''))) return 'bytes';
  if (field.endsWith('MiB')) return 'mib';
  if (field === 'size') return 'gib';
  if (field === 'ports') return 'ports';
  if (field === 'document') return 'document';
  if (json.cli?.seconds || field.endsWith('Seconds')) return 'seconds';
  if (field === 'command' || field === 'entrypoint') return 'words';
  if (json.type === 'boolean') return 'boolean';
  if (json.type === 'array') return json.items?.properties?.['path'] === undefined ? (json.items?.type === 'string' ? 'list' : 'json') : 'mounts';
  if (json.type === 'object') return json.properties === undefined ? 'labels' : 'json';
  return 'text';
}

const HEADERS: Readonly<Record<string, string>> = {
  id: 'ID',
  url: 'URL',
  etag: 'ETag',
  vpc: 'VPC',
  cidr: 'CIDR',
  cpus: 'CPUs',
  pids: 'PIDs',
  createdAt: 'Created',
  updatedAt: 'Updated',
  startedAt: 'Started',
  finishedAt: 'Finished',
  sizeBytes: 'Size',
  usedBytes: 'Used',
  memoryMiB: 'Memory',
  sshKeys: 'SSH keys',
  userData: 'User data',
  cloudInit: 'Cloud-init',
  requestId: 'Request',
  resourceId: 'Resource ID',
  sizeEnforced: 'Size enforced',
};

function headerOf(field: string): string {
  const special = HEADERS[field];
  if (special !== undefined) return special;
  const words = field
    .replace(/(?<=[a-z])(?:At|Seconds)$/, '')
    .replace(/Ids$/, ' IDs')
    .replace(/Id$/, ' ID')
    .replace(/([a-z])([A-Z][a-z])/g, (_, before: string, after: string) => `${before} ${after.toLowerCase()}`);
  return words.charAt(0).toUpperCase() + words.slice(1);
}
