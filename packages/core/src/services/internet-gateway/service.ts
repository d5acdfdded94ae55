// Internet gateways: one for each VPC, and nothing in the world but what route tables make of it.
import { Fault } from '../../kernel/errors.ts';
import { tableName } from '../../kernel/migrate.ts';
import { service } from '../../kernel/service.ts';
import { networkPort } from '../vpc/driver.ts';
import { networks } from '../vpc/network-contract.ts';
import { internetGateways } from './contract.ts';

export const internetGatewayService = service(internetGateways, () => ({
  needs: [networkPort],
  prepare: {
    async create(call) {
      await call.client({ network: networks }).network.require({ what: 'Gateways' });
    },
  },
  handlers: {
    async create(call) {
      const { name, labels, ...spec } = call.input as typeof call.input & { vpcId: string };
      const rows = await call.sql
        .selectFrom(tableName('internet-gateway'))
        .select(['name', 'spec', 'deleted_at'])
        .where('tenant', '=', call.tenantId)
        .execute();
      const there = rows.find((row) => (JSON.parse(row.spec) as { vpcId: string }).vpcId === spec.vpcId);
      if (there !== undefined) {
        throw there.deleted_at === null
          ? new Fault('conflict', `The VPC ${spec.vpc} has an internet gateway: ${there.name}; one is enough for all of its route tables`, {
              details: [{ path: 'vpc', message: 'name a VPC without an internet gateway' }],
              hint: `cloud internet-gateway get ${there.name}`,
            })
          : new Fault('conflict', `The internet gateway ${there.name} of the VPC ${spec.vpc} is still being deleted`, {
              hint: 'wait a moment, then try again',
            });
      }
      return call.rows.insert({ name, labels, spec });
    },
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
