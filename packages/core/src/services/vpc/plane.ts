// The plane: every address, group, route and peering of an installation, as plain data. It is made from rows, decides about packets in the model
// (`verdict.ts`), and is what a network driver turns into its backend's rules: one description, so that the trace and the packets agree.
import type { Protocol } from './protocol.ts';

export interface Plane {
  networks: PlaneNetwork[];
  endpoints: PlaneEndpoint[];
  groups: PlaneGroup[];
  /** Pairs of network ids whose private addresses reach each other. */
  peerings: PlanePeering[];
  publicAddresses: PlanePublicAddress[];
  services: PlaneServices;
}

export interface PlaneNetwork {
  /** VPC id. */
  id: string;
  cidr: string;
  gateway: string;
  /** Parts with routes of their own. An address belongs to the longest that has it; one in none has the routes of the network. */
  subnets: PlaneSubnet[];
  /** Routes of addresses outside every subnet. */
  routes: PlaneRoute[];
}

export interface PlaneSubnet {
  id: string;
  cidr: string;
  routes: PlaneRoute[];
}

/**
 * The longest destination decides. The network's own range and those of its active peerings are always there and need no route; a longer `blackhole` stops a
 * peering's, nothing stops the network's own.
 */
export interface PlaneRoute {
  destination: string;
  /** `internet`: out of the host, and in by an elastic IP. `nat`: out only. */
  target: 'internet' | 'nat' | 'blackhole';
  /** Of a NAT gateway with an elastic IP: the source address that others on this host see. */
  source?: string;
  /** The row that it comes from, for explanations. */
  routeTableId?: string;
}

export interface PlaneEndpoint {
  instanceId: string;
  networkId: string;
  address: string;
  /** Never empty; the default group of a VPC has the VPC's id. */
  groups: string[];
  /** Ports that are published on an address of the host, which is an ingress rule in itself for those who come that way. */
  published: { protocol: 'tcp' | 'udp'; instancePort: number; hostAddress: string; hostPort: number }[];
}

export interface PlaneGroup {
  id: string;
  ingress: PlaneRule[];
  egress: PlaneRule[];
}

export interface PlaneRule {
  id: string;
  protocol: Protocol;
  /** First and last port, of tcp and udp; absent: all. */
  ports?: { from: number; to: number };
  /** Of ingress: who sends. Of egress: to whom. */
  peer: { cidr: string } | { group: string };
}

export interface PlanePeering {
  id: string;
  networks: [string, string];
}

export interface PlanePublicAddress {
  /** Elastic IP. */
  address: string;
  /** Private address that it stands for; absent while it is not associated, or belongs to a NAT gateway. */
  endpoint?: string;
}

/** Ports at which the gateway of each VPC answers for us. */
export interface PlaneServices {
  /** Where UDP and TCP to port 53 of a gateway go. */
  dns?: number;
  /** Where 169.254.169.254:80 goes. */
  metadata?: number;
}
