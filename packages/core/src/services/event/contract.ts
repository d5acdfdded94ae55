import { z } from 'zod';
import { contract, query, resource, stream } from '../../kernel/contract.ts';

export const Event = z.strictObject({
  id: z.int().meta({ description: 'Counts up; the cursor of `since`' }),
  time: z.iso.datetime(),
  type: z.string().meta({ description: 'What happened: `instance.running`' }),
  resource: z.string(),
  resourceId: z.string(),
  name: z.string(),
  message: z.string(),
  principal: z.string().meta({ description: 'Who; `system` for controllers' }),
  requestId: z.string().optional(),
});

export const event = resource('event', {
  summary: 'What happened to resources',
  stored: false,
  columns: ['time', 'type', 'name', 'message'],
  wide: ['id', 'resourceId', 'principal', 'requestId'],
});

const filters = {
  resource: z.string().optional().meta({ description: 'Only this kind of resource, or one (`instance/web`)', example: 'instance' }),
  type: z.string().optional().meta({ description: 'Only this type; `*` at the end stands for anything', example: 'instance.*' }),
};

export const events = contract(event, {
  list: query(event, {
    summary: 'List events, oldest first',
    target: false,
    input: {
      ...filters,
      since: z.int().min(0).optional().meta({ description: 'Only after this event id, beginning with the next' }),
      limit: z.int().min(1).max(1000).default(100).meta({ description: 'The newest so many; with --since the next so many' }),
    },
    output: z.strictObject({ items: z.array(Event) }),
    examples: [
      ['event list', ''],
      ['event list --resource instance/web --limit 20', ''],
    ],
  }),
  watch: stream(event, {
    summary: 'Show events as they happen',
    target: false,
    input: { ...filters, since: z.int().min(0).optional().meta({ description: 'Begin after this event id instead of now' }) },
    output: Event,
    examples: [['event watch --type "instance.*"', 'until Ctrl-C']],
  }),
});
