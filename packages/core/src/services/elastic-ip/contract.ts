import { z } from 'zod';
import { action, contract, crud, immutable, resource } from '../../kernel/contract.ts';

export const elasticIp = resource('elastic-ip', {
  summary: 'Public addresses that move between instances',
  description:
    'An elastic IP is an address of 100.64.0.0/10 that stays with the tenant until it is released. Associated with an instance it leads there, from this host and from other VPCs, as far as security groups let it, and is the source address of what the instance sends out.',
  prefix: 'eip',
  reconciled: true,
  spec: {
    instance: immutable(z.string().min(1).optional().meta({ ref: 'instance', weak: true, description: 'Instance that it leads to' })),
    description: z.string().max(255).optional().meta({ description: 'Free text' }),
  },
  status: {
    address: z.string().meta({ description: 'The address' }),
    privateAddress: z.string().optional().meta({ description: 'Private address of the instance' }),
    natGateway: z.string().optional().meta({ description: 'NAT gateway that it is the source address of' }),
    natGatewayId: z.string().optional().meta({ description: 'Id of that NAT gateway' }),
  },
  columns: ['name', 'address', 'state', 'instance', 'privateAddress', 'createdAt'],
  wide: ['id', 'natGateway', 'description', 'reason'],
  quota: { elasticIps: 1 },
});

const {
  create: allocate,
  delete: release,
  ...standard
} = crud(elasticIp, {
  create: {
    summary: 'Get an elastic IP',
    description: 'It is the tenant’s until it is released, used or not. A released one rests before anybody gets it again.',
    examples: [
      ['elastic-ip allocate front', ''],
      ['elastic-ip allocate front --instance web', 'and associate it'],
    ],
  },
  delete: {
    summary: 'Give an elastic IP back',
    description: 'It must not be associated. Nobody gets the same address again soon, not even its tenant.',
    examples: [['elastic-ip release front', '']],
  },
});

export const elasticIps = contract(elasticIp, {
  allocate,
  ...standard,
  release,
  associate: action(elasticIp, {
    summary: 'Lead an elastic IP to an instance',
    description: 'One that leads to another instance moves in one step. An instance has at most one.',
    async: true,
    input: { instance: z.string().min(1).meta({ ref: 'instance', description: 'Instance that it is to lead to', example: 'web' }) },
    examples: [['elastic-ip associate front --instance web', '']],
  }),
  disassociate: action(elasticIp, {
    summary: 'Take an elastic IP from its instance',
    description: 'It stays with the tenant.',
    async: true,
    examples: [['elastic-ip disassociate front', '']],
  }),
  // For instances that go, and for NAT gateways.
  leave: action(elasticIp, {
    summary: 'Take its elastic IP from an instance, if it has one',
    internal: true,
    target: false,
    input: { instanceId: z.string() },
    output: z.strictObject({}),
  }),
  claim: action(elasticIp, { summary: 'Mark as of a NAT gateway', internal: true, input: { natGateway: z.string(), natGatewayId: z.string() } }),
  unclaim: action(elasticIp, { summary: 'Mark as free', internal: true, input: { natGatewayId: z.string() } }),
});
