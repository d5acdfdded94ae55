import { z } from 'zod';
import { contract, query, resource } from '../../kernel/contract.ts';

export const system = resource('system', {
  summary: 'The installation itself',
  plural: 'system',
  stored: false,
  columns: ['port', 'driver', 'feature', 'level', 'detail'],
});

export const Feature = z.strictObject({ name: z.string(), level: z.enum(['enforced', 'recorded', 'unsupported']), detail: z.string() });
export const Check = z.strictObject({ name: z.string(), ok: z.boolean(), detail: z.string(), remedy: z.string().optional() });

export const systems = contract(system, {
  info: query(system, {
    summary: 'What this installation is, and what each driver enforces or only records',
    target: false,
    output: z.strictObject({
      version: z.string(),
      installation: z.string(),
      dataDir: z.string(),
      tenant: z.string(),
      principal: z.string(),
      node: z.string(),
      startedAt: z.iso.datetime(),
      drivers: z.array(z.strictObject({ port: z.string(), driver: z.string(), version: z.string().optional(), features: z.array(Feature) })),
    }),
    examples: [['system info', '']],
  }),
  doctor: query(system, {
    summary: 'Check what works here, and say how to mend what does not',
    target: false,
    output: z.strictObject({ ok: z.boolean(), checks: z.array(Check) }),
    examples: [['system doctor', '']],
  }),
});
