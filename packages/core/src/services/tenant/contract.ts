import { z } from 'zod';
import { contract, crud, query, resource } from '../../kernel/contract.ts';

export const tenant = resource('tenant', {
  summary: 'Tenants: worlds of their own, whose members see nothing of the others',
  scope: 'installation',
  restricted: 'all',
  prefix: 'tnt',
  reconciled: true,
  spec: {
    description: z.string().min(1).max(1024).optional().meta({ description: 'What it is for', example: 'The web shop' }),
    /** Set by `delete --cascade`. */
  },
  status: { role: z.string().optional().meta({ description: 'Your roles in it' }) },
  columns: ['name', 'state', 'description', 'createdAt'],
  wide: ['id'],
});

export const tenants = contract(tenant, {
  ...crud(tenant, {
    create: { access: 'administrator', examples: [['tenant create acme', '']] },
    list: { access: 'authenticated', summary: 'List the tenants that you belong to', examples: [['tenant list', '']] },
    get: { access: 'authenticated' },
    update: { access: 'administrator', examples: [['tenant update acme --description "The web shop"', '']] },
    delete: {
      access: 'administrator',
      description:
        'Refused while there is anything in it, unless `cascade` deletes that too, in the order of what depends on what; and while objects are under a compliance lock or a legal hold, unless `lockedObjects` takes these along. `tenant contents` shows both before.',
      input: {
        cascade: z.boolean().default(false).meta({ description: 'Delete everything in it first' }),
        lockedObjects: z.boolean().default(false).meta({ description: 'Also objects under a compliance lock or a legal hold, which nothing else deletes' }),
      },
      examples: [
        ['tenant delete acme', ''],
        ['tenant delete acme --cascade', 'with all that is in it'],
      ],
    },
  }),
  contents: query(tenant, {
    summary: 'Show what is in a tenant, in the order in which a cascade would delete it',
    access: 'administrator',
    output: z.strictObject({
      items: z.array(z.strictObject({ resource: z.string(), id: z.string(), name: z.string(), state: z.string() })),
      total: z.int(),
      locked: z
        .strictObject({
          items: z.array(z.strictObject({ object: z.string(), version: z.string(), lockedUntil: z.iso.datetime().optional(), legalHold: z.boolean() })),
          total: z.int(),
        })
        .meta({ description: 'Objects under a compliance lock or a legal hold: the first of them, and how many' }),
    }),
    examples: [['tenant contents acme', '']],
  }),
});
