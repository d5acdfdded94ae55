// The network port: a VPC as the backend makes it. Isolation between VPCs is the backend's duty from the moment `ensure` returns.
import { type Driver, type Found, port } from '../../kernel/driver.ts';
import type { Plane } from './plane.ts';

export type * from './plane.ts';

export interface NetworkSpec {
  id: string;
  /** For people who look at the backend; not an address of anything. */
  name: string;
  /** IPv4 network, e.g. 10.20.0.0/16. */
  cidr: string;
  /** The VPC's own address on its network: the first host address. */
  gateway: string;
}

/** The hardware address that an instance has: made from its private address, so that everybody knows it without asking. */
export const hardwareAddress = (address: string): string =>
  `02:42:${address
    .split('.')
    .map((part) => Number(part).toString(16).padStart(2, '0'))
    .join(':')}`;

export interface NetworkDriver extends Driver {
  /** Equal spec: touches nothing. A CIDR that the host already uses: DriverError('bad_spec') that names what uses it. */
  ensure(spec: NetworkSpec, signal: AbortSignal): Promise<void>;
  /** Absent: fine. Still in use by an instance: DriverError('busy'). */
  remove(id: string, signal: AbortSignal): Promise<void>;
  inspect(id: string): Promise<NetworkSpec | undefined>;
  list(): Promise<Found[]>;
  /** CIDRs on the host that a VPC cannot have (other networks and routes), ours not among them. */
  reserved(): Promise<string[]>;
  /** Whether the gateway of a network is an address of the machine that this process runs on, so that it can listen there. */
  gatewaysHere(): Promise<boolean>;
  /**
   * Puts the whole plane in force in one step: before it returns the old rules hold, after it the new ones, also for connections that are open.
   * What cannot be enforced here: DriverError('failed') with the reason. Networks that the backend does not have yet are no error.
   */
  apply(plane: Plane, signal: AbortSignal): Promise<void>;
  /** Why this backend enforces no rules here, in a sentence; undefined: it does, or it says itself that it only records. */
  refusal(): Promise<string | undefined>;
  /** Whether what was applied last is in force still: others may flush the packet filter. */
  inForce(signal: AbortSignal): Promise<boolean>;
  /**
   * Sends a packet from a running instance, with its address, and sees whether it arrives: somebody answers, refuses, or the receiver counts it.
   * What cannot be tried here (an instance that does not run, a host that one may not look into): DriverError('bad_spec').
   */
  probe(packet: ProbePacket, signal: AbortSignal): Promise<{ passes: boolean; detail: string }>;
}

export interface ProbePacket {
  instanceId: string;
  to: string;
  protocol: 'tcp' | 'udp' | 'icmp';
  /** Of tcp and udp. */
  port: number | undefined;
  /** The instance that would receive it. */
  receiverId: string | undefined;
}

export const networkPort = port<NetworkDriver>('network');
