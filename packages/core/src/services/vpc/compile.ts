// From rows to the plane. Everything that a tenant may have written is taken as it is stored: what is deleted or not accepted is not there.
import type { Kysely } from 'kysely';
import type { Db } from '../../kernel/db.ts';
import { tableName } from '../../kernel/migrate.ts';
import type { Plane, PlaneEndpoint, PlaneGroup, PlaneNetwork, PlanePublicAddress, PlaneRoute, PlaneRule, PlaneServices } from './plane.ts';
import type { Protocol } from './protocol.ts';

/** What is read of the rows of other services; their contracts say more. */
interface Stored {
  id: string;
  tenant: string;
  name: string;
  spec: string;
  status: string;
  deleted_at: number | null;
}

interface VpcSpec {
  cidr: string;
  internet?: boolean;
}
interface SubnetSpec {
  vpcId: string;
  cidr: string;
  routeTableId?: string;
}
interface RouteTableSpec {
  vpcId: string;
  routes?: { destination: string; internetGatewayId?: string; natGatewayId?: string; blackhole?: boolean }[];
}
interface InternetGatewaySpec {
  vpcId: string;
}
interface NatGatewaySpec {
  subnetId: string;
}
interface GroupSpec {
  vpcId: string;
  rules?: { id: string; direction: 'ingress' | 'egress'; protocol: Protocol; fromPort?: number; toPort?: number; cidr?: string; groupId?: string }[];
}
interface InstanceSpec {
  vpcId: string;
  securityGroupIds?: string[];
  ports?: { hostAddress: string; hostPort: number; instancePort: number; protocol: 'tcp' | 'udp' }[];
}

interface OwnTables {
  vpc_peering: { id: string; vpc_a: string; vpc_b: string; state: string };
  elastic_ip: { address: string; id: string; tenant: string; instance_id: string | null; nat_gateway_id: string | null };
}

const ANYWHERE = '0.0.0.0/0';

export interface CompileSource {
  db: Db;
  /** Names of the resources that this installation has. */
  resources: readonly string[];
  services: PlaneServices;
}

/** Reads in several statements; a change in between makes another compilation follow, so that the last one has all of it. */
export async function compile({ db, resources, services }: CompileSource): Promise<Plane> {
  const rows = async <Spec, Status = Record<string, unknown>>(
    resource: string,
  ): Promise<(Omit<Stored, 'spec' | 'status'> & { spec: Spec; status: Status })[]> => {
    if (!resources.includes(resource)) return [];
    const found = await (db as unknown as Kysely<Record<string, Stored>>)
      .selectFrom(tableName(resource))
      .select(['id', 'tenant', 'name', 'spec', 'status', 'deleted_at'])
      .where('deleted_at', 'is', null)
      .orderBy('id')
      .execute();
    return found.map((row) => ({ ...row, spec: JSON.parse(row.spec) as Spec, status: JSON.parse(row.status) as Status }));
  };
  const own = db as unknown as Kysely<OwnTables>;
  const [vpcs, subnets, tables, internetGateways, natGateways, groups, instances, peerings, elasticIps] = await Promise.all([
    rows<VpcSpec, { gateway?: string }>('vpc'),
    rows<SubnetSpec>('subnet'),
    rows<RouteTableSpec>('route-table'),
    rows<InternetGatewaySpec>('internet-gateway'),
    rows<NatGatewaySpec>('nat-gateway'),
    rows<GroupSpec>('security-group'),
    rows<InstanceSpec, { address?: string }>('instance'),
    resources.includes('peering') ? own.selectFrom('vpc_peering').selectAll().where('state', '=', 'active').orderBy('id').execute() : [],
    resources.includes('elastic-ip') ? own.selectFrom('elastic_ip').selectAll().orderBy('address').execute() : [],
  ]);

  const gatewayVpc = new Map(internetGateways.map(({ id, spec }) => [id, spec.vpcId]));
  const subnetById = new Map(subnets.map((subnet) => [subnet.id, subnet]));
  const tableById = new Map(tables.map((table) => [table.id, table]));
  const natAddress = new Map(elasticIps.flatMap(({ address, nat_gateway_id }) => (nat_gateway_id === null ? [] : [[nat_gateway_id, address] as const])));
  const leadsOut = (subnetId: string): boolean => {
    const subnet = subnetById.get(subnetId);
    const table = tableById.get(subnet?.spec.routeTableId ?? '');
    return (
      table?.spec.routes?.some(
        ({ destination, internetGatewayId }) =>
          destination === ANYWHERE && internetGatewayId !== undefined && gatewayVpc.get(internetGatewayId) === table.spec.vpcId,
      ) === true
    );
  };
  const natById = new Map(natGateways.map((gateway) => [gateway.id, gateway]));

  const routesOf = (tableId: string | undefined): PlaneRoute[] => {
    const table = tableById.get(tableId ?? '');
    if (table === undefined) return [];
    return (table.spec.routes ?? []).map(({ destination, internetGatewayId, natGatewayId }): PlaneRoute => {
      const from = { destination, routeTableId: table.id };
      if (internetGatewayId !== undefined && gatewayVpc.get(internetGatewayId) === table.spec.vpcId) return { ...from, target: 'internet' };
      const nat = natById.get(natGatewayId ?? '');
      // One whose own subnet leads nowhere has no way out to share.
      if (nat !== undefined && leadsOut(nat.spec.subnetId)) {
        const source = natAddress.get(nat.id);
        return { ...from, target: 'nat', ...(source === undefined ? {} : { source }) };
      }
      return { ...from, target: 'blackhole' };
    });
  };

  const networks: PlaneNetwork[] = vpcs.map(({ id, spec, status }) => ({
    id,
    cidr: spec.cidr,
    gateway: status.gateway ?? '',
    routes: (spec.internet ?? true) ? [{ destination: ANYWHERE, target: 'internet' }] : [],
    subnets: subnets
      .filter((subnet) => subnet.spec.vpcId === id)
      .map((subnet) => ({ id: subnet.id, cidr: subnet.spec.cidr, routes: routesOf(subnet.spec.routeTableId) })),
  }));
  const known = new Set(networks.map(({ id }) => id));

  const endpoints: PlaneEndpoint[] = instances.flatMap(({ id, spec, status }) => {
    if (status.address === undefined || !known.has(spec.vpcId)) return [];
    const named = spec.securityGroupIds ?? [];
    return [
      {
        instanceId: id,
        networkId: spec.vpcId,
        address: status.address,
        groups: named.length === 0 ? [spec.vpcId] : [...named].sort(),
        published: (spec.ports ?? []).map(({ hostAddress, hostPort, instancePort, protocol }) => ({ hostAddress, hostPort, instancePort, protocol })),
      },
    ];
  });

  const planeGroups: PlaneGroup[] = [
    ...networks.map(
      ({ id }): PlaneGroup => ({
        id,
        ingress: [{ id: 'default-ingress', protocol: 'all', peer: { group: id } }],
        egress: [{ id: 'default-egress', protocol: 'all', peer: { cidr: ANYWHERE } }],
      }),
    ),
    ...groups.map(({ id, spec }): PlaneGroup => {
      const side = (direction: 'ingress' | 'egress'): PlaneRule[] =>
        (spec.rules ?? [])
          .filter((rule) => rule.direction === direction)
          .map(({ id: ruleId, protocol, fromPort, toPort, cidr, groupId }) => ({
            id: ruleId,
            protocol,
            ...(fromPort === undefined ? {} : { ports: { from: fromPort, to: toPort ?? fromPort } }),
            peer: cidr === undefined ? { group: groupId ?? '' } : { cidr },
          }));
      return { id, ingress: side('ingress'), egress: side('egress') };
    }),
  ];

  const addressOf = new Map(endpoints.map(({ instanceId, address }) => [instanceId, address]));
  const publicAddresses: PlanePublicAddress[] = elasticIps.map(({ address, instance_id }) => {
    const endpoint = instance_id === null ? undefined : addressOf.get(instance_id);
    return { address, ...(endpoint === undefined ? {} : { endpoint }) };
  });

  return {
    networks,
    endpoints,
    groups: planeGroups,
    peerings: peerings.filter(({ vpc_a, vpc_b }) => known.has(vpc_a) && known.has(vpc_b)).map(({ id, vpc_a, vpc_b }) => ({ id, networks: [vpc_a, vpc_b] })),
    publicAddresses,
    services,
  };
}
