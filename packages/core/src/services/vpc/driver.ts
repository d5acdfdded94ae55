// The network port: a VPC as the backend makes it. Isolation between VPCs is the backend's duty from the moment `ensure` returns.
import { type Driver, type Found, port } from '../../kernel/driver.ts';

export interface NetworkSpec {
  id: string;
  /** For people who look at the backend; not an address of anything. */
  name: string;
  /** IPv4 network, e.g. 10.20.0.0/16. */
  cidr: string;
  /** The VPC's own address on its network: the first host address. */
  gateway: string;
}

export interface NetworkDriver extends Driver {
  /** Equal spec: touches nothing. A CIDR that the host already uses: DriverError('bad_spec') that names what uses it. */
  ensure(spec: NetworkSpec, signal: AbortSignal): Promise<void>;
  /** Absent: fine. Still in use by an instance: DriverError('busy'). */
  remove(id: string, signal: AbortSignal): Promise<void>;
  inspect(id: string): Promise<NetworkSpec | undefined>;
  list(): Promise<Found[]>;
  /** CIDRs on the host that a VPC cannot have (other networks and routes), ours not among them. */
  reserved(): Promise<string[]>;
}

export const networkPort = port<NetworkDriver>('network');
