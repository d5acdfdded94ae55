import { z } from 'zod';
import { action, contract, crud, immutable, query, resource } from '../../kernel/contract.ts';

/** Routes of one table. */
export const MOST_ROUTES = 100;

const destinationField = z
  .string()
  .regex(/^(\d{1,3})(\.\d{1,3}){3}\/\d{1,2}$/, 'use an IPv4 network such as 0.0.0.0/0, which is everywhere')
  .meta({ description: 'IPv4 network that is led to; the longest one that fits decides', example: '0.0.0.0/0' });
const internetGatewayField = z.string().min(1).optional().meta({ ref: 'internet-gateway', description: 'Internet gateway that it leads to' });
const natGatewayField = z.string().min(1).optional().meta({ ref: 'nat-gateway', description: 'NAT gateway that it leads to' });

export const Route = z.strictObject({
  destination: destinationField,
  internetGateway: internetGatewayField,
  internetGatewayId: z.string().optional(),
  natGateway: natGatewayField,
  natGatewayId: z.string().optional(),
  blackhole: z.boolean().optional().meta({ description: 'It leads nowhere' }),
});

const routesField = z
  .array(Route)
  .max(MOST_ROUTES)
  .meta({ description: 'Routes: destination, and one of internetGateway, natGateway and blackhole', cli: { file: true } });

export const routeTable = resource('route-table', {
  summary: 'Where subnets lead',
  description:
    'A route table says where the subnets that have it lead, besides their own VPC, whose range is always there, and the VPCs that it is peered with.',
  prefix: 'rtb',
  reconciled: true,
  spec: {
    vpc: immutable(z.string().min(1).meta({ ref: 'vpc', description: 'VPC whose subnets it is for' })),
    description: z.string().max(255).optional().meta({ description: 'Free text' }),
    routes: routesField.default([]),
  },
  columns: ['name', 'vpc', 'state', 'description', 'createdAt'],
  wide: ['id', 'routes', 'reason'],
  quota: { routeTables: 1 },
});

export const routeTables = contract(routeTable, {
  ...crud(routeTable, {
    create: {
      examples: [
        ['route-table create public --vpc prod', ''],
        ['route-table create public --vpc prod --routes \'{"destination":"0.0.0.0/0","internetGateway":"out"}\'', ''],
      ],
    },
  }),
  routeAdd: action(routeTable, {
    summary: 'Add a route to a route table',
    description: 'Exactly one of --internet-gateway, --nat-gateway and --blackhole says where it leads.',
    async: true,
    input: {
      destination: destinationField.meta({ ...destinationField.meta(), cli: { positional: true } }),
      internetGateway: internetGatewayField,
      natGateway: natGatewayField,
      blackhole: z.boolean().default(false).meta({ description: 'It leads nowhere' }),
    },
    examples: [
      ['route-table route add public 0.0.0.0/0 --internet-gateway out', ''],
      ['route-table route add private 0.0.0.0/0 --nat-gateway nat', 'out, and none in'],
      ['route-table route add public 203.0.113.0/24 --blackhole', ''],
    ],
  }),
  routeRemove: action(routeTable, {
    summary: 'Remove a route from a route table',
    async: true,
    input: { destination: destinationField.meta({ ...destinationField.meta(), cli: { positional: true } }) },
    examples: [['route-table route remove public 0.0.0.0/0', '']],
  }),
  routeList: query(routeTable, {
    summary: 'List the routes of a route table',
    output: z.strictObject({ items: z.array(Route) }),
    examples: [['route-table route list public', '']],
  }),
});
