// From a row to what a caller sees: only the contract's fields, secrets redacted. Equal revisions give the same object, so that transports may keep what they made of it.

import { z } from 'zod';
import { type Contract, fieldMeta, refIdField, unwrap } from './contract.ts';
import type { Row } from './table.ts';

export const REDACTED = '[REDACTED]';
const MOST_VIEWS = 20_000;

export class Views {
  readonly #specFields: { key: string; secret: boolean }[] = [];
  readonly #statusFields: string[];
  readonly #views = new Map<string, { revision: number; operation: string | undefined; view: Record<string, unknown> }>();

  constructor({ resource }: Contract) {
    for (const [key, schema] of Object.entries(resource.spec)) {
      const meta = fieldMeta(schema);
      this.#specFields.push({ key, secret: meta.secret === true });
      if (meta.ref !== undefined) this.#specFields.push({ key: refIdField(key, unwrap(schema) instanceof z.ZodArray), secret: false });
    }
    this.#statusFields = Object.keys(resource.status);
  }

  of(row: Row): Record<string, unknown> {
    const known = this.#views.get(row.id);
    if (known !== undefined && known.revision === row.revision && known.operation === row.operation) return known.view;
    const view = this.once(row);
    if (this.#views.size >= MOST_VIEWS) this.#views.delete(this.#views.keys().next().value as string);
    this.#views.set(row.id, { revision: row.revision, operation: row.operation, view });
    return view;
  }

  /** Not kept: inside a transaction, which may be rolled back and its revision number given to another change. */
  once(row: Row): Record<string, unknown> {
    const view: Record<string, unknown> = {
      id: row.id,
      name: row.name,
      labels: row.labels,
      createdAt: new Date(row.createdAt).toISOString(),
      updatedAt: new Date(row.updatedAt).toISOString(),
      generation: row.generation,
      ...(row.operation === undefined ? {} : { operation: row.operation }),
      state: row.state,
      ...(row.reason === undefined ? {} : { reason: row.reason }),
    };
    for (const { key, secret } of this.#specFields) {
      const value = row.spec[key];
      if (value !== undefined) view[key] = secret ? REDACTED : value;
    }
    for (const key of this.#statusFields) if (row.status[key] !== undefined) view[key] = row.status[key];
    return view;
  }
}
