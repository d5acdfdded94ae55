// NAT gateways: ready while the subnet that they stand in leads out, in error with the reason while it does not.
import { newId } from '../../kernel/ids.ts';
import { tableName } from '../../kernel/migrate.ts';
import { type Controller, type Reconciliation, type RowOf, service, Unsuccessful } from '../../kernel/service.ts';
import { elasticIps } from '../elastic-ip/contract.ts';
import { routeTables } from '../route-table/contract.ts';
import { subnets } from '../subnet/contract.ts';
import { networkPort } from '../vpc/driver.ts';
import { networks } from '../vpc/network-contract.ts';
import { natGateways } from './contract.ts';

type NatGateways = typeof natGateways;

const ANYWHERE = '0.0.0.0/0';
/** Whose changes may open or close the way out. */
const WAYS = new Set(['subnet', 'route-table', 'internet-gateway']);

/** Why there is no way out of the subnet; undefined when there is one. */
async function closed(row: RowOf<NatGateways>, { client }: Reconciliation<NatGateways>): Promise<string | undefined> {
  const { subnet, routeTable } = client({ subnet: subnets, routeTable: routeTables });
  const { name, routeTableId } = await subnet.get(row.spec.subnetId as string);
  if (routeTableId === undefined) return `The subnet ${name} is private: it has no route table, and so no way out that ${row.name} could share`;
  const table = await routeTable.get(routeTableId);
  if (table.routes.some(({ destination, internetGatewayId }) => destination === ANYWHERE && internetGatewayId !== undefined)) return undefined;
  return `The subnet ${name} is private: its route table ${table.name} does not lead ${ANYWHERE} to an internet gateway`;
}

export const natGatewayService = service(natGateways, (context) => {
  const controller: Controller<NatGateways> = {
    async reconcile(row, reconciliation) {
      const { client, report } = reconciliation;
      const reason = await closed(row, reconciliation);
      await client({ network: networks }).network.settle({});
      await report({ state: reason === undefined ? 'ready' : 'error', reason: reason ?? null });
      if (reason !== undefined) throw new Unsuccessful(reason);
    },
    async remove(row, { client }) {
      if (row.spec.elasticIpId !== undefined) await client({ elasticIp: elasticIps }).elasticIp.unclaim(row.spec.elasticIpId, { natGatewayId: row.id });
      await client({ network: networks }).network.settle({});
    },
    watch: (wake, signal, onReady) =>
      new Promise((resolve) => {
        const wakeAll = async (): Promise<void> => {
          for (const { id } of await context.db.selectFrom(tableName('nat-gateway')).select('id').execute()) wake(id);
        };
        const unfollow = context.onCommit(({ rows }) => {
          if (!rows.some(({ resource }) => WAYS.has(resource))) return;
          wakeAll().catch((error: unknown) => context.log.warn({ error: String(error) }, 'the NAT gateways were not looked at; the next sweep does'));
        });
        const end = (): void => {
          unfollow();
          resolve();
        };
        if (signal.aborted) return end();
        signal.addEventListener('abort', end, { once: true });
        onReady();
      }),
  };
  return {
    needs: [networkPort],
    prepare: {
      async create(call) {
        await call.client({ network: networks }).network.require({ what: 'Gateways' });
      },
    },
    handlers: {
      async create(call) {
        const { name, labels, ...spec } = call.input as typeof call.input & { elasticIpId?: string };
        const [subnet] = call.refs['subnet'] ?? [];
        const id = newId('nat');
        const of = subnet?.spec as { vpc: string; vpcId: string };
        const claimed =
          spec.elasticIpId === undefined
            ? undefined
            : await call.client({ elasticIp: elasticIps }).elasticIp.claim(spec.elasticIpId, { natGateway: name, natGatewayId: id });
        return call.rows.insert({
          id,
          name,
          labels,
          spec,
          status: { vpc: of.vpc, vpcId: of.vpcId, ...(claimed === undefined ? {} : { address: claimed.address }) },
        });
      },
    },
    controller,
  };
});
