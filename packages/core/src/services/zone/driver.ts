// The DNS port: whole zones as an authoritative server has them, and questions to it. What a zone holds is decided by rows; the server is brought to that.
import { type Driver, type Found, port } from '../../kernel/driver.ts';

/** All records of one name and type. Names, in `values` too, are absolute and in lower case; values are in the presentation format of zone files. */
export interface RecordSet {
  /** `www.prod.internal.` */
  name: string;
  type: string;
  ttl: number;
  values: string[];
}

/** A zone without its SOA, which the server has from `negativeTtl` and counts up by itself. */
export interface ZoneContent {
  /** `prod.internal.`; an id, too: no two zones have the same. */
  name: string;
  /** Seconds for which a resolver may believe that something is not there. */
  negativeTtl: number;
  records: RecordSet[];
}

export interface DnsDriver extends Driver {
  /** Makes the zone be as it is said here, from nothing or from anything before, and answers so when it returns. Equal content: touches nothing. */
  ensure(zone: ZoneContent, signal: AbortSignal): Promise<void>;
  /** Absent: fine. */
  remove(name: string, signal: AbortSignal): Promise<void>;
  /** undefined when there is no such zone. Record sets in order of name and type. */
  inspect(name: string, signal: AbortSignal): Promise<ZoneContent | undefined>;
  /** The zones of this installation; of each its name as id. */
  list(): Promise<Found[]>;
  /** A question in wire format, and its answer, never truncated. DriverError('unavailable') when there is none in time. */
  query(message: Buffer, signal: AbortSignal): Promise<Buffer>;
}

export const dnsPort = port<DnsDriver>('dns');
