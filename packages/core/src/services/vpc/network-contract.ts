import { z } from 'zod';
import { contract, query, resource } from '../../kernel/contract.ts';
import { PROTOCOLS } from './protocol.ts';

const network = resource('network', {
  summary: 'What passes between instances, networks and the outside',
  stored: false,
  columns: ['name'],
});

const Step = z.strictObject({
  /** What looked at the packet. */
  at: z.string().meta({ description: 'Where: egress, route, peering, address, ingress' }),
  passes: z.boolean(),
  detail: z.string().meta({ description: 'The rule or route that decides, or what is missing' }),
});

export const Trace = z.strictObject({
  passes: z.boolean().meta({ description: 'Whether the packet arrives, by the rules' }),
  summary: z.string().meta({ description: 'In one sentence' }),
  steps: z.array(Step),
  live: z
    .strictObject({
      passes: z.boolean(),
      detail: z.string(),
      agrees: z.boolean().meta({ description: 'Whether the packet did what the rules say' }),
    })
    .optional()
    .meta({ description: 'What happened to a packet that was sent' }),
});

export const networks = contract(network, {
  trace: query(network, {
    summary: 'Say whether a packet would pass and, if not, what stops it',
    target: false,
    input: {
      from: z
        .string()
        .min(1)
        .meta({ description: 'Instance that sends', cli: { positional: true }, example: 'web' }),
      to: z
        .string()
        .min(1)
        .meta({ description: 'Instance or IPv4 address that receives', cli: { positional: true }, example: '10.20.1.7' }),
      port: z.int().min(1).max(65_535).optional().meta({ description: 'Destination port, of tcp and udp', example: 5432 }),
      protocol: z.enum(PROTOCOLS).exclude(['all']).default('tcp').meta({ description: 'tcp, udp or icmp' }),
      live: z.boolean().default(false).meta({ description: 'Send one from inside the instance, too, and compare' }),
    },
    output: Trace,
    examples: [
      ['network trace web db --port 5432', ''],
      ['network trace web 1.1.1.1 --protocol icmp --live', 'and send one'],
    ],
  }),
  // For the controllers of everything that a plane is made of: what is committed now is in force when this answers.
  settle: query(network, { summary: 'Wait until the rules are in force', internal: true, target: false, output: z.strictObject({}) }),
  // Before something is made that only rules make real.
  require: query(network, {
    summary: 'Refuse where no rules can be enforced',
    internal: true,
    target: false,
    input: { what: z.string() },
    output: z.strictObject({}),
  }),
  // Data planes at the gateways say where they listen, so that the rules lead there.
  serve: query(network, {
    summary: 'Lead a service of the gateways to a port',
    internal: true,
    target: false,
    input: { service: z.enum(['dns', 'metadata']), port: z.int().min(1).max(65_535).optional() },
    output: z.strictObject({}),
  }),
});
