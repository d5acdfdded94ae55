// The pool of elastic IPs: which address comes next.
import type { Kysely } from 'kysely';
import { type Cidr, contains, formatAddress, overlap, parseCidr, sizeOf } from '../../kernel/cidr.ts';
import type { Db, Tx } from '../../kernel/db.ts';
import { Fault } from '../../kernel/errors.ts';
import type { ElasticIpTables } from './tables.ts';

/** Shared address space (RFC 6598): neither private networks nor hosts of the internet have it. */
const POOL = parseCidr('100.64.0.0/10') as Cidr;

const last = (cidr: Cidr): number => cidr.base + sizeOf(cidr) - 1;
/** Programs exist that take these for a network and for everybody in it. */
const odd = (address: number): boolean => address % 256 === 0 || address % 256 === 255;

/** The next address that is free and that the host does not need, and the one after it for the next time. */
export async function nextFree(sql: Db | Tx, hostNetworks: readonly string[]): Promise<string> {
  const table = sql as unknown as Kysely<ElasticIpTables>;
  const needed = hostNetworks.flatMap((text) => parseCidr(text) ?? []).filter((cidr) => overlap(cidr, POOL));
  const free = async (first: number, end: number): Promise<number | undefined> => {
    for (let address = first; address <= end; address++) {
      const host = needed.find((cidr) => contains(cidr, address));
      if (host !== undefined) address = last(host);
      else if (!odd(address)) {
        const taken = await table.selectFrom('elastic_ip').select('id').where('address', '=', formatAddress(address)).executeTakeFirst();
        if (taken === undefined) return address;
      }
    }
    return undefined;
  };
  const cursor = await table.selectFrom('elastic_ip_cursor').select('next').where('id', '=', 1).executeTakeFirst();
  const from = Math.max(POOL.base, Number(cursor?.next ?? POOL.base));
  const found = (await free(from, last(POOL))) ?? (await free(POOL.base, from - 1));
  if (found === undefined) {
    throw new Fault('conflict', 'No elastic IP is free: the host uses all of 100.64.0.0/10 that is not given away', { hint: 'cloud elastic-ip list' });
  }
  await table
    .insertInto('elastic_ip_cursor')
    .values({ id: 1, next: found + 1 })
    .onConflict((conflict) => conflict.column('id').doUpdateSet({ next: found + 1 }))
    .execute();
  return formatAddress(found);
}
