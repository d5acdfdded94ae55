// What becomes of a packet, by the plane alone: the model that `network trace` explains and that the drivers' rules are tested against.
// A packet is the first of its connection; answers follow it. The order is that of a packet's way: egress, route, address, ingress.
import { type Cidr, contains, parseAddress, parseCidr } from '../../kernel/cidr.ts';
import type { Plane, PlaneEndpoint, PlaneNetwork, PlaneRoute, PlaneRule } from './plane.ts';

export interface Packet {
  /** Private address of the instance that sends. */
  from: string;
  /** As the sender writes it: a private address, an elastic IP, or any other. */
  to: string;
  protocol: 'tcp' | 'udp' | 'icmp';
  /** Of tcp and udp. */
  port?: number;
}

export interface Step {
  at: 'egress' | 'route' | 'address' | 'ingress';
  passes: boolean;
  /** What decided. */
  by:
    | { kind: 'rule'; group: string; rule: PlaneRule }
    | { kind: 'no-rule'; groups: readonly string[] }
    | { kind: 'local' }
    | { kind: 'peering'; id: string }
    | { kind: 'route'; route: PlaneRoute }
    | { kind: 'no-route'; network: string; subnet: string | undefined; other: string | undefined }
    | { kind: 'elastic'; address: string; endpoint: string }
    | { kind: 'elastic-unused'; address: string }
    | { kind: 'elastic-own'; address: string }
    | { kind: 'nobody'; address: string }
    | { kind: 'outside'; source: string | undefined };
}

export interface Verdict {
  passes: boolean;
  steps: Step[];
  /** Who receives, when it is an instance. */
  receiver: PlaneEndpoint | undefined;
  /** Address that the receiver sees, when it passes and the receiver is an instance. */
  source: string | undefined;
}

const cidrOf = (text: string): Cidr => parseCidr(text) as Cidr;
const holds = (cidr: string, address: string): boolean => contains(cidrOf(cidr), parseAddress(address) as number);

/** The part of the network that an address is in; undefined: in none of its subnets. */
export const subnetOf = (network: PlaneNetwork, address: string): PlaneNetwork['subnets'][number] | undefined =>
  network.subnets.filter(({ cidr }) => holds(cidr, address)).sort((a, b) => cidrOf(b.cidr).prefix - cidrOf(a.cidr).prefix)[0];

/** The sender must be an endpoint of the plane. */
export function judge(plane: Plane, packet: Packet): Verdict {
  const steps: Step[] = [];
  const endpoint = (address: string): PlaneEndpoint | undefined => plane.endpoints.find((each) => each.address === address);
  const sender = endpoint(packet.from) as PlaneEndpoint;
  const network = plane.networks.find(({ id }) => id === sender.networkId) as PlaneNetwork;
  const stopped = (receiver?: PlaneEndpoint): Verdict => ({ passes: false, steps, receiver, source: undefined });

  const egress = ruled(plane, sender, 'egress', packet, packet.to);
  steps.push(egress);
  if (!egress.passes) return stopped();

  const route = routed(plane, network, packet);
  steps.push(route);
  if (!route.passes) return stopped();

  const elastic = plane.publicAddresses.find(({ address }) => address === packet.to);
  let receiver = endpoint(packet.to);
  let source: string | undefined = packet.from;
  if (route.by.kind === 'route') {
    receiver = elastic?.endpoint === undefined ? undefined : endpoint(elastic.endpoint);
    const reached = plane.networks.find(({ id }) => id === receiver?.networkId);
    source = sourceOf(plane, network, packet.from);
    // It would have to come back out of the port that it went in by, which a bridge does not do.
    if (receiver?.address === packet.from) {
      steps.push({ at: 'address', passes: false, by: { kind: 'elastic-own', address: packet.to } });
      return stopped(receiver);
    }
    if (elastic !== undefined) {
      const open = receiver !== undefined && reached !== undefined && leadsOut(reached, receiver.address);
      steps.push({
        at: 'address',
        passes: open,
        by: open ? { kind: 'elastic', address: packet.to, endpoint: (receiver as PlaneEndpoint).address } : { kind: 'elastic-unused', address: packet.to },
      });
      if (!open) return stopped(receiver);
      source ??= reached?.gateway;
    } else {
      steps.push({ at: 'address', passes: true, by: { kind: 'outside', source } });
      return { passes: true, steps, receiver: undefined, source };
    }
  }
  if (receiver === undefined) {
    steps.push({ at: 'address', passes: false, by: { kind: 'nobody', address: packet.to } });
    return stopped();
  }
  const ingress = ruled(plane, receiver, 'ingress', packet, source);
  steps.push(ingress);
  return { passes: ingress.passes, steps, receiver, source };
}

/** Whether a rule of its groups lets the packet pass. `address`: of the other side, as this side sees it. */
function ruled(plane: Plane, { groups }: PlaneEndpoint, side: 'egress' | 'ingress', packet: Packet, address: string | undefined): Step {
  for (const group of groups) {
    for (const rule of plane.groups.find(({ id }) => id === group)?.[side] ?? []) {
      if (rule.protocol !== 'all' && rule.protocol !== packet.protocol) continue;
      if (rule.ports !== undefined && (packet.port === undefined || packet.port < rule.ports.from || packet.port > rule.ports.to)) continue;
      const { peer } = rule;
      const other = 'cidr' in peer ? address !== undefined && holds(peer.cidr, address) : isMember(plane, peer.group, address);
      if (other) return { at: side, passes: true, by: { kind: 'rule', group, rule } };
    }
  }
  return { at: side, passes: false, by: { kind: 'no-rule', groups } };
}

const isMember = (plane: Plane, group: string, address: string | undefined): boolean =>
  plane.endpoints.some((endpoint) => endpoint.address === address && endpoint.groups.includes(group));

function routed(plane: Plane, network: PlaneNetwork, { from, to }: Packet): Step {
  if (holds(network.cidr, to)) return { at: 'route', passes: true, by: { kind: 'local' } };
  const subnet = subnetOf(network, from);
  const candidates: { prefix: number; step: Step }[] = [];
  for (const peering of plane.peerings) {
    if (!peering.networks.includes(network.id)) continue;
    const peer = plane.networks.find(({ id }) => id !== network.id && peering.networks.includes(id));
    if (peer !== undefined && holds(peer.cidr, to))
      candidates.push({ prefix: cidrOf(peer.cidr).prefix + 0.5, step: { at: 'route', passes: true, by: { kind: 'peering', id: peering.id } } });
  }
  // Another network's private address is never reached by a way out.
  const other = plane.networks.find(({ cidr }) => holds(cidr, to));
  for (const route of (subnet ?? network).routes) {
    if (!holds(route.destination, to)) continue;
    candidates.push({
      prefix: cidrOf(route.destination).prefix,
      step: { at: 'route', passes: route.target !== 'blackhole' && other === undefined, by: { kind: 'route', route } },
    });
  }
  const best = candidates.sort((a, b) => b.prefix - a.prefix)[0]?.step;
  if (best === undefined || (best.by.kind === 'route' && best.by.route.target !== 'blackhole' && other !== undefined))
    return { at: 'route', passes: false, by: { kind: 'no-route', network: network.id, subnet: subnet?.id, other: other?.id } };
  return best;
}

const leadsOut = (network: PlaneNetwork, address: string): boolean =>
  (subnetOf(network, address) ?? network).routes.some(({ target }) => target === 'internet');

/** The address under which others on this host see a sender that goes by a way out; undefined: that of the host. */
function sourceOf(plane: Plane, network: PlaneNetwork, address: string): string | undefined {
  const own = plane.publicAddresses.find(({ endpoint }) => endpoint === address)?.address;
  if (own !== undefined && leadsOut(network, address)) return own;
  const out = (subnetOf(network, address) ?? network).routes.find(({ destination }) => destination === '0.0.0.0/0');
  return out?.target === 'nat' ? out.source : undefined;
}
