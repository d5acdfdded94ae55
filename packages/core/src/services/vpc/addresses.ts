// Addresses of VPCs: which belong to subnets, which are free, and who has the others. All of it happens in the transaction of whoever asks.
import type { Kysely } from 'kysely';
import { type Cidr, contains, formatAddress, formatCidr, isNetwork, networkOf, overlap, parseAddress, parseCidr, sizeOf } from '../../kernel/cidr.ts';
import type { Db, Tx } from '../../kernel/db.ts';
import { Fault } from '../../kernel/errors.ts';
import { tableName } from '../../kernel/migrate.ts';
import type { VpcTables } from './tables.ts';

/** Network, gateway and two for services of the VPC at the start; broadcast at the end. */
const RESERVED_FIRST = 4;
const RESERVED_LAST = 1;

/** How many addresses of a network can be given. */
export const usable = (cidr: Cidr): number => sizeOf(cidr) - RESERVED_FIRST - RESERVED_LAST;

interface Network {
  id: string;
  name: string;
  cidr: Cidr;
}
interface Subnet extends Network {
  deleting: boolean;
}
/** First and last, both included. */
type Range = readonly [first: number, last: number];

const own = (sql: Db | Tx) => sql as unknown as Kysely<VpcTables>;
const invalid = (path: string, message: string, hint?: string): Fault =>
  new Fault('invalid_input', `${path}: ${message}`, { details: [{ path, message }], ...(hint === undefined ? {} : { hint }) });

/** Those of a VPC, also those on their way out: their addresses are nobody else's yet. */
async function subnetsOf(sql: Db | Tx, tenantId: string, vpcId: string): Promise<Subnet[]> {
  const rows = await sql.selectFrom(tableName('subnet')).select(['id', 'name', 'spec', 'deleted_at']).where('tenant', '=', tenantId).execute();
  return rows.flatMap(({ id, name, spec, deleted_at }) => {
    const { vpcId: of, cidr } = JSON.parse(spec) as { vpcId: string; cidr: string };
    return of === vpcId ? [{ id, name, cidr: parseCidr(cidr) as Cidr, deleting: deleted_at !== null }] : [];
  });
}

/** Refuses a CIDR that cannot become a subnet of the VPC. */
export async function checkSubnet(sql: Db | Tx, tenantId: string, vpc: Network, text: string): Promise<Cidr> {
  const cidr = parseCidr(text);
  const hint = `cloud subnet list  # what ${vpc.name} is divided into`;
  if (cidr === undefined) throw invalid('cidr', `${text} is not an IPv4 network; use for example ${formatCidr({ base: vpc.cidr.base, prefix: 28 })}`);
  if (cidr.prefix > 28) throw invalid('cidr', `/${cidr.prefix} is too small; use /${vpc.cidr.prefix} to /28`);
  if (!isNetwork(cidr)) throw invalid('cidr', `${text} has host bits set; did you mean ${formatCidr(networkOf(cidr))}?`);
  if (cidr.prefix < vpc.cidr.prefix || !contains(vpc.cidr, cidr.base)) {
    throw invalid(
      'cidr',
      `${text} is not inside of ${formatCidr(vpc.cidr)}, the network of the VPC ${vpc.name}; use a part of that`,
      `cloud vpc get ${vpc.name}`,
    );
  }
  const other = (await subnetsOf(sql, tenantId, vpc.id)).find((each) => overlap(each.cidr, cidr));
  if (other !== undefined) {
    throw new Fault(
      'conflict',
      `${text} overlaps ${formatCidr(other.cidr)}, which is the subnet ${other.name}${other.deleting ? ', still being deleted' : ''}`,
      {
        details: [{ path: 'cidr', message: 'use a part of the VPC that overlaps no other subnet' }],
        hint,
      },
    );
  }
  const used = await own(sql)
    .selectFrom('vpc_address')
    .select('address')
    .where('vpc_id', '=', vpc.id)
    .where('address', '>=', cidr.base)
    .where('address', '<', cidr.base + sizeOf(cidr))
    .orderBy('address')
    .limit(6)
    .execute();
  if (used.length > 0) {
    const named = used.slice(0, 5).map(({ address }) => formatAddress(Number(address)));
    throw new Fault(
      'conflict',
      `${text} has addresses that instances outside of every subnet use: ${named.join(', ')}${used.length > 5 ? ' and more' : ''}; use another part of the VPC`,
      { details: [{ path: 'cidr', message: 'use a part of the VPC of which no address is in use' }], hint: 'cloud instance list --output wide' },
    );
  }
  return cidr;
}

/** What is left of a range when others are taken out of it. */
function without(range: Range, taken: readonly Cidr[]): Range[] {
  const ranges: Range[] = [];
  let [first] = range;
  for (const cidr of [...taken].sort((a, b) => a.base - b.base)) {
    if (cidr.base > first) ranges.push([first, cidr.base - 1]);
    first = Math.max(first, cidr.base + sizeOf(cidr));
  }
  if (first <= range[1]) ranges.push([first, range[1]]);
  return ranges;
}

const usableRange = (cidr: Cidr): Range => [cidr.base + RESERVED_FIRST, cidr.base + sizeOf(cidr) - 1 - RESERVED_LAST];
const said = (ranges: readonly Range[]): string => ranges.map(([first, last]) => `${formatAddress(first)} to ${formatAddress(last)}`).join(' or ');

export interface Wish {
  owner: string;
  /** Id of a subnet; absent: outside of all. */
  subnet?: string | undefined;
  /** This one and no other. */
  address?: string | undefined;
}

/** Gives one, for good until it is released. */
export async function allocate(sql: Db | Tx, tenantId: string, vpc: Network, { owner, subnet: subnetId, address: text }: Wish): Promise<string> {
  const table = own(sql);
  const subnets = await subnetsOf(sql, tenantId, vpc.id);
  const subnet = subnets.find(({ id }) => id === subnetId);
  if (subnetId !== undefined && subnet === undefined)
    throw new Fault('not_found', `There is no subnet ${subnetId} in the VPC ${vpc.name}`, { hint: 'cloud subnet list' });
  if (subnet?.deleting) throw new Fault('conflict', `The subnet ${subnet.name} is being deleted`);
  const place = subnet ?? vpc;
  // A reserved address of the VPC is reserved in its subnets as well.
  const [first, last] = usableRange(vpc.cidr);
  const inside: Range = usableRange(place.cidr);
  const ranges = without([Math.max(first, inside[0]), Math.min(last, inside[1])], subnet === undefined ? subnets.map(({ cidr }) => cidr) : []);
  const give = async (address: number): Promise<string> => {
    await table
      .insertInto('vpc_address')
      .values({ vpc_id: vpc.id, address, owner, subnet_id: subnetId ?? null })
      .execute();
    return formatAddress(address);
  };
  if (text !== undefined) return give(await wished(table, vpc, place, subnets, ranges, text));

  const cursor = await table.selectFrom('vpc_address_cursor').select('next').where('scope', '=', place.id).executeTakeFirst();
  const found = await free(table, vpc, ranges, cursor === undefined ? undefined : Number(cursor.next));
  if (found === undefined) {
    throw subnet === undefined
      ? new Fault('conflict', `The VPC ${vpc.name} (${formatCidr(vpc.cidr)}) has no free address${subnets.length > 0 ? ' outside of its subnets' : ''}`, {
          hint: subnets.length > 0 ? 'cloud subnet list  # and name one with --subnet' : 'cloud vpc create <name> --cidr <larger network>',
        })
      : new Fault('conflict', `The subnet ${subnet.name} (${formatCidr(subnet.cidr)}) has no free address`, {
          hint: `cloud subnet create <name> --vpc ${vpc.name} --cidr <another part of ${formatCidr(vpc.cidr)}>`,
        });
  }
  await table
    .insertInto('vpc_address_cursor')
    .values({ scope: place.id, vpc_id: vpc.id, next: found + 1 })
    .onConflict((conflict) => conflict.column('scope').doUpdateSet({ next: found + 1 }))
    .execute();
  return give(found);
}

/** The next after the last that was given, so that a freed address rests before it is given again; round and round. */
async function free(table: Kysely<VpcTables>, vpc: Network, ranges: readonly Range[], next: number | undefined): Promise<number | undefined> {
  const taken = async (address: number) =>
    (await table.selectFrom('vpc_address').select('owner').where('vpc_id', '=', vpc.id).where('address', '=', address).executeTakeFirst()) !== undefined;
  const from = next ?? (await highest(table, vpc, ranges)) + 1;
  const ahead = ranges.map(([first, last]): Range => [Math.max(first, from), last]).filter(([first, last]) => first <= last);
  // Nearly always the very next one.
  const [nearest] = ahead;
  if (nearest !== undefined && !(await taken(nearest[0]))) return nearest[0];
  const used = new Set((await table.selectFrom('vpc_address').select('address').where('vpc_id', '=', vpc.id).execute()).map((row) => Number(row.address)));
  for (const [first, last] of [...ahead, ...ranges]) for (let address = first; address <= last; address++) if (!used.has(address)) return address;
  return undefined;
}

/** Where no cursor was kept yet. */
async function highest(table: Kysely<VpcTables>, vpc: Network, ranges: readonly Range[]): Promise<number> {
  let found = 0;
  for (const [first, last] of ranges) {
    const { address } = await table
      .selectFrom('vpc_address')
      .select((of) => of.fn.max('address').as('address'))
      .where('vpc_id', '=', vpc.id)
      .where('address', '>=', first)
      .where('address', '<=', last)
      .executeTakeFirstOrThrow();
    found = Math.max(found, Number(address ?? 0));
  }
  return found;
}

async function wished(
  table: Kysely<VpcTables>,
  vpc: Network,
  place: Network,
  subnets: readonly Subnet[],
  ranges: readonly Range[],
  text: string,
): Promise<number> {
  const path = 'privateAddress';
  const address = parseAddress(text);
  if (address === undefined) throw invalid(path, `${text} is not an IPv4 address; use for example ${formatAddress(ranges[0]?.[0] ?? vpc.cidr.base)}`);
  if (!contains(place.cidr, address)) {
    const what = place === vpc ? `the VPC ${vpc.name}` : `the subnet ${place.name}`;
    throw invalid(path, `${text} is not an address of ${what}; use one of ${formatCidr(place.cidr)}`, place === vpc ? 'cloud vpc list' : 'cloud subnet list');
  }
  const subnet = place === vpc ? subnets.find(({ cidr }) => contains(cidr, address)) : undefined;
  if (subnet !== undefined) throw invalid(path, `${text} is in the subnet ${subnet.name}; name that too`, `repeat with --subnet ${subnet.name}`);
  if (!ranges.some(([first, last]) => address >= first && address <= last)) throw invalid(path, `${text} is reserved; use ${said(ranges)}`);
  const used = await table.selectFrom('vpc_address').select('owner').where('vpc_id', '=', vpc.id).where('address', '=', address).executeTakeFirst();
  if (used !== undefined)
    throw new Fault('conflict', `${text} is in use`, { details: [{ path, message: 'use a free one, or none to be given one' }], hint: 'cloud instance list' });
  return address;
}

export async function release(sql: Db | Tx, vpcId: string, owner: string): Promise<void> {
  await own(sql).deleteFrom('vpc_address').where('vpc_id', '=', vpcId).where('owner', '=', owner).execute();
}

export async function countUsed(sql: Db | Tx, vpcId: string): Promise<number> {
  const { n } = await own(sql)
    .selectFrom('vpc_address')
    .select((of) => of.fn.countAll<number>().as('n'))
    .where('vpc_id', '=', vpcId)
    .executeTakeFirstOrThrow();
  return Number(n);
}

/** What was kept of a VPC that is gone. */
export async function forget(db: Db, vpcId: string): Promise<void> {
  for (const table of ['vpc_address', 'vpc_address_cursor'] as const) await own(db).deleteFrom(table).where('vpc_id', '=', vpcId).execute();
}
