// VPCs: a network each, CIDRs that never overlap, and the addresses inside them.
import { administersInstallation } from '../../kernel/authorize.ts';
import { type Cidr, firstFree, formatAddress, formatCidr, isNetwork, isPrivate, networkOf, overlap, parseCidr } from '../../kernel/cidr.ts';
import { Fault } from '../../kernel/errors.ts';
import { type Call, type RowOf, service } from '../../kernel/service.ts';
import { allocate, checkSubnet, countUsed, forget, release, usable } from './addresses.ts';
import { vpcs } from './contract.ts';
import { networkPort } from './driver.ts';
import { networks as networkContract } from './network-contract.ts';
import { migrations } from './tables.ts';

/** Free networks are taken from here: large, private, and seldom what a home router uses. */
const POOL = parseCidr('10.0.0.0/8') as Cidr;
const POOL_PREFIX = 20;

const problem = (message: string): Fault =>
  new Fault('invalid_input', `cidr: ${message}`, { details: [{ path: 'cidr', message }], hint: 'cloud vpc create <name>  # chooses a free network' });

/** The CIDR that the caller wrote, or a sentence that says what would be right. */
function checked(text: string): Cidr {
  const cidr = parseCidr(text);
  if (cidr === undefined) throw problem(`${text} is not an IPv4 network; use for example 10.20.0.0/16`);
  if (cidr.prefix < 16 || cidr.prefix > 28) throw problem(`/${cidr.prefix} is too ${cidr.prefix < 16 ? 'large' : 'small'}; use /16 to /28`);
  if (!isNetwork(cidr)) throw problem(`${text} has host bits set; did you mean ${formatCidr(networkOf(cidr))}?`);
  if (!isPrivate(cidr)) throw problem(`${text} is not private; use a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16`);
  return cidr;
}

/** What `prepare` learns of the host, for the handler. */
interface Prepared {
  hostNetworks: Cidr[];
}

export const vpcService = service(vpcs, (context) => {
  const driver = context.driver(networkPort);

  /** Networks of all tenants share one host, so all count; only one's own are named. */
  const others = async (call: Call<typeof vpcs, unknown>): Promise<{ cidr: Cidr; name: string | undefined }[]> => {
    const rows = await call.sql.selectFrom('r_vpc').select(['name', 'tenant', 'spec']).execute();
    return rows.map((row) => ({
      cidr: parseCidr((JSON.parse(row.spec) as { cidr: string }).cidr) as Cidr,
      name: row.tenant === call.tenantId ? `the VPC ${row.name}` : undefined,
    }));
  };
  const networks = (texts: readonly string[]): Cidr[] => texts.map(parseCidr).filter((cidr) => cidr !== undefined);
  const network = ({ id, name, spec }: RowOf<typeof vpcs>) => ({ id, name, cidr: parseCidr(spec.cidr) as Cidr });

  const countAddresses = async (call: Call<typeof vpcs, unknown>, vpc: RowOf<typeof vpcs>): Promise<RowOf<typeof vpcs>> =>
    call.rows.report(vpc, { status: { addressesUsed: await countUsed(call.sql, vpc.id) } });

  const make = async (
    call: Call<typeof vpcs, unknown>,
    { name, labels, cidr: wanted, ...spec }: { name: string; labels: Record<string, string>; cidr?: string | undefined; description?: string | undefined },
    hostNetworks: readonly Cidr[],
  ): Promise<RowOf<typeof vpcs>> => {
    const ours = await others(call);
    let cidr: Cidr;
    if (wanted === undefined) {
      const free = firstFree(POOL, POOL_PREFIX, [...ours.map((other) => other.cidr), ...hostNetworks]);
      if (free === undefined)
        throw new Fault('conflict', `No /${POOL_PREFIX} of 10.0.0.0/8 is free`, { hint: 'cloud vpc create <name> --cidr 192.168.0.0/24' });
      cidr = free;
    } else {
      cidr = checked(wanted);
      const clash = ours.find((other) => other.name !== undefined && overlap(other.cidr, cidr));
      if (clash !== undefined) {
        throw new Fault('conflict', `${wanted} overlaps ${formatCidr(clash.cidr)}, which is ${clash.name}`, {
          details: [{ path: 'cidr', message: 'use a network that overlaps no other' }],
        });
      }
      // Of another tenant's network, and of the host's own, a tenant learns that it is in the way and no more.
      const host = hostNetworks.find((other) => overlap(other, cidr));
      if (host !== undefined || ours.some((other) => overlap(other.cidr, cidr))) {
        const which =
          host !== undefined && administersInstallation(call.principal)
            ? `${formatCidr(host)}, which the host uses already`
            : 'a network that this host uses already';
        throw new Fault('conflict', `${wanted} overlaps ${which}`, { details: [{ path: 'cidr', message: 'use a network that the host does not use' }] });
      }
    }
    return call.rows.insert({
      name,
      labels,
      spec: { ...spec, cidr: formatCidr(cidr) },
      status: { gateway: formatAddress(cidr.base + 1), addressesUsed: 0, addressesTotal: usable(cidr) },
    });
  };

  return {
    migrations,
    needs: [networkPort],
    prepare: {
      async create(call) {
        if (!call.input.internet) await call.client({ network: networkContract }).network.require({ what: 'A VPC without a way out' });
        Object.assign(call.input, { hostNetworks: networks(await driver.reserved()) } satisfies Prepared);
      },
      async update(call) {
        if (call.input.internet === false) await call.client({ network: networkContract }).network.require({ what: 'A VPC without a way out' });
      },
    },
    handlers: {
      async create(call) {
        const { hostNetworks, ...input } = call.input as typeof call.input & Prepared;
        return make(call, input, hostNetworks);
      },

      async survey(call) {
        const { name } = call.input;
        if ((await call.rows.find(name)) !== undefined) return {};
        // It would be made, which is no lesser thing for being done on the way.
        const { ruling } = await context.access.rule(call.principal, call.tenantId, { permission: 'vpc:create', target: name, source: call.source });
        if (!ruling.allowed) {
          throw new Fault('forbidden', `There is no VPC ${name} yet, and ${call.principal.name ?? call.principal.id} may not vpc:create; name a VPC`, {
            details: { permission: 'vpc:create' },
            hint: 'cloud vpc list',
          });
        }
        return { hostNetworks: await driver.reserved() };
      },
      async provide(call) {
        const { name, description, hostNetworks } = call.input;
        const there = await call.rows.find(name);
        if (there?.deletedAt !== undefined) throw new Fault('conflict', `The VPC ${name} is being deleted`);
        return there ?? (await make(call, { name, labels: {}, description }, networks(hostNetworks)));
      },

      async carve(call) {
        const vpc = call.target;
        const cidr = await checkSubnet(call.sql, call.tenantId, network(vpc), call.input.cidr);
        return { gateway: vpc.status.gateway as string, addressesTotal: usable(cidr) };
      },
      async allocateAddress(call) {
        const vpc = call.target;
        if (vpc.deletedAt !== undefined) throw new Fault('conflict', `The VPC ${vpc.name} is being deleted`);
        const address = await allocate(call.sql, call.tenantId, network(vpc), call.input);
        await countAddresses(call, vpc);
        return { address };
      },
      async releaseAddresses(call) {
        await release(call.sql, call.target.id, call.input.owner);
        await countAddresses(call, call.target);
        return {};
      },
    },
    controller: {
      async reconcile(vpc, { signal, report, client }) {
        // The rules first: there is no instant at which the network carries packets without them.
        await client({ network: networkContract }).network.settle({});
        await driver.ensure({ id: vpc.id, name: vpc.name, cidr: vpc.spec.cidr, gateway: vpc.status.gateway as string }, signal);
        await report({ state: 'ready', reason: null });
      },
      async remove(vpc, { signal }) {
        await driver.remove(vpc.id, signal);
        await forget(context.db, vpc.id);
      },
      // No `differing`: what keeps VPCs apart can be lost without the network itself changing, so each sweep looks at all.
      reap: { list: () => driver.list(), remove: (id, signal) => driver.remove(id, signal) },
    },
  };
});
