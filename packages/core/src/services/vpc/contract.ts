import { z } from 'zod';
import { action, contract, crud, immutable, query, resource } from '../../kernel/contract.ts';

export const cidrField = immutable(
  z
    .string()
    .regex(/^(\d{1,3})(\.\d{1,3}){3}\/\d{1,2}$/, 'use an IPv4 network such as 10.20.0.0/16')
    .meta({ description: 'IPv4 network of the VPC, private (RFC 1918) and from /16 to /28', example: '10.20.0.0/16' }),
);

export const vpc = resource('vpc', {
  summary: 'Isolated private networks',
  description: 'A VPC is a network of its own: its instances reach each other by address and by name, and nothing passes between two VPCs.',
  reconciled: true,
  spec: {
    cidr: cidrField,
    internet: z.boolean().default(true).meta({ description: 'Instances outside every subnet reach the outside, with the address of the host' }),
    description: z.string().max(255).optional().meta({ description: 'Free text' }),
  },
  status: {
    gateway: z.string().meta({ description: "The VPC's own address" }),
    addressesUsed: z.int().meta({ description: 'Addresses given to instances' }),
    addressesTotal: z.int().meta({ description: 'Addresses that can be given' }),
  },
  columns: ['name', 'cidr', 'state', 'addressesUsed', 'createdAt'],
  wide: ['id', 'gateway', 'addressesTotal', 'description', 'reason'],
  quota: { vpcs: 1 },
});

export const vpcs = contract(vpc, {
  ...crud(vpc, {
    create: {
      input: { cidr: cidrField.optional().describe('IPv4 network, private and from /16 to /28; a free /20 of 10.0.0.0/8 when absent') },
      examples: [
        ['vpc create prod --cidr 10.20.0.0/16', 'with a network of your choice'],
        ['vpc create scratch', 'with a free network'],
      ],
    },
  }),
  // The VPC of those who name none: seen to before their transaction, made within it.
  survey: query(vpc, {
    summary: 'What the host uses, if the VPC is not there yet',
    internal: true,
    target: false,
    input: { name: z.string() },
    output: z.object({ hostNetworks: z.array(z.string()).optional() }),
  }),
  provide: action(vpc, {
    summary: 'The VPC of that name, made if need be',
    internal: true,
    target: false,
    input: { name: z.string(), description: z.string(), hostNetworks: z.array(z.string()) },
    output: z.object({ id: z.string(), name: z.string() }),
  }),
  carve: action(vpc, {
    summary: 'Whether a network can be a subnet of the VPC, and what it would have',
    internal: true,
    input: { cidr: z.string() },
    output: z.strictObject({ gateway: z.string(), addressesTotal: z.int() }),
  }),
  allocateAddress: action(vpc, {
    summary: 'Give an address of the VPC, or of the subnet of that id, to an owner',
    internal: true,
    input: { owner: z.string(), subnet: z.string().optional(), address: z.string().optional() },
    output: z.strictObject({ address: z.string() }),
  }),
  releaseAddresses: action(vpc, { summary: "Take back an owner's addresses", internal: true, input: { owner: z.string() }, output: z.strictObject({}) }),
});
