// What the rows of a tenant say of its VPCs, zones, records and instances: the input of `content.ts`, and what a resolver must know of a VPC.
import type { Kysely } from 'kysely';
import type { Db, Tx } from '../../kernel/db.ts';
import { tableName } from '../../kernel/migrate.ts';
import type { RunningInstance, VpcRows, ZoneRow } from './content.ts';
import type { RecordType } from './contract.ts';

interface Stored {
  id: string;
  tenant: string;
  name: string;
  spec: string;
  status: string;
  state: string;
  created_at: number;
  deleted_at: number | null;
}

export interface VpcFacts extends VpcRows {
  tenantId: string;
  gateway: string | undefined;
  /** Its bridge, or whatever carries it, is there. */
  ready: boolean;
  /** Somebody in it may reach the outside, and so ask for names there. */
  internet: boolean;
}

type Sql = Kysely<Record<string, Stored> & { reference: { from_kind: string; from_id: string; to_id: string } }>;
type Read<Spec, Status = object> = Omit<Stored, 'spec' | 'status'> & { spec: Spec; status: Status };

export async function rowsOf<Spec, Status = object>(db: Db | Tx, resource: string, tenantId: string): Promise<Read<Spec, Status>[]> {
  const found = await (db as unknown as Sql)
    .selectFrom(tableName(resource))
    .select(['id', 'tenant', 'name', 'spec', 'status', 'state', 'created_at', 'deleted_at'])
    .where('tenant', '=', tenantId)
    .where('deleted_at', 'is', null)
    .execute();
  return found.map((row) => ({ ...row, created_at: Number(row.created_at), spec: JSON.parse(row.spec) as Spec, status: JSON.parse(row.status) as Status }));
}

export interface RecordSpec {
  zone: string;
  zoneId: string;
  type: RecordType;
  values: string[];
  ttl?: number;
}

/** The records of one zone. */
export async function recordsIn(
  db: Db | Tx,
  tenantId: string,
  zoneId: string,
): Promise<{ id: string; name: string; fqdn: string; type: RecordType; values: string[]; ttl?: number }[]> {
  const rows = await rowsOf<RecordSpec, { fqdn: string }>(db, 'record', tenantId);
  return rows
    .filter(({ spec }) => spec.zoneId === zoneId)
    .map(({ id, name, spec: { type, values, ttl }, status: { fqdn } }) => ({ id, name, fqdn, type, values, ...(ttl === undefined ? {} : { ttl }) }));
}

/** All VPCs of a tenant. `resources` are those that this installation has. */
export async function vpcsOf(db: Db | Tx, tenantId: string, resources: readonly string[]): Promise<VpcFacts[]> {
  const vpcs = await rowsOf<{ cidr: string; internet?: boolean }, { gateway?: string }>(db, 'vpc', tenantId);
  if (vpcs.length === 0) return [];
  const zones = await rowsOf<{ vpcId: string; ttl: number; autoRegister: boolean }, { domain: string }>(db, 'zone', tenantId);
  const gateways = resources.includes('internet-gateway') ? await rowsOf<{ vpcId: string }>(db, 'internet-gateway', tenantId) : [];
  const open = new Set(gateways.map(({ spec }) => spec.vpcId));
  const records = zones.length === 0 ? [] : await rowsOf<RecordSpec, { fqdn: string }>(db, 'record', tenantId);
  const instances = zones.some(({ spec }) => spec.autoRegister) ? await rowsOf<{ vpcId: string }, { address?: string }>(db, 'instance', tenantId) : [];
  const zonesIn = new Map<string, ZoneRow[]>();
  const recordsIn = new Map<string, ZoneRow['records']>();
  for (const { id, spec, status, created_at } of zones) {
    const of: ZoneRow['records'] = [];
    recordsIn.set(id, of);
    const row: ZoneRow = { id, domain: status.domain, ttl: spec.ttl, autoRegister: spec.autoRegister, createdAt: created_at, records: of };
    zonesIn.set(spec.vpcId, [...(zonesIn.get(spec.vpcId) ?? []), row]);
  }
  for (const { spec, status } of records) recordsIn.get(spec.zoneId)?.push({ fqdn: status.fqdn, type: spec.type, ttl: spec.ttl, values: spec.values });
  const running = new Map<string, RunningInstance[]>();
  for (const { name, spec, status, state } of instances) {
    if (state !== 'running' || status.address === undefined) continue;
    const there = running.get(spec.vpcId);
    if (there === undefined) running.set(spec.vpcId, [{ name, address: status.address }]);
    else there.push({ name, address: status.address });
  }
  return vpcs.map(({ id, tenant, spec, status, state }) => ({
    id,
    tenantId: tenant,
    cidr: spec.cidr,
    gateway: status.gateway,
    ready: state === 'ready',
    internet: (spec.internet ?? true) || open.has(id),
    zones: zonesIn.get(id) ?? [],
    instances: running.get(id) ?? [],
  }));
}

/** Tenants that have a VPC. */
export async function tenantsWithVpcs(db: Db): Promise<string[]> {
  const rows = await (db as unknown as Sql).selectFrom(tableName('vpc')).select('tenant').distinct().execute();
  return rows.map(({ tenant }) => tenant);
}
