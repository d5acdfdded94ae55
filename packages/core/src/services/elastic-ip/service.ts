// Elastic IPs: which address is whose, and where it leads, decided in one transaction by a table that knows all tenants.
import type { Kysely } from 'kysely';
import { Fault } from '../../kernel/errors.ts';
import { newId } from '../../kernel/ids.ts';
import { type Call, type RowOf, service } from '../../kernel/service.ts';
import type { Row } from '../../kernel/table.ts';
import { networkPort } from '../vpc/driver.ts';
import { networks } from '../vpc/network-contract.ts';
import { elasticIps } from './contract.ts';
import { nextFree } from './pool.ts';
import { type ElasticIpTables, migrations } from './tables.ts';

type ElasticIp = RowOf<typeof elasticIps>;
type ElasticIpCall = Call<typeof elasticIps, unknown>;

/** What `prepare` learns of the host, for the handler. */
interface Prepared {
  hostNetworks: string[];
}

const table = (call: ElasticIpCall) => call.sql as unknown as Kysely<ElasticIpTables>;

/** An instance that has another one keeps that. */
async function refuseSecond(call: ElasticIpCall, instance: Row, own: string): Promise<void> {
  const other = await table(call)
    .selectFrom('elastic_ip')
    .select(['id', 'address'])
    .where('instance_id', '=', instance.id)
    .where('id', '!=', own)
    .executeTakeFirst();
  if (other === undefined) return;
  const name = (await call.rows.byId(other.id))?.name ?? other.id;
  throw new Fault('conflict', `${instance.name} has an elastic IP: ${name} (${other.address}); an instance has one`, {
    details: [{ path: 'instance', message: 'name one without an elastic IP' }],
    hint: `cloud elastic-ip disassociate ${name}`,
  });
}

const wayTo = ({ id, name, status }: Row) => ({ spec: { instance: name, instanceId: id }, status: { privateAddress: status['address'] as string } });

async function takeAway(call: ElasticIpCall, row: ElasticIp): Promise<ElasticIp> {
  await table(call).updateTable('elastic_ip').set({ instance_id: null }).where('id', '=', row.id).execute();
  const updated = await call.rows.update(row, {
    spec: { instance: null, instanceId: null },
    message: `Elastic IP ${row.name} (${row.status.address}) leads to ${row.spec.instance} no more`,
  });
  return call.rows.report(updated, { status: { privateAddress: null } });
}

function notDeleting(row: ElasticIp): ElasticIp {
  if (row.deletedAt !== undefined) throw new Fault('conflict', `The elastic IP ${row.name} is being released`);
  return row;
}

export const elasticIpService = service(elasticIps, (context) => {
  const driver = context.driver(networkPort);
  return {
    migrations,
    needs: [networkPort],
    prepare: {
      async allocate(call) {
        await call.client({ network: networks }).network.require({ what: 'Elastic IPs' });
        Object.assign(call.input, { hostNetworks: await driver.reserved() } satisfies Prepared);
      },
    },
    handlers: {
      async allocate(call) {
        const { name, labels, hostNetworks, ...spec } = call.input as typeof call.input & Prepared;
        const id = newId('eip');
        const instance = call.refs['instance']?.[0];
        if (instance !== undefined) await refuseSecond(call, instance, id);
        const address = await nextFree(call.sql, hostNetworks);
        await table(call)
          .insertInto('elastic_ip')
          .values({ address, id, tenant: call.tenantId, instance_id: instance?.id ?? null, nat_gateway_id: null })
          .execute();
        return call.rows.insert({ id, name, labels, spec, status: { address, ...(instance === undefined ? {} : wayTo(instance).status) } });
      },

      async associate(call) {
        const row = notDeleting(call.target);
        const instance = call.refs['instance']?.[0];
        if (instance === undefined) throw new Error('the instance was not resolved');
        if (row.spec.instanceId === instance.id) return row;
        const { natGateway } = row.status;
        if (natGateway !== undefined) {
          throw new Fault('conflict', `${row.name} is the source address of the NAT gateway ${natGateway}`, { hint: 'cloud elastic-ip allocate <name>' });
        }
        await refuseSecond(call, instance, row.id);
        await table(call).updateTable('elastic_ip').set({ instance_id: instance.id }).where('id', '=', row.id).execute();
        const { spec, status } = wayTo(instance);
        const updated = await call.rows.update(row, { spec, message: `Elastic IP ${row.name} (${row.status.address}) leads to ${instance.name}` });
        return call.rows.report(updated, { status });
      },
      async disassociate(call) {
        const row = notDeleting(call.target);
        if (row.spec.instanceId === undefined) throw new Fault('conflict', `${row.name} is not associated with an instance`, { hint: 'cloud elastic-ip list' });
        return takeAway(call, row);
      },
      async leave(call) {
        const found = await table(call).selectFrom('elastic_ip').select('id').where('instance_id', '=', call.input.instanceId).executeTakeFirst();
        const row = found === undefined ? undefined : await call.rows.byId(found.id);
        if (row !== undefined) await takeAway(call, row);
        return {};
      },

      async release(call) {
        const { name, spec } = call.target;
        if (spec.instanceId !== undefined) {
          throw new Fault('conflict', `The elastic IP ${name} is associated with the instance ${spec.instance}`, {
            details: { usedBy: [{ resource: 'instance', name: spec.instance, id: spec.instanceId }] },
            hint: `cloud elastic-ip disassociate ${name}`,
          });
        }
        return call.rows.delete(call.target);
      },

      async claim(call) {
        const row = notDeleting(call.target);
        const { natGateway, natGatewayId } = call.input;
        const by = row.spec.instance === undefined ? row.status.natGateway : row.spec.instance;
        if (by !== undefined) {
          throw new Fault('conflict', `The elastic IP ${row.name} is in use by ${row.spec.instance === undefined ? 'the NAT gateway' : 'the instance'} ${by}`, {
            details: [{ path: 'elasticIp', message: 'name one that is not in use' }],
            hint: row.spec.instance === undefined ? 'cloud elastic-ip allocate <name>' : `cloud elastic-ip disassociate ${row.name}`,
          });
        }
        await table(call).updateTable('elastic_ip').set({ nat_gateway_id: natGatewayId }).where('id', '=', row.id).execute();
        return call.rows.report(row, { status: { natGateway, natGatewayId } });
      },
      async unclaim(call) {
        const row = call.target;
        if (row.status.natGatewayId !== call.input.natGatewayId) return row;
        await table(call).updateTable('elastic_ip').set({ nat_gateway_id: null }).where('id', '=', row.id).execute();
        return call.rows.report(row, { status: { natGateway: null, natGatewayId: null } });
      },
    },
    controller: {
      async reconcile(_row, { client, report }) {
        await client({ network: networks }).network.settle({});
        await report({ state: 'ready', reason: null });
      },
      async remove(row, { client }) {
        await (context.db as unknown as Kysely<ElasticIpTables>).deleteFrom('elastic_ip').where('id', '=', row.id).execute();
        await client({ network: networks }).network.settle({});
      },
    },
  };
});
