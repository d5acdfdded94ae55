// What a chain of audit lines is made of: the hash of a line over the one before it, the head that says where the chain begins and ends, and the list of chains.
import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto';
import type { Selectable } from 'kysely';
import type { Db, KernelTables } from './db.ts';

/** Lines by the cloud itself about a chain: lines that were removed because they are old, and damage that was found. */
export const PRUNE = 'audit:prune';
export const BREAK = 'audit:break';
export const DAMAGED = 'damaged';

export type AuditRecord = Selectable<KernelTables['audit']>;
/** Where a chain stands: its newest line, the oldest that is still there, and the hash of the one before that. */
export interface Head {
  seq: number;
  hash: string;
  first_seq: number;
  anchor: string;
  mac: string;
}

/** Whether this line tells of damage that was found when it was written. */
export const tellsOfDamage = ({ permission, outcome }: AuditRecord): boolean => outcome === DAMAGED && (permission === BREAK || permission === PRUNE);

/** JSON of a list of strings, numbers and nulls has one spelling. */
export const macOf = (key: KeyObject, ...parts: readonly (string | number | null)[]): string =>
  createHmac('sha256', key).update(JSON.stringify(parts)).digest('base64url');

/** In constant time. */
export const same = (a: string, b: string): boolean => {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
};

/** Of a line, and of the hash of the line before it. */
export const lineHash = (key: KeyObject, previous: string, of: Omit<AuditRecord, 'id' | 'hash'>): string =>
  macOf(
    key,
    'line',
    previous,
    of.tenant,
    of.seq,
    of.time,
    of.principal,
    of.principal_name,
    of.credential,
    of.source,
    of.permission,
    of.target,
    of.target_id,
    of.request_id,
    of.outcome,
    of.decision,
  );

const headMac = (key: KeyObject, tenant: string, { seq, hash, first_seq, anchor }: Omit<Head, 'mac'>): string =>
  macOf(key, 'head', tenant, seq, hash, first_seq, anchor);
export const withMac = (key: KeyObject, tenant: string, head: Omit<Head, 'mac'>): Head => ({
  seq: head.seq,
  hash: head.hash,
  first_seq: head.first_seq,
  anchor: head.anchor,
  mac: headMac(key, tenant, head),
});
export const isGenuine = (key: KeyObject, tenant: string, head: Head): boolean => same(head.mac, headMac(key, tenant, head));

export const headIn = (db: Db, tenant: string): Promise<Head | undefined> =>
  db.selectFrom('audit_head').select(['seq', 'hash', 'first_seq', 'anchor', 'mac']).where('tenant', '=', tenant).executeTakeFirst();

/** Which chains there are: a chain that is gone with its head would otherwise look like one that never began. */
export interface Roster {
  tenants: readonly string[];
  genuine: boolean;
}

export function readRoster(key: KeyObject, kept: string | undefined): Roster {
  const [list = '', mac = ''] = kept?.split('.') ?? [];
  return { tenants: list === '' ? [] : list.split(',').map((tenant) => (tenant === '-' ? '' : tenant)), genuine: same(mac, macOf(key, 'chains', list)) };
}

export function rosterText(key: KeyObject, tenants: readonly string[]): string {
  const list = tenants.map((tenant) => tenant || '-').join(',');
  return `${list}.${macOf(key, 'chains', list)}`;
}
