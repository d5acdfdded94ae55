// The rules of all networks: one plane, kept in force, and told about.
import type { Kysely } from 'kysely';
import { parseAddress } from '../../kernel/cidr.ts';
import { DriverError, Fault } from '../../kernel/errors.ts';
import { tableName } from '../../kernel/migrate.ts';
import { type Service, service } from '../../kernel/service.ts';
import { instances } from '../instance/contract.ts';
import { Applier } from './applier.ts';
import { compile } from './compile.ts';
import { networkPort } from './driver.ts';
import { networks } from './network-contract.ts';
import type { PlaneServices } from './plane.ts';
import { explain, type NameOf } from './trace.ts';
import type { Packet } from './verdict.ts';

/** A change of one of these may change the plane. */
const CONCERNED = new Set(['vpc', 'subnet', 'route-table', 'internet-gateway', 'nat-gateway', 'security-group', 'instance', 'peering', 'elastic-ip']);

export const networkService = service(networks, (context): Service<typeof networks> => {
  const services: PlaneServices = {};
  const driver = context.driver(networkPort);
  const compileNow = () => compile({ db: context.db, resources: context.resources, services });
  const applier = new Applier(driver, compileNow, context);

  /** Of everything that a packet's way can be told by. */
  const namesIn = async (tenantId: string): Promise<NameOf> => {
    const names = new Map<string, string>();
    for (const resource of CONCERNED) {
      if (!context.resources.includes(resource)) continue;
      const db = context.db as unknown as Kysely<Record<string, { id: string; name: string; tenant: string }>>;
      for (const { id, name } of await db.selectFrom(tableName(resource)).select(['id', 'name']).where('tenant', '=', tenantId).execute()) names.set(id, name);
    }
    return (id) => names.get(id);
  };
  let unfollow: (() => void) | undefined;
  const settleSoon = (): void => {
    applier.settle().catch((error: unknown) => {
      // The look that comes every few seconds tries again, and whoever waits for it is told.
      context.log.debug({ error: (error as Error).message }, 'the rules of the networks were not brought up to date');
    });
  };
  return {
    handlers: {
      async trace(call) {
        const { from, to, port, protocol, live } = call.input;
        if (protocol !== 'icmp' && port === undefined)
          throw new Fault('invalid_input', `A ${protocol} packet has a destination port`, {
            details: [{ path: 'port', message: 'give the port that it is sent to' }],
            hint: `cloud network trace ${from} ${to} --port 80`,
          });
        // Whoever may trace may name what there is.
        const { instance } = call.systemClient(call.tenantId, { instance: instances });
        const sender = await instance.get(from);
        const target = parseAddress(to) === undefined ? (await instance.get(to)).address : to;
        if (sender.address === undefined || target === undefined)
          throw new Fault('conflict', 'The instance has no address yet', { hint: `cloud instance get ${from}` });
        const packet: Packet = { from: sender.address, to: target, protocol, ...(protocol === 'icmp' || port === undefined ? {} : { port }) };
        const [plane, nameOf] = await Promise.all([compileNow(), namesIn(call.tenantId)]);
        const { verdict, steps, summary } = explain(plane, packet, nameOf);
        const answer = { passes: verdict.passes, summary, steps };
        if (!live) return answer;
        const seen = await driver
          .probe({ instanceId: sender.id, to: target, protocol, port: packet.port, receiverId: verdict.receiver?.instanceId }, call.signal)
          .catch((error: unknown) => {
            if (error instanceof DriverError && error.code === 'bad_spec')
              throw new Fault('unsupported', error.message, { hint: error.hint ?? 'cloud system info' });
            throw error;
          });
        return { ...answer, live: { ...seen, agrees: seen.passes === verdict.passes } };
      },
      async settle() {
        await applier.settle();
        return {};
      },
      async require({ input }) {
        const refusal = await driver.refusal();
        if (refusal !== undefined) throw new Fault('unsupported', `${input.what} cannot be enforced here: ${refusal}`, { hint: 'cloud system doctor' });
        return {};
      },
      async serve({ input }) {
        if (input.port === undefined) delete services[input.service];
        else services[input.service] = input.port;
        await applier.settle();
        return {};
      },
    },
    async start() {
      applier.start();
      unfollow = context.onCommit(({ rows }) => {
        if (rows.some(({ resource }) => CONCERNED.has(resource))) settleSoon();
      });
    },
    async close() {
      unfollow?.();
      await applier.close();
    },
  };
});
