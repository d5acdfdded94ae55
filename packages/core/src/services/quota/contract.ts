import { z } from 'zod';
import { action, contract, query, resource } from '../../kernel/contract.ts';

const quota = resource('quota', {
  summary: 'Limits of the tenant, and what is used of them',
  stored: false,
  restricted: 'changes',
  columns: ['name', 'used', 'limit', 'unit', 'source'],
});

export const QuotaView = z.strictObject({
  name: z.string(),
  used: z.number(),
  limit: z.number().optional().meta({ description: 'Absent: none' }),
  unit: z.string().optional(),
  source: z.enum(['tenant', 'default', 'none']).meta({ description: 'Whether the limit was set for this tenant or for all' }),
});

const name = z
  .string()
  .min(1)
  .max(64)
  .meta({ description: 'What is limited, as `quota list` names it', example: 'instances', cli: { positional: true } });
const forAll = z
  .boolean()
  .default(false)
  .meta({ description: 'The limit of all tenants that have none of their own', cli: { flag: 'default' } });

export const quotas = contract(quota, {
  list: query(quota, {
    summary: 'List limits and use',
    target: false,
    output: z.strictObject({ items: z.array(QuotaView) }),
    examples: [['quota list', '']],
  }),
  set: action(quota, {
    summary: 'Set a limit',
    description: 'What is there already stays, even if it is more; only new things are refused.',
    target: false,
    access: 'administrator',
    input: {
      name,
      limit: z
        .number()
        .min(0)
        .max(Number.MAX_SAFE_INTEGER)
        .meta({ description: 'Most that may be in use', example: 20, cli: { positional: true } }),
      forAll,
    },
    output: QuotaView,
    examples: [
      ['quota set instances 20 --tenant acme', ''],
      ['quota set instances 10 --default', 'for every tenant without a limit of its own'],
    ],
  }),
  unset: action(quota, {
    summary: 'Take a limit away',
    target: false,
    access: 'administrator',
    input: { name, forAll },
    output: QuotaView,
    examples: [['quota unset instances --tenant acme', '']],
  }),
});
