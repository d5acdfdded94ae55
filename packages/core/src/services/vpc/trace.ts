// A packet's way in words. What belongs to another tenant is told of as "the other side", whatever stopped the packet there.
import { Fault } from '../../kernel/errors.ts';
import type { Plane, PlaneEndpoint, PlaneRule } from './plane.ts';
import { judge, type Packet, type Step, type Verdict } from './verdict.ts';

/** Names of the caller's own things by id; undefined for what is not theirs. */
export type NameOf = (id: string) => string | undefined;

export interface TraceStep {
  at: string;
  passes: boolean;
  detail: string;
}

export function explain(plane: Plane, packet: Packet, nameOf: NameOf): { verdict: Verdict; steps: TraceStep[]; summary: string } {
  const sender = plane.endpoints.find(({ address }) => address === packet.from);
  if (sender === undefined) throw new Fault('conflict', `Nothing sends from ${packet.from} yet`, { hint: 'cloud instance list' });
  const verdict = judge(plane, packet);
  const steps = verdict.steps.map((step) => ({ at: step.at, passes: step.passes, detail: words(step, sender, verdict.receiver, nameOf) }));
  const last = steps.at(-1) as TraceStep;
  const what = packet.port === undefined ? packet.protocol : `${packet.protocol} ${packet.port}`;
  const summary = verdict.passes
    ? `${what} from ${packet.from} to ${packet.to} passes`
    : `${what} from ${packet.from} to ${packet.to} is stopped at the ${last.at}: ${last.detail}`;
  return { verdict, steps, summary };
}

function words({ at, by }: Step, sender: PlaneEndpoint, receiver: PlaneEndpoint | undefined, nameOf: NameOf): string {
  const side = at === 'ingress' ? receiver : sender;
  const own = side === undefined || nameOf(side.instanceId) !== undefined;
  switch (by.kind) {
    case 'rule':
      return own ? `${groupWords(by.group, nameOf)} allows ${ruleWords(by.rule, at, nameOf)}` : 'the other side lets it in';
    case 'no-rule':
      return own ? `no ${at} rule of ${by.groups.map((group) => groupWords(group, nameOf)).join(' or ')} allows it` : 'the other side does not let it in';
    case 'local':
      return 'within the VPC';
    case 'peering':
      return `by the peering ${nameOf(by.id) ?? by.id}`;
    case 'route': {
      const { route } = by;
      const table = route.routeTableId === undefined ? 'the VPC' : `route table ${nameOf(route.routeTableId) ?? route.routeTableId}`;
      const target = { internet: 'the internet gateway', nat: 'the NAT gateway', blackhole: 'nowhere' }[route.target];
      return `${table} leads ${route.destination} to ${target}`;
    }
    case 'no-route': {
      const where = by.subnet === undefined ? `the VPC ${nameOf(by.network) ?? by.network}` : `the subnet ${nameOf(by.subnet) ?? by.subnet}`;
      if (by.other === undefined) return `${where} has no route to it`;
      const other = nameOf(by.other);
      return `no active peering leads from ${where} to ${other === undefined ? 'the VPC of that address' : `the VPC ${other}`}`;
    }
    case 'elastic':
      return own ? `the elastic IP ${by.address} stands for ${by.endpoint}` : `the elastic IP ${by.address} is in use`;
    case 'elastic-unused':
      return `the elastic IP ${by.address} leads to no instance with a way out`;
    case 'elastic-own':
      return 'an instance does not reach itself by its own elastic IP';
    case 'nobody':
      return `no instance has ${by.address}`;
    case 'outside':
      return by.source === undefined ? "out of this host, with the host's address" : `out of this host, from ${by.source}`;
  }
}

const groupWords = (id: string, nameOf: NameOf): string =>
  id.startsWith('vpc-') ? `the default group of the VPC ${nameOf(id) ?? id}` : `security group ${nameOf(id) ?? id}`;

function ruleWords({ protocol, ports, peer }: PlaneRule, at: Step['at'], nameOf: NameOf): string {
  const port = ports === undefined ? '' : ports.from === ports.to ? ` ${ports.from}` : ` ${ports.from}-${ports.to}`;
  const what = protocol === 'all' ? 'everything' : `${protocol}${port}`;
  return `${what} ${at === 'egress' ? 'to' : 'from'} ${'cidr' in peer ? peer.cidr : groupWords(peer.group, nameOf)}`;
}
