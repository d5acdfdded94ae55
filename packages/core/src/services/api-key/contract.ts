import { z } from 'zod';
import { action, contract, crud, immutable, resource } from '../../kernel/contract.ts';

export const apiKey = resource('api-key', {
  summary: 'API keys: credentials for programs',
  description: 'A key acts as its owner, in the tenant that it was made in. Policies on a key narrow it; they never widen what its owner may do.',
  prefix: 'key',
  spec: {
    serviceAccount: immutable(z.string().min(1).optional().meta({ ref: 'service-account', description: 'Acts as this service account instead of you' })),
    policies: immutable(
      z
        .array(z.string().min(1).meta({ ref: 'policy' }))
        .max(10)
        .default([])
        .meta({ ref: 'policy', description: 'Policies that must allow too', cli: { flag: 'policy' } }),
    ),
    expiresAt: immutable(z.iso.datetime().optional().meta({ description: 'When it stops working', example: '2099-01-01T00:00:00Z' })),
    description: z.string().min(1).max(1024).optional().meta({ description: 'What it is for', example: 'Nightly backup' }),
  },
  status: {
    ownerId: z.string().meta({ description: 'Id of the user or service account that it acts as' }),
    owner: z.string().meta({ description: 'E-mail address or name of that' }),
    hint: z.string().meta({ description: 'How the key begins' }),
    lastUsedAt: z.iso.datetime().optional().meta({ description: 'Newest use, to the minute' }),
    lastUsedFrom: z.string().optional().meta({ description: 'Where that came from' }),
    rotatedAt: z.iso.datetime().optional().meta({ description: 'When it got a new secret' }),
  },
  columns: ['name', 'owner', 'hint', 'policies', 'expiresAt', 'lastUsedAt'],
  wide: ['id', 'lastUsedFrom', 'createdAt'],
  states: ['active', 'expired'],
  quota: { apiKeys: 1 },
});

const {
  create,
  list,
  get,
  update,
  delete: remove,
} = crud(apiKey, {
  create: {
    description: 'The key is shown once and stored as a hash.',
    examples: [
      ['api-key create backup', ''],
      ['api-key create ci --service-account ci --expires-at 2099-01-01T00:00:00Z --policy read-only', ''],
    ],
  },
  list: { summary: 'List your API keys; administrators see all of the tenant', examples: [['api-key list', '']] },
  delete: { summary: 'Revoke an API key', description: 'From the next call on it is refused.', examples: [['api-key revoke backup', '']] },
});
/** The answer to a create or rotate: the only time the key is shown. */
export const IssuedKey = z.strictObject({
  ...(apiKey.output as unknown as z.ZodObject).shape,
  key: z.string().meta({ description: 'The key. It is not shown again.' }),
});

export const apiKeys = contract(apiKey, {
  create: { ...create, output: IssuedKey as unknown as typeof create.output & typeof IssuedKey, answersResource: false, secretAnswer: true },
  list,
  get,
  update,
  rotate: action(apiKey, {
    summary: 'Give an API key a new secret',
    description: 'The old one stops working at once, unless `grace` lets it live for a while.',
    secretAnswer: true,
    input: {
      grace: z
        .int()
        .min(0)
        .max(604_800)
        .default(0)
        .meta({ description: 'Seconds for which the old one goes on working', example: 3600, cli: { seconds: true } }),
    },
    output: IssuedKey,
    examples: [['api-key rotate backup --grace 1h', '']],
  }),
  revoke: remove,
});
