// Words of commands that are written by hand.
import type { Positional } from '../table.ts';

export const target = (resource: string, more: Partial<Positional> = {}): Positional => ({
  field: '$target',
  label: resource,
  type: 'string',
  required: true,
  ref: resource,
  description: `Name or id`,
  ...more,
});
export const word = (label: string, description: string, more: Partial<Positional> = {}): Positional => ({
  field: label,
  label,
  type: 'string',
  required: true,
  description,
  ...more,
});
