import { z } from 'zod';
import { contract, crud, immutable, resource } from '../../kernel/contract.ts';

export const internetGateway = resource('internet-gateway', {
  summary: 'Ways between VPCs and the outside',
  description:
    'A VPC has at most one internet gateway. Subnets whose route table leads to it reach the outside, with the address of the host, and are reached by elastic IPs.',
  prefix: 'igw',
  reconciled: true,
  spec: {
    vpc: immutable(z.string().min(1).meta({ ref: 'vpc', description: 'VPC that it is for' })),
    description: z.string().max(255).optional().meta({ description: 'Free text' }),
  },
  columns: ['name', 'vpc', 'state', 'createdAt'],
  wide: ['id', 'description', 'reason'],
  quota: { internetGateways: 1 },
});

export const internetGateways = contract(internetGateway, {
  ...crud(internetGateway, {
    create: {
      description: 'It leads nowhere until a route table has a route to it.',
      examples: [['internet-gateway create out --vpc prod', 'then: cloud route-table route add public 0.0.0.0/0 --internet-gateway out']],
    },
  }),
});
