import { z } from 'zod';
import { action, contract, query, resource } from '../../kernel/contract.ts';

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
    description: 'Only administrators of the installation are told about the host.',
    target: false,
    output: z.strictObject({
      version: z.string(),
      tenant: z.string(),
      principal: z.string(),
      installation: z.string().optional(),
      dataDir: z.string().optional(),
      node: z.string().optional(),
      startedAt: z.iso.datetime().optional(),
      drivers: z.array(z.strictObject({ port: z.string(), driver: z.string(), version: z.string().optional(), features: z.array(Feature) })),
    }),
    examples: [['system info', '']],
  }),
  doctor: query(system, {
    summary: 'Check what works here, and say how to mend what does not',
    target: false,
    access: 'administrator',
    output: z.strictObject({ ok: z.boolean(), checks: z.array(Check) }),
    examples: [['system doctor', '']],
  }),
  rotateMasterKey: action(system, {
    summary: 'Change the master key, and seal everything anew with the new one',
    description:
      'Where the master key is a file of the data directory, a new one is made. Where it comes from a file outside or from a command, put the new key there first; it is read again. One that was given as CLOUD_MASTER_KEY changes at a start with CLOUD_MASTER_KEY_NEXT.',
    target: false,
    access: 'administrator',
    output: z.strictObject({
      from: z.string().meta({ description: 'Id of the master key before' }),
      to: z.string().meta({ description: 'Id of the one now in use' }),
    }),
    examples: [['system rotate-master-key', '']],
  }),
});
