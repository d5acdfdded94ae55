import { z } from 'zod';
import { action, contract, crud, resource } from '../../kernel/contract.ts';

export const serviceAccount = resource('service-account', {
  summary: 'Service accounts: principals for programs',
  restricted: 'all',
  prefix: 'sa',
  spec: {
    roles: z
      .array(z.string().min(1).max(63))
      .max(16)
      .default([])
      .meta({ description: 'Roles in this tenant', example: ['viewer'], cli: { flag: 'role' } }),
    disabled: z.boolean().default(false).meta({ description: 'Tokens and keys are refused at once' }),
    description: z.string().min(1).max(1024).optional().meta({ description: 'What it is for', example: 'Deploys from CI' }),
  },
  status: {
    secretSet: z.boolean().meta({ description: 'Whether it has a client secret' }),
    lastUsedAt: z.iso.datetime().optional().meta({ description: 'Newest token' }),
  },
  columns: ['name', 'roles', 'disabled', 'lastUsedAt', 'createdAt'],
  wide: ['id', 'secretSet', 'description'],
  quota: { serviceAccounts: 1 },
});

export const serviceAccounts = contract(serviceAccount, {
  ...crud(serviceAccount, {
    create: { examples: [['service-account create ci --role developer', '']] },
    update: { examples: [['service-account update ci --disabled', '']] },
    delete: { description: 'Refused while API keys act as it.' },
  }),
  rotateSecret: action(serviceAccount, {
    summary: 'Make a client secret',
    description: 'Shown once and stored as a hash. The one before stops working, and its tokens with it.',
    secretAnswer: true,
    output: z.strictObject({ clientId: z.string(), clientSecret: z.string() }),
    examples: [['service-account rotate-secret ci', 'then `cloud auth client-token`']],
  }),
});
