// Route tables: routes in one row, each destination once, each to one place.
import type { z } from 'zod';
import { type Cidr, contains, formatCidr, isNetwork, networkOf, parseCidr } from '../../kernel/cidr.ts';
import { Fault } from '../../kernel/errors.ts';
import { type Call, type RowOf, service } from '../../kernel/service.ts';
import type { Row } from '../../kernel/table.ts';
import { vpcs } from '../vpc/contract.ts';
import { networkPort } from '../vpc/driver.ts';
import { networks } from '../vpc/network-contract.ts';
import { MOST_ROUTES, type Route, routeTables } from './contract.ts';

type Table = RowOf<typeof routeTables>;
type Written = z.output<typeof Route>;
interface Vpc {
  id: string;
  name: string;
  cidr: string;
}
/** Rows that the routes name, by id. */
type Named = ReadonlyMap<string, Row>;

const refused = (path: string, message: string, hint?: string): Fault =>
  new Fault('invalid_input', `${path}: ${message}`, { details: [{ path, message }], ...(hint === undefined ? {} : { hint }) });

const namedIn = (...refs: (readonly Row[] | undefined)[]): Named => new Map(refs.flatMap((rows) => (rows ?? []).map((row) => [row.id, row] as const)));

/** `at` is where it stands in the input, with a dot at the end. */
function checked(text: string, vpc: Vpc, at: string): string {
  const cidr = parseCidr(text);
  const path = `${at}destination`;
  if (cidr === undefined) throw refused(path, `${text} is not an IPv4 network; use for example 0.0.0.0/0, which is everywhere`);
  if (!isNetwork(cidr)) throw refused(path, `${text} has host bits set; did you mean ${formatCidr(networkOf(cidr))}?`);
  const own = parseCidr(vpc.cidr) as Cidr;
  if (cidr.prefix >= own.prefix && contains(own, cidr.base))
    throw refused(path, `${text} is inside of ${vpc.cidr}, the network of ${vpc.name}, which its subnets reach always; use a network outside of it`);
  return formatCidr(cidr);
}

function keep(route: Written, vpc: Vpc, named: Named, at: string): Written {
  const destination = checked(route.destination, vpc, at);
  const { internetGateway, internetGatewayId, natGateway, natGatewayId, blackhole } = route;
  const ways = [internetGateway !== undefined && 'internetGateway', natGateway !== undefined && 'natGateway', blackhole === true && 'blackhole'].filter(
    (way) => way !== false,
  );
  if (ways.length === 0) throw refused(`${at}internetGateway`, 'say where it leads: an internet gateway, a NAT gateway, or blackhole');
  if (ways.length > 1) throw refused(`${at}${ways[1]}`, `give only one of ${ways.join(' and ')}; a route leads to one place`);
  const gateway = named.get((internetGateway === undefined ? natGatewayId : internetGatewayId) ?? '');
  // A NAT gateway is where its subnet is.
  const of = (gateway?.spec['vpcId'] ?? gateway?.status['vpcId']) as string | undefined;
  if (gateway !== undefined && of !== vpc.id) {
    const its = String(gateway.spec['vpc'] ?? gateway.status['vpc']);
    throw refused(`${at}${ways[0]}`, `${gateway.name} is in the VPC ${its}; use a gateway of ${vpc.name}`, 'cloud internet-gateway list');
  }
  if (internetGateway !== undefined) return { destination, internetGateway, internetGatewayId };
  return natGateway !== undefined ? { destination, natGateway, natGatewayId } : { destination, blackhole: true };
}

function keepAll(routes: readonly Written[], vpc: Vpc, named: Named): Written[] {
  const seen = new Set<string>();
  return routes.map((written, index) => {
    const route = keep(written, vpc, named, `routes.${index}.`);
    if (seen.has(route.destination)) throw refused(`routes.${index}.destination`, `${route.destination} is given twice; give each destination once`);
    seen.add(route.destination);
    return route;
  });
}

const whereTo = ({ internetGateway, natGateway }: Written): string =>
  internetGateway !== undefined ? `the internet gateway ${internetGateway}` : natGateway !== undefined ? `the NAT gateway ${natGateway}` : 'nowhere';

/** Whoever may change the table learns what its VPC is. */
const vpcOf = (call: Pick<Call<typeof routeTables, unknown>, 'systemClient' | 'tenantId'>, id: string): Promise<Vpc> =>
  call.systemClient(call.tenantId, { vpc: vpcs }).vpc.get(id);

export const routeTableService = service(routeTables, () => {
  return {
    needs: [networkPort],
    prepare: {
      async create(call) {
        await call.client({ network: networks }).network.require({ what: 'Routes' });
      },
    },
    handlers: {
      async create(call) {
        const { name, labels, routes, ...spec } = call.input as typeof call.input & { vpcId: string };
        const vpc = await vpcOf(call, spec.vpcId);
        return call.rows.insert({ name, labels, spec: { ...spec, routes: keepAll(routes, vpc, namedIn(call.refs['routes'])) } });
      },
      async update(call) {
        const { labels, routes, ...spec } = call.input;
        const row = call.target;
        if (routes === undefined || routes === null) return call.rows.update(row, { labels, spec });
        const vpc = await vpcOf(call, row.spec.vpcId as string);
        return call.rows.update(row, { labels, spec: { ...spec, routes: keepAll(routes, vpc, namedIn(call.refs['routes'])) } });
      },
      async routeAdd(call) {
        const row: Table = call.target;
        const vpc = await vpcOf(call, row.spec.vpcId as string);
        const route = keep(call.input, vpc, namedIn(call.refs['internetGateway'], call.refs['natGateway']), '');
        const there = row.spec.routes.find(({ destination }) => destination === route.destination);
        if (there !== undefined) {
          throw new Fault('conflict', `${row.name} has a route to ${there.destination}, which leads to ${whereTo(there)}; remove it first`, {
            details: [{ path: 'destination', message: 'give one that the table does not have' }],
            hint: `cloud route-table route remove ${row.name} ${there.destination}`,
          });
        }
        if (row.spec.routes.length >= MOST_ROUTES) {
          throw new Fault('conflict', `${row.name} has ${MOST_ROUTES} routes, the most that there can be`, {
            hint: `cloud route-table route list ${row.name}`,
          });
        }
        return call.rows.update(row, {
          spec: { routes: [...row.spec.routes, route] },
          message: `Route table ${row.name} leads ${route.destination} to ${whereTo(route)}`,
        });
      },
      async routeRemove(call) {
        const row: Table = call.target;
        const wanted = parseCidr(call.input.destination);
        const text = wanted === undefined ? call.input.destination : formatCidr(networkOf(wanted));
        const gone = row.spec.routes.find(({ destination }) => destination === text);
        if (gone === undefined) {
          throw new Fault('not_found', `The route table ${row.name} has no route to ${text}`, {
            details: [{ path: 'destination', message: 'give the destination of one of its routes' }],
            hint: `cloud route-table route list ${row.name}`,
          });
        }
        return call.rows.update(row, {
          spec: { routes: row.spec.routes.filter((route) => route !== gone) },
          message: `Route table ${row.name} does not lead ${gone.destination} to ${whereTo(gone)} any more`,
        });
      },
      async routeList(call) {
        return { items: [...call.target.spec.routes] };
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
  };
});
