import { z } from 'zod';
import { contract, crud, immutable, resource } from '../../kernel/contract.ts';

export const natGateway = resource('nat-gateway', {
  summary: 'Ways out for private subnets',
  description:
    'A NAT gateway stands in a subnet that an internet gateway leads out of. Subnets whose route table leads to it reach the outside, and are not reached from there.',
  prefix: 'nat',
  reconciled: true,
  spec: {
    subnet: immutable(z.string().min(1).meta({ ref: 'subnet', description: 'Subnet to stand in, one with a route to an internet gateway' })),
    elasticIp: immutable(
      z.string().min(1).optional().meta({ ref: 'elastic-ip', description: 'Source address that others on this host see; the address of the host when absent' }),
    ),
    description: z.string().max(255).optional().meta({ description: 'Free text' }),
  },
  status: {
    vpc: z.string().optional().meta({ description: 'VPC that it is in' }),
    vpcId: z.string().optional().meta({ description: 'Id of that VPC' }),
    address: z.string().optional().meta({ description: 'Address of its elastic IP' }),
  },
  columns: ['name', 'subnet', 'vpc', 'state', 'address', 'createdAt'],
  wide: ['id', 'elasticIp', 'description', 'reason'],
  quota: { natGateways: 1 },
});

export const natGateways = contract(natGateway, {
  ...crud(natGateway, {
    create: {
      description: 'It leads nowhere until a route table has a route to it.',
      examples: [
        ['nat-gateway create nat --subnet public', 'then: cloud route-table route add private 0.0.0.0/0 --nat-gateway nat'],
        ['nat-gateway create nat --subnet public --elastic-ip outward', ''],
      ],
    },
  }),
});
