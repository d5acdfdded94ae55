// Names and ids in an input become both: `vpc: 'prod'` is looked up in the tenant and becomes `vpc: 'prod', vpcId: 'vpc-…'`.

import { z } from 'zod';
import { type Contract, fieldMeta, inputShape, type Operation, refIdField, unwrap } from './contract.ts';
import { Fault } from './errors.ts';
import type { Row, Table } from './table.ts';
import { words } from './words.ts';

interface RefField {
  key: string;
  of: string;
  many: boolean;
  /** For lists of objects: the field inside that is the reference. */
  inner?: string;
}

/** The ref fields of an operation's input, found once. */
export function refFields(operation: Operation): RefField[] {
  const fields: RefField[] = [];
  for (const [key, schema] of Object.entries(inputShape(operation))) {
    const { ref } = fieldMeta(schema);
    const inner = unwrap(schema);
    if (ref !== undefined) fields.push({ key, of: ref, many: inner instanceof z.ZodArray });
    else if (inner instanceof z.ZodArray) {
      const object = objectInside(inner.def.element as z.ZodType);
      for (const [innerKey, innerSchema] of Object.entries(object?.shape ?? {})) {
        const innerRef = fieldMeta(innerSchema as z.ZodType).ref;
        if (innerRef !== undefined) fields.push({ key, of: innerRef, many: true, inner: innerKey });
      }
    }
  }
  return fields;
}

/** The object form of an element that may also be written short (a union of text and object). */
export function objectInside(schema: z.ZodType): z.ZodObject | undefined {
  const inner = unwrap(schema);
  if (inner instanceof z.ZodObject) return inner;
  if (inner instanceof z.ZodUnion) return (inner.def.options as z.ZodType[]).map(objectInside).find((object) => object !== undefined);
  if (inner instanceof z.ZodPipe) return objectInside(inner.def.out as z.ZodType);
  return undefined;
}

/** Rewrites the input in place and returns the rows found, by field. */
export async function resolveRefs(
  input: Record<string, unknown>,
  fields: readonly RefField[],
  tableOf: (resource: string) => { table: Table; contract: Contract },
): Promise<Record<string, Row[]>> {
  const found: Record<string, Row[]> = {};
  for (const { key, of, many, inner } of fields) {
    const value = input[key];
    if (value === undefined) continue;
    if (value === null) {
      // Taken away: the id must go with the name, or the reference would stay.
      if (inner === undefined) input[refIdField(key, many)] = null;
      continue;
    }
    const { table } = tableOf(of);
    const look = async (text: string, path: string): Promise<Row> => {
      let row: Row;
      try {
        row = await table.get(text);
      } catch (error) {
        if (error instanceof Fault && error.code === 'not_found') {
          throw new Fault('not_found', error.message, { hint: error.hint ?? '', details: [{ path, message: error.message }] });
        }
        throw error;
      }
      if (row.deletedAt !== undefined)
        throw new Fault('conflict', `The ${words(of)} ${row.name} is being deleted`, { details: [{ path, message: 'name another' }] });
      return row;
    };
    if (inner !== undefined) {
      const items = value as Record<string, unknown>[];
      // An item may name several things, each in a field of its own.
      const rows = found[key] ?? [];
      found[key] = rows;
      for (const [index, item] of items.entries()) {
        if (item[inner] === undefined) continue;
        const row = await look(String(item[inner]), `${key}.${index}.${inner}`);
        item[inner] = row.name;
        item[refIdField(inner, false)] = row.id;
        rows.push(row);
      }
    } else if (many) {
      const rows: Row[] = [];
      for (const [index, text] of (value as string[]).entries()) rows.push(await look(text, `${key}.${index}`));
      found[key] = rows;
      input[key] = rows.map((row) => row.name);
      input[refIdField(key, true)] = rows.map((row) => row.id);
    } else {
      const row = await look(value as string, key);
      found[key] = [row];
      input[key] = row.name;
      input[refIdField(key, false)] = row.id;
    }
  }
  return found;
}
