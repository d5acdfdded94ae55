// Zones: a domain of a VPC each. What is answered for them follows their rows, those of their records, and the instances that run.

import type { Db, Tx } from '../../kernel/db.ts';
import { DriverError, Fault } from '../../kernel/errors.ts';
import { type Call, type RowOf, type Service, type ServiceContext, service } from '../../kernel/service.ts';
import { zonesOf as contentsOf, shadowedIn } from './content.ts';
import { records, zones } from './contract.ts';
import { dnsPort } from './driver.ts';
import { importRecords } from './importing.ts';
import { type NamingOptions, namingOf } from './naming.ts';
import { publishedName } from './publisher.ts';
import { recordsIn, vpcsOf } from './rows.ts';
import { writeZoneFile } from './zonefile.ts';

type Zones = typeof zones;
type Zone = RowOf<Zones>;

/** How many records a message names. */
const NAMED = 5;

export const domainOf = (name: string): string => name.split('@')[0] as string;

export const zoneServiceWith = (options?: NamingOptions) => service(zones, (context) => zoneServiceOf(context, options));
export const zoneService = zoneServiceWith();

function zoneServiceOf(context: ServiceContext, options?: NamingOptions): Service<Zones> {
  const naming = namingOf(context, options);

  /** Records and registrations of zones, by zone id. */
  const counts = async (rows: readonly Zone[], sql: Tx | Db) => {
    const found = new Map<string, { records: number; registered: number; shadowed: string[] }>();
    for (const tenantId of new Set(rows.map((row) => row.tenantId))) {
      for (const vpc of await vpcsOf(sql, tenantId, context.resources)) {
        for (const zone of vpc.zones) {
          const shadowed = [...shadowedIn(zone, vpc.instances)].sort();
          found.set(zone.id, { records: zone.records.length, registered: zone.autoRegister ? vpc.instances.length - shadowed.length : 0, shadowed });
        }
      }
    }
    return found;
  };

  /** Another zone of that domain in the VPC. */
  const refuseTwice = async (call: Call<Zones, unknown>, domain: string, vpc: { id: string; name: string }): Promise<void> => {
    for (let cursor: string | undefined; ; ) {
      const page = await call.rows.list({ limit: 1000, ...(cursor === undefined ? {} : { cursor }) });
      const other = page.rows.find(({ spec, status }) => spec.vpcId === vpc.id && status.domain === domain);
      if (other !== undefined)
        throw new Fault('conflict', `The VPC ${vpc.name} has the domain ${domain} already, in the zone ${other.name}`, {
          hint: `cloud zone get ${other.name}`,
        });
      if (page.cursor === undefined) return;
      ({ cursor } = page);
    }
  };

  return {
    needs: [dnsPort],
    status: async (rows, sql) => {
      const found = await counts(rows, sql);
      return rows.map(({ id }) => {
        const { records: n = 0, registered = 0, shadowed = [] } = found.get(id) ?? {};
        return { records: n, registered, ...(shadowed.length === 0 ? {} : { shadowed }) };
      });
    },
    handlers: {
      async create(call) {
        const { name, labels, ...spec } = call.input;
        const domain = domainOf(name);
        const [vpc] = call.refs['vpc'] ?? [];
        if (vpc === undefined) throw new Error('the VPC was not resolved');
        await refuseTwice(call, domain, vpc);
        const taken = await call.rows.find(name);
        if (taken !== undefined && taken.deletedAt === undefined) {
          throw new Fault('conflict', `${name} is the zone of the VPC ${taken.spec.vpc}; a name behind an @ tells another one of the same domain from it`, {
            hint: `cloud zone create ${domain}@${vpc.name} --vpc ${vpc.name}`,
          });
        }
        return call.rows.insert({ name, labels, spec, status: { domain } });
      },

      async delete(call) {
        const zone = call.target;
        if (zone.deletedAt !== undefined) return zone;
        const { record } = call.systemClient(zone.tenantId, { record: records });
        const inIt = await recordsIn(call.sql, zone.tenantId, zone.id);
        if (inIt.length > 0 && !call.input.force) {
          const more = inIt.length > NAMED ? ` and ${inIt.length - NAMED} others` : '';
          throw new Fault(
            'conflict',
            `The zone ${zone.name} has records: ${inIt
              .slice(0, NAMED)
              .map(({ name }) => name)
              .join(', ')}${more}`,
            {
              hint: `cloud zone delete ${zone.name} --force`,
              details: { records: inIt.length },
            },
          );
        }
        for (const { id } of inIt) await record.delete(id);
        return call.rows.delete(zone);
      },

      async export(call) {
        const zone = call.target;
        const vpc = (await vpcsOf(call.sql, zone.tenantId, context.resources)).find(({ id }) => id === zone.spec.vpcId);
        const row = vpc?.zones.find(({ id }) => id === zone.id);
        if (vpc === undefined || row === undefined) throw new Fault('conflict', `The zone ${zone.name} is being deleted`);
        const { domain, ttl } = row;
        const host = (fqdn: string): string => (fqdn === domain ? '@' : fqdn.slice(0, -(domain.length + 1)));
        const own = new Set(row.records.map(({ fqdn, type }) => `${fqdn}. ${type}`));
        const served = contentsOf(vpc).find(({ name }) => name === `${domain}.`)?.records ?? [];
        const written = [...row.records]
          .sort((a, b) => order(host(a.fqdn), host(b.fqdn)) || order(a.type, b.type))
          .map(({ fqdn, type, ttl: given, values }) => ({ host: host(fqdn), type: type as string, ttl: given ?? ttl, values }));
        const registered = served
          .filter(({ name, type }) => !own.has(`${name} ${type}`) && type !== 'NS')
          .map(({ name, type, ttl: given, values }) => ({ host: host(name.slice(0, -1)), type, ttl: given, values }));
        return { content: writeZoneFile({ domain, ttl, records: written, registered }) };
      },

      async import(call) {
        const zone = call.target;
        if (zone.deletedAt !== undefined) throw new Fault('conflict', `The zone ${zone.name} is being deleted`);
        const { record } = call.systemClient(zone.tenantId, { record: records });
        const domain = zone.status.domain as string;
        const there = await recordsIn(call.sql, zone.tenantId, zone.id);
        const outcome = await importRecords(record, { zone: zone.name, domain, ttl: zone.spec.ttl, there, ...call.input });
        await call.event(
          zone,
          'imported',
          `A zone file was taken into ${zone.name}: ${outcome.created} new, ${outcome.updated} changed, ${outcome.deleted} deleted`,
        );
        return outcome;
      },
    },
    controller: {
      async reconcile(zone, { report }) {
        let failure: Error | undefined;
        try {
          failure = await naming.settled(zone.tenantId, publishedName(zone.status.domain as string, zone.spec.vpcId as string));
        } catch (error) {
          failure = error as Error;
        }
        if (failure === undefined) {
          await report({ state: 'ready', reason: null });
          return;
        }
        // What was answered before is answered on, or not at all; either way it is not what the rows say.
        if (failure instanceof DriverError) await report({ reason: failure.message });
        throw failure;
      },
      async remove(zone) {
        const failure = await naming.settled(zone.tenantId, publishedName(zone.status.domain as string, zone.spec.vpcId as string));
        if (failure !== undefined) throw failure;
      },
      async watch(wake, signal, onReady) {
        naming.onTrouble(wake);
        onReady();
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      },
      concurrency: 32,
    },
    start: () => naming.start(),
    close: () => naming.close(),
  };
}

const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
