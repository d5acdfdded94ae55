import { z } from 'zod';
import { action, contract, crud, immutable, resource } from '../../kernel/contract.ts';

export const peering = resource('peering', {
  summary: 'Ways between two VPCs',
  description:
    'A peering joins two VPCs, of one tenant or of two: their instances reach each other by private address, as far as security groups let them. It must be accepted, by the tenant of the other VPC; nothing passes before that, nor after its end.',
  prefix: 'pcx',
  reconciled: true,
  states: ['pending-acceptance', 'active', 'rejected', 'deleting', 'error'],
  spec: {
    // Kept by `alsoUses` while the peering is open: one that was rejected keeps no VPC.
    vpc: immutable(z.string().min(1).meta({ ref: 'vpc', weak: true, description: 'VPC of this tenant' })),
    peerVpc: immutable(
      z.string().min(1).max(63).meta({ description: 'VPC to be joined with: its name or id, or the id of one of another tenant', example: 'elsewhere' }),
    ),
    description: z.string().max(255).optional().meta({ description: 'Free text' }),
  },
  status: {
    role: z.enum(['requester', 'accepter']).meta({ description: 'Whether this tenant asked, or was asked' }),
    cidr: z.string().meta({ description: 'Network of the VPC' }),
    peerVpcId: z.string().meta({ description: 'Id of the other VPC' }),
    peerCidr: z.string().meta({ description: 'Network of the other VPC' }),
    peerTenant: z.string().optional().meta({ description: 'Tenant of the other VPC, if that is another' }),
  },
  columns: ['name', 'vpc', 'peerVpc', 'state', 'role', 'peerCidr', 'createdAt'],
  wide: ['id', 'peerVpcId', 'peerTenant', 'description', 'reason'],
  quota: {
    // What others ask for costs nothing until it is accepted.
    peerings: (spec) => {
      const { asked, decision } = spec as { asked?: boolean; decision?: string };
      return asked === true && decision !== 'active' ? 0 : 1;
    },
  },
});

export const peerings = contract(peering, {
  ...crud(peering, {
    create: {
      summary: 'Ask for a peering',
      description:
        'Nothing passes until it is accepted. Of another tenant the id of its VPC is needed, which that tenant knows; it finds the peering in its own list.',
      input: { accept: z.boolean().default(false).meta({ description: 'Accept it at once; both VPCs are of this tenant' }) },
      examples: [
        ['peering create prod-test --vpc prod --peer-vpc test --accept', 'two VPCs of one tenant'],
        ['peering create partner --vpc prod --peer-vpc vpc-0abc…', 'one of another tenant, which then accepts it'],
      ],
    },
    delete: { description: 'Either side may, at any time. It ends for both at once, also on connections that are open.' },
  }),
  accept: action(peering, {
    summary: 'Accept a peering',
    async: true,
    examples: [['peering accept partner', '']],
  }),
  reject: action(peering, {
    summary: 'Reject a peering that was asked for',
    async: true,
    examples: [['peering reject partner', '']],
  }),
  // What follows in the other tenant, in the same transaction.
  mirror: action(peering, {
    summary: 'Make the row of the tenant that is asked',
    internal: true,
    target: false,
    input: { name: z.string(), link: z.string(), vpcId: z.string(), cidr: z.string(), peerVpcId: z.string(), peerCidr: z.string(), peerTenant: z.string() },
    output: z.strictObject({ id: z.string() }),
  }),
  decided: action(peering, {
    summary: 'The other side has accepted or rejected',
    internal: true,
    input: { decision: z.enum(['active', 'rejected']), peerTenant: z.string() },
  }),
  ended: action(peering, { summary: 'The other side has ended it', internal: true }),
});
