import { z } from 'zod';
import { contract, query, resource } from '../../kernel/contract.ts';

export const OperationView = z.strictObject({
  id: z.string(),
  kind: z.string().meta({ description: '`instance.create`' }),
  resource: z.string(),
  resourceId: z.string(),
  name: z.string(),
  state: z.enum(['running', 'succeeded', 'failed']),
  progress: z.string().optional().meta({ description: 'What is being done now' }),
  percent: z.number().optional(),
  error: z.strictObject({ code: z.string(), message: z.string(), hint: z.string().optional(), details: z.unknown().optional() }).optional(),
  createdAt: z.iso.datetime(),
  finishedAt: z.iso.datetime().optional(),
  requestId: z.string().optional(),
});

export const operation = resource('operation', {
  summary: 'Accepted changes and how far they are',
  prefix: 'op',
  stored: false,
  columns: ['id', 'kind', 'name', 'state', 'progress', 'createdAt'],
  wide: ['resourceId', 'finishedAt', 'requestId'],
});

export const operations = contract(operation, {
  list: query(operation, {
    summary: 'List operations, newest first',
    target: false,
    input: {
      state: z.enum(['running', 'succeeded', 'failed']).optional().meta({ description: 'Only in this state' }),
      limit: z.int().min(1).max(1000).default(50).meta({ description: 'At most so many' }),
    },
    output: z.strictObject({ items: z.array(OperationView) }),
    examples: [['operation list --state running', '']],
  }),
  get: query(operation, { summary: 'Show an operation', output: OperationView, examples: [['operation get op-0123456789abcdef', '']] }),
  wait: query(operation, {
    summary: 'Wait until an operation has ended',
    description: 'Answers with the operation, succeeded or failed, or with `timeout`.',
    input: {
      timeout: z
        .number()
        .min(0)
        .max(86_400)
        .default(300)
        .meta({ description: 'Wait at most so long, seconds', cli: { seconds: true } }),
      progress: z
        .string()
        .optional()
        .meta({ description: 'Answer also as soon as the progress text is another than this', cli: { hidden: true } }),
    },
    output: OperationView,
    examples: [['operation wait op-0123456789abcdef', '']],
  }),
});
