// Subnets: which part of a VPC they can be is decided by the VPC, which gives their addresses; where they lead is their route table's.
import type { Kysely } from 'kysely';
import { Fault } from '../../kernel/errors.ts';
import { type RowOf, service } from '../../kernel/service.ts';
import { vpcs } from '../vpc/contract.ts';
import { networkPort } from '../vpc/driver.ts';
import { networks } from '../vpc/network-contract.ts';
import { subnets } from './contract.ts';

type Subnet = RowOf<typeof subnets>;

/** What is read here of the tables of `vpc`. */
type Addresses = Kysely<{ vpc_address: { subnet_id: string | null } }>;

function sameVpc(routeTable: { name: string; spec: Readonly<Record<string, unknown>> } | undefined, vpc: { name: string; id: string }): void {
  if (routeTable === undefined || routeTable.spec['vpcId'] === vpc.id) return;
  const message = `the route table ${routeTable.name} is of the VPC ${String(routeTable.spec['vpc'])}; use one of ${vpc.name}`;
  throw new Fault('invalid_input', `routeTable: ${message}`, { details: [{ path: 'routeTable', message }], hint: 'cloud route-table list' });
}

export const subnetService = service(subnets, () => ({
  needs: [networkPort],
  prepare: {
    async create(call) {
      await call.client({ network: networks }).network.require({ what: 'Subnets' });
    },
  },
  handlers: {
    async create(call) {
      const { name, labels, ...spec } = call.input as typeof call.input & { vpcId: string };
      sameVpc(call.refs['routeTable']?.[0], { name: spec.vpc, id: spec.vpcId });
      const { gateway, addressesTotal } = await call.client({ vpc: vpcs }).vpc.carve(spec.vpcId, { cidr: spec.cidr });
      return call.rows.insert({ name, labels, spec, status: { gateway, addressesTotal } });
    },
    async update(call) {
      const { labels, ...spec } = call.input;
      sameVpc(call.refs['routeTable']?.[0], { name: call.target.spec.vpc, id: call.target.spec.vpcId as string });
      return call.rows.update(call.target, { labels, spec });
    },
  },
  async status(rows, sql) {
    const counts = await (sql as unknown as Addresses)
      .selectFrom('vpc_address')
      .select((of) => ['subnet_id', of.fn.countAll<number>().as('n')])
      .where(
        'subnet_id',
        'in',
        rows.map(({ id }) => id),
      )
      .groupBy('subnet_id')
      .execute();
    const used = new Map(counts.map(({ subnet_id, n }) => [subnet_id, Number(n)]));
    return rows.map(({ id }: Subnet) => ({ addressesUsed: used.get(id) ?? 0 }));
  },
  controller: {
    async reconcile(_row, { client, report }) {
      await client({ network: networks }).network.settle({});
      await report({ state: 'ready', reason: null });
    },
    async remove(_row, { client }) {
      await client({ network: networks }).network.settle({});
    },
  },
}));
