// A zone file taken into a zone: all of it, or nothing with the line that is wrong.
import { Fault } from '../../kernel/errors.ts';
import { MAX_NAME, type RecordType } from './contract.ts';
import { canonicalValues, WrongValue } from './values.ts';
import { type FileRecord, parseZoneFile, WrongLine } from './zonefile.ts';

/** The part of the client that this needs. */
interface RecordCalls {
  create(input: { name: string; zone: string; type: RecordType; values: string[]; ttl?: number }): Promise<unknown>;
  update(target: string, input: { values: string[]; ttl: number | null }): Promise<unknown>;
  delete(target: string): Promise<unknown>;
}

interface There {
  id: string;
  fqdn: string;
  type: RecordType;
  values: readonly string[];
  ttl?: number;
}

export interface Imported {
  created: number;
  updated: number;
  unchanged: number;
  deleted: number;
}

/** Most records of one file: all of them are in one transaction. */
const MOST = 10_000;
const MOST_TTL = 604_800;

const wrong = (message: string): Fault => new Fault('invalid_input', `content: ${message}`, { details: [{ path: 'content', message }] });

interface Wanted {
  line: number;
  fqdn: string;
  host: string;
  type: RecordType;
  values: string[];
  ttl: number | undefined;
}

function parsed(content: string, domain: string): FileRecord[] {
  try {
    return parseZoneFile(content, domain);
  } catch (error) {
    if (error instanceof WrongLine) throw wrong(error.message);
    throw error;
  }
}

function wantedOf(content: string, domain: string, zoneTtl: number): Map<string, Wanted> {
  const wanted = new Map<string, Wanted>();
  for (const { line, name, type, ttl, value, origin } of parsed(content, domain)) {
    const fqdn = name.slice(0, -1);
    if (fqdn !== domain && !fqdn.endsWith(`.${domain}`)) throw wrong(`line ${line}: ${fqdn} is not in ${domain}`);
    if (fqdn.length > MAX_NAME) throw wrong(`line ${line}: ${fqdn} is longer than ${MAX_NAME} characters`);
    if (ttl !== undefined && ttl > MOST_TTL) throw wrong(`line ${line}: use at most ${MOST_TTL} seconds, a week`);
    const key = `${fqdn} ${type}`;
    const there = wanted.get(key);
    try {
      const [spelt] = canonicalValues(type, [value], origin) as [string];
      if (there === undefined)
        wanted.set(key, {
          line,
          fqdn,
          host: fqdn === domain ? '@' : fqdn.slice(0, -(domain.length + 1)),
          type,
          values: [spelt],
          ttl: ttl === zoneTtl ? undefined : ttl,
        });
      else if (!there.values.includes(spelt)) there.values.push(spelt);
    } catch (error) {
      if (error instanceof WrongValue) throw wrong(`line ${line}: ${error.message}`);
      throw error;
    }
    if (wanted.size > MOST) throw wrong(`there are more than ${MOST} records in it; take it in parts`);
  }
  return wanted;
}

const same = (a: There, { values, ttl }: Wanted): boolean => a.ttl === ttl && JSON.stringify([...a.values].sort()) === JSON.stringify([...values].sort());

export async function importRecords(
  record: RecordCalls,
  {
    zone,
    domain,
    ttl: zoneTtl,
    there,
    content,
    replace,
  }: { zone: string; domain: string; ttl: number; there: readonly There[]; content: string; replace: boolean },
): Promise<Imported> {
  const wanted = wantedOf(content, domain, zoneTtl);
  const outcome: Imported = { created: 0, updated: 0, unchanged: 0, deleted: 0 };
  const present = new Map(there.map((row) => [`${row.fqdn} ${row.type}`, row]));
  // First what goes, so that an alias can take the place of records.
  for (const [key, { id }] of present) {
    if (!replace || wanted.has(key)) continue;
    await record.delete(id);
    outcome.deleted++;
  }
  for (const [key, set] of wanted) {
    const row = present.get(key);
    const { host, type, values, ttl, line } = set;
    try {
      if (row === undefined) {
        await record.create({ name: host, zone, type, values, ...(ttl === undefined ? {} : { ttl }) });
        outcome.created++;
      } else if (same(row, set)) outcome.unchanged++;
      else {
        await record.update(row.id, { values, ttl: ttl ?? null });
        outcome.updated++;
      }
    } catch (error) {
      if (error instanceof Fault && (error.code === 'invalid_input' || error.code === 'conflict')) throw wrong(`line ${line}: ${error.message}`);
      throw error;
    }
  }
  return outcome;
}
