import { z } from 'zod';
import { contract, crud, immutable, resource } from '../../kernel/contract.ts';

export const subnet = resource('subnet', {
  summary: 'Parts of a VPC with routes of their own',
  description:
    "A subnet is a part of its VPC's network. Its instances reach the whole VPC; where else they reach is said by its route table. Without one it is private: no way out, and none in.",
  prefix: 'sub',
  reconciled: true,
  spec: {
    vpc: immutable(z.string().min(1).meta({ ref: 'vpc', description: 'VPC that it is a part of' })),
    cidr: immutable(
      z
        .string()
        .regex(/^(\d{1,3})(\.\d{1,3}){3}\/\d{1,2}$/, 'use an IPv4 network such as 10.20.1.0/24')
        .meta({ description: "IPv4 network, a part of the VPC's, from /16 to /28", example: '10.20.1.0/24' }),
    ),
    routeTable: z.string().min(1).optional().meta({ ref: 'route-table', description: 'Route table; private when absent' }),
    description: z.string().max(255).optional().meta({ description: 'Free text' }),
  },
  status: {
    gateway: z.string().meta({ description: "The VPC's own address, which its instances send through" }),
    addressesUsed: z.int().meta({ description: 'Addresses given to instances' }),
    addressesTotal: z.int().meta({ description: 'Addresses that can be given' }),
  },
  columns: ['name', 'vpc', 'cidr', 'state', 'routeTable', 'addressesUsed', 'createdAt'],
  wide: ['id', 'gateway', 'addressesTotal', 'description', 'reason'],
  quota: { subnets: 1 },
});

export const subnets = contract(subnet, {
  ...crud(subnet, {
    create: {
      examples: [
        ['subnet create apps --vpc prod --cidr 10.20.1.0/24', 'private'],
        ['subnet create web --vpc prod --cidr 10.20.2.0/24 --route-table public', ''],
      ],
    },
    update: {
      examples: [
        ['subnet update apps --route-table public', ''],
        ['subnet update apps --unset route-table', 'private again'],
      ],
    },
  }),
});
