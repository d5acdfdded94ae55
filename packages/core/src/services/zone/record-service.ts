// Records: all values of one name and type in a row each. They are answered as soon as their zone is brought up to date, which follows each change by itself.
import { Fault } from '../../kernel/errors.ts';
import { type Call, type RowOf, service } from '../../kernel/service.ts';
import { Views } from '../../kernel/view.ts';
import { MAX_NAME, type RecordType, records } from './contract.ts';
import { dnsPort } from './driver.ts';
import { canonicalValues, fqdnOf, WrongValue } from './values.ts';

type Records = typeof records;
type RecordRow = RowOf<Records>;

const wrong = (path: string, message: string): Fault => new Fault('invalid_input', `${path}: ${message}`, { details: [{ path, message }] });

function spelt(type: RecordType, values: readonly string[], domain: string): string[] {
  try {
    return canonicalValues(type, values, domain);
  } catch (error) {
    if (error instanceof WrongValue) throw wrong('values', error.message);
    throw error;
  }
}

/** `www.prod.internal/A`; of the zone `prod.internal@staging`: `www.prod.internal@staging/A`. */
const nameOf = (host: string, zone: string, type: string): string => `${host === '@' ? '' : `${host}.`}${zone}/${type}`;

export const recordService = service(records, () => {
  const views = new Views(records);
  /** An alias is the only record of its name, for every question about it is one about something else. */
  const refuseBesideAlias = async (call: Call<Records, unknown>, host: string, zone: string, type: RecordType): Promise<void> => {
    if (type === 'CNAME') {
      if (host === '@') throw wrong('type', `the zone itself cannot be an alias: it has an SOA and an NS record; use A, or name a host`);
      const others = await all(call, zone, host, ['A', 'AAAA', 'MX', 'TXT', 'SRV', 'CAA', 'NS', 'PTR']);
      if (others.length > 0) {
        throw new Fault('conflict', `A CNAME stands alone, and ${host} has records already: ${others.map(({ name }) => name).join(', ')}`, {
          hint: `cloud record delete ${others[0]?.name}`,
        });
      }
      return;
    }
    const [alias] = await all(call, zone, host, ['CNAME']);
    if (alias !== undefined)
      throw new Fault('conflict', `${alias.name} is an alias, beside which there are no other records`, { hint: `cloud record delete ${alias.name}` });
  };
  const all = async (call: Call<Records, unknown>, zone: string, host: string, types: readonly RecordType[]): Promise<RecordRow[]> => {
    const found = await Promise.all(types.map((type) => call.rows.find(nameOf(host, zone, type))));
    return found.filter((row) => row !== undefined);
  };

  return {
    needs: [dnsPort],
    handlers: {
      async create(call) {
        const { name: host, labels, ...spec } = call.input;
        const [zone] = call.refs['zone'] ?? [];
        if (zone === undefined) throw new Error('the zone was not resolved');
        const domain = zone.status['domain'] as string;
        const fqdn = fqdnOf(host, domain);
        if (fqdn.length > MAX_NAME) throw wrong('name', `${fqdn} is longer than ${MAX_NAME} characters`);
        const values = spelt(spec.type, spec.values, domain);
        await refuseBesideAlias(call, host, zone.name, spec.type);
        return call.rows.insert({ name: nameOf(host, zone.name, spec.type), labels, spec: { ...spec, values }, status: { host, fqdn } });
      },
      async update(call) {
        const { labels, values, ...spec } = call.input;
        const { status, spec: before } = call.target;
        if (values === undefined || values === null) return call.rows.update(call.target, { labels, spec });
        const { host = '', fqdn = '' } = status;
        const domain = host === '@' ? fqdn : fqdn.slice(host.length + 1);
        return call.rows.update(call.target, { labels, spec: { ...spec, values: spelt(before.type, values, domain) } });
      },
      async list(call) {
        const { zone, label, limit = 1000, cursor: from } = call.input;
        const zoneId = zone === undefined ? undefined : call.refs['zone']?.[0]?.id;
        const items: RecordRow[] = [];
        for (let cursor = from; ; ) {
          const page = await call.rows.list({
            limit: limit - items.length,
            ...(label === undefined ? {} : { label }),
            ...(cursor === undefined ? {} : { cursor }),
          });
          items.push(...page.rows.filter(({ spec }) => zoneId === undefined || spec.zoneId === zoneId));
          ({ cursor } = page);
          if (cursor === undefined || items.length >= limit)
            return { items: items.map((row) => views.once(row)), ...(cursor === undefined ? {} : { cursor }) } as never;
        }
      },
    },
  };
});
