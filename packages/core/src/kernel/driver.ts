// What every driver of every port shares: how it introduces itself, and how a service asks for the one it needs.

/** Enforced: the backend makes it true. Recorded: stored and shown, nothing enforces it. Unsupported: refused when asked for. */
export type Level = 'enforced' | 'recorded' | 'unsupported';

export interface Feature {
  name: string;
  level: Level;
  /** How it is enforced, or why not; one sentence. */
  detail: string;
}

export interface Check {
  name: string;
  ok: boolean;
  detail: string;
  /** The command that mends it, when `ok` is false. */
  remedy?: string;
}

/** What `cloud system info` and `cloud system doctor` print about one driver. */
export interface DriverReport {
  driver: string;
  version?: string;
  features: Feature[];
  checks: Check[];
}

export interface Driver {
  /** Cheap liveness of the backend. Throws DriverError('unavailable') with a hint that says how to start it. */
  ping(signal?: AbortSignal): Promise<void>;
  /** Never throws: a backend that is away is a failed check. */
  report(signal?: AbortSignal): Promise<DriverReport>;
}

/** A thing that exists in the backend under our id, for the reaper. */
export interface Found {
  id: string;
  /** Unix milliseconds, as the backend tells it. */
  createdAt: number;
}

/** The key under which a service finds its driver: `ctx.driver(computePort)`. */
export interface Port<D extends Driver> {
  readonly name: string;
  readonly __driver?: D;
}

export const port = <D extends Driver>(name: string): Port<D> => ({ name });

/** A backend's coherent set of drivers, by port name. */
export interface DriverSet {
  readonly name: string;
  readonly drivers: Readonly<Record<string, Driver>>;
  close(): Promise<void>;
}
