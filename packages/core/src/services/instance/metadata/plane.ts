// The instance metadata service as a part of the instance service: begins and ends with it, and follows the VPCs.
import type { ServiceContext } from '../../../kernel/service.ts';
import { networkPort } from '../../vpc/driver.ts';
import { networks } from '../../vpc/network-contract.ts';
import { answerTo, stranger } from './answer.ts';
import { Finder } from './find.ts';
import { Gateways } from './gateways.ts';
import { MetadataServer } from './server.ts';

export function metadataPlane(context: ServiceContext): { start(): Promise<void>; close(): Promise<void> } {
  const { clock, log, keyring } = context;
  const driver = context.driver(networkPort);
  const finder = new Finder(context);
  const gateways = new Gateways({
    clock,
    log,
    async gateways() {
      // Without rules an instance could pretend to be its neighbour, and read what is the neighbour's.
      if (!(await driver.gatewaysHere()) || (await driver.refusal()) !== undefined) return [];
      const rows = await context.db.selectFrom('r_vpc').select(['id', 'tenant', 'status']).where('deleted_at', 'is', null).orderBy('id').execute();
      const [first] = rows;
      if (first !== undefined) await context.client(first.tenant, { network: networks }).network.settle({});
      return rows.flatMap(({ id, tenant, status }) => {
        const { gateway } = JSON.parse(status) as { gateway?: string };
        return gateway === undefined ? [] : [{ vpcId: id, tenantId: tenant, address: gateway }];
      });
    },
    serverFor: (vpcId) =>
      new MetadataServer({
        clock,
        log,
        async answer(source, question) {
          const subject = await finder.find(vpcId, source);
          return subject === undefined ? stranger() : answerTo(subject, question, { keys: keyring, now: clock.now() });
        },
      }),
    lead: async (port, tenantId) => void (await context.client(tenantId, { network: networks }).network.serve({ service: 'metadata', port })),
  });
  let unfollow: (() => void) | undefined;
  return {
    async start() {
      unfollow = context.onCommit(({ rows }) => {
        if (rows.some(({ resource }) => resource === 'vpc')) gateways.wake();
      });
      gateways.start();
    },
    async close() {
      unfollow?.();
      await gateways.close();
      finder.close();
    },
  };
}
