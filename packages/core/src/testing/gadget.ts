// A service that exists only in tests: every kind of field that the kernel treats in its own way, and a controller that does what the test says.
import { z } from 'zod';
import { action, contract, crud, resource } from '../kernel/contract.ts';
import { type Controller, service } from '../kernel/service.ts';

const Part = z.strictObject({
  gadget: z.string().min(1).meta({ ref: 'gadget', description: 'Gadget' }),
  gadgetId: z.string().optional(),
  role: z.enum(['wheel', 'lever']).default('wheel'),
});

export const gadget = resource('gadget', {
  summary: 'Things for tests',
  prefix: 'gad',
  reconciled: true,
  spec: {
    size: z.int().min(1).max(100).default(1).meta({ description: 'Size', example: 3 }),
    token: z.string().optional().meta({ secret: true, description: 'Secret' }),
    friend: z.string().optional().meta({ ref: 'gadget', description: 'Another one' }),
    friends: z.array(z.string()).optional().meta({ ref: 'gadget', description: 'Other ones' }),
    parts: z
      .array(
        z
          .union([z.string(), Part])
          .transform((part): z.input<typeof Part> => (typeof part === 'string' ? { gadget: part } : part))
          .pipe(Part),
      )
      .optional()
      .meta({ description: 'Made of' }),
  },
  status: { worked: z.int().optional().meta({ description: 'Times worked on' }) },
  columns: ['name', 'state'],
  quota: { gadgets: 1, gadgetSize: ({ size }) => size },
});

export const gadgets = contract(gadget, {
  ...crud(gadget),
  poke: action(gadget, { summary: 'Poke', async: true, input: { spoil: z.boolean().default(false) } }),
});

export const plain = resource('plain', {
  summary: 'Things without a controller',
  prefix: 'pln',
  spec: { note: z.string().max(20).optional().meta({ description: 'Note' }), secret: z.string().optional().meta({ secret: true }) },
  columns: ['name'],
});
export const plains = contract(plain, crud(plain));

export type GadgetController = Controller<typeof gadgets>;

/** The service with a controller whose verbs the test may replace at any time. */
export function gadgetService(plan: Partial<GadgetController> = {}) {
  return service(gadgets, () => ({
    handlers: {
      async poke(call) {
        const row = await call.rows.update(call.target, { spec: { size: call.target.spec.size + 1 }, message: 'poked' });
        if (call.input.spoil) throw new Error('spoilt');
        return row;
      },
    },
    controller: {
      ...plan,
      reconcile: async (row, context) => {
        if (plan.reconcile !== undefined) return plan.reconcile(row, context);
        await context.report({ state: 'ready', reason: null });
      },
      remove: async (row, context) => plan.remove?.(row, context),
    },
  }));
}

export const plainService = service(plains, () => ({}));
export const testContracts = { gadget: gadgets, plain: plains } as const;
