// Schema changes, in order, each once. A migration that has shipped is never edited; a new one follows it.
import { type Kysely, sql } from 'kysely';
import { DEFAULT_TENANT } from './authorize.ts';
import type { Contract } from './contract.ts';
import type { Db, KernelTables } from './db.ts';
import { Fault } from './errors.ts';

export interface Migration {
  /** Unique for ever: `queue-001`. */
  id: string;
  up: (db: Kysely<KernelTables>) => Promise<void>;
}

/** SQL text that every dialect takes. */
export const statements =
  (...texts: string[]): Migration['up'] =>
  async (db) => {
    for (const text of texts) await sql.raw(text).execute(db);
  };

const kernel: Migration[] = [
  {
    id: 'kernel-001',
    up: statements(
      'create table meta (key text primary key, value text not null)',
      'create table tenant (id text primary key, name text not null unique, created_at bigint not null)',
      `insert into tenant (id, name, created_at) values ('${DEFAULT_TENANT.id}', '${DEFAULT_TENANT.name}', 0)`,
      'create table label (owner text not null, key text not null, value text not null, primary key (owner, key))',
      'create index label_value on label (key, value)',
      'create table reference (from_kind text not null, from_id text not null, from_name text not null, to_id text not null, primary key (from_id, to_id))',
      'create index reference_to on reference (to_id)',
      `create table operation (id text primary key, tenant text not null, kind text not null, resource text not null, resource_id text not null, name text not null,
        generation bigint not null, state text not null, progress text, percent double precision, error text, request_id text not null, created_at bigint not null, finished_at bigint)`,
      'create index operation_resource on operation (resource_id, state)',
      'create index operation_tenant on operation (tenant, created_at)',
      `create table event (id integer primary key, tenant text not null, time bigint not null, type text not null, resource text not null, resource_id text not null,
        name text not null, message text not null, principal text not null, request_id text)`,
      'create index event_tenant on event (tenant, id)',
      `create table audit (id integer primary key, tenant text not null, time bigint not null, principal text not null, source text not null, permission text not null,
        target text, request_id text not null, outcome text not null)`,
      'create index audit_tenant on audit (tenant, id)',
      `create table idempotency (tenant text not null, principal text not null, key text not null, hash text not null, answer text not null, created_at bigint not null,
        primary key (tenant, principal, key))`,
      'create table quota_limit (tenant text not null, name text not null, value bigint not null, primary key (tenant, name))',
      'create table quota_usage (tenant text not null, name text not null, value bigint not null, primary key (tenant, name))',
    ),
  },
  {
    id: 'kernel-002',
    up: statements(
      'alter table idempotency add column expires_at bigint not null default 0',
      'update idempotency set expires_at = created_at + 86400000',
      'create index idempotency_expiry on idempotency (expires_at)',
    ),
  },
  {
    // Lines with seq 0 become part of their chains when the first line after them is written: that takes a key.
    id: 'kernel-003',
    up: statements(
      'alter table audit add column seq bigint not null default 0',
      'alter table audit add column principal_name text',
      'alter table audit add column credential text',
      'alter table audit add column target_id text',
      'alter table audit add column decision text',
      "alter table audit add column hash text not null default ''",
      'drop index audit_tenant',
      'create index audit_chain on audit (tenant, seq)',
      'create table audit_head (tenant text primary key, seq bigint not null, hash text not null, first_seq bigint not null, anchor text not null, mac text not null)',
    ),
  },
  {
    // Half a CPU counts half.
    id: 'kernel-004',
    up: statements(
      ...['quota_limit', 'quota_usage'].flatMap((table) => [
        `alter table ${table} rename to ${table}_whole`,
        `create table ${table} (tenant text not null, name text not null, value double precision not null, primary key (tenant, name))`,
        `insert into ${table} (tenant, name, value) select tenant, name, value from ${table}_whole`,
        `drop table ${table}_whole`,
      ]),
    ),
  },
  {
    id: 'kernel-005',
    up: statements(
      `create table policy_attachment (tenant text not null, policy_id text not null, kind text not null, principal_id text not null,
        primary key (tenant, policy_id, kind, principal_id))`,
      'create index policy_attachment_principal on policy_attachment (tenant, kind, principal_id)',
    ),
  },
];

export const tableName = (resource: string): `r_${string}` => `r_${resource.replaceAll('-', '_')}`;

/** The table of a stored resource; the kernel makes it, a service adds only what it needs besides. */
function resourceTable(contract: Contract): Migration {
  const table = tableName(contract.resource.name);
  return {
    id: `resource-${contract.resource.name}-001`,
    up: statements(
      `create table ${table} (id text primary key, tenant text not null, name text not null, labels text not null, spec text not null, generation bigint not null,
        deleted_at bigint, operation text, status text not null, state text not null, reason text, observed bigint not null, revision bigint not null,
        created_at bigint not null, updated_at bigint not null, unique (tenant, name))`,
      `create index ${table}_page on ${table} (tenant, created_at, id)`,
    ),
  };
}

/** The kernel's own tables, which must be there before anything else is known. */
export async function migrateKernel(db: Db): Promise<void> {
  await sql`create table if not exists migration (id text primary key, applied_at text not null)`.execute(db);
  await apply(db, kernel, await appliedIn(db));
}

const appliedIn = async (db: Db): Promise<Set<string>> => new Set((await sql<{ id: string }>`select id from migration`.execute(db)).rows.map((row) => row.id));

/** Brings the whole schema up to date. A database of a newer version is refused, never touched. */
export async function migrate(db: Db, services: readonly { contract: Contract; migrations?: readonly Migration[] | undefined }[]): Promise<void> {
  const applied = await appliedIn(db);
  const wanted = [...kernel];
  for (const { contract, migrations } of services) {
    if (contract.resource.stored) wanted.push(resourceTable(contract));
    wanted.push(...(migrations ?? []));
  }
  const known = new Set(wanted.map((migration) => migration.id));
  const unknown = [...applied].filter((id) => !known.has(id));
  if (unknown.length > 0) {
    throw new Fault('conflict', `The data directory was written by a newer version (it has ${unknown.join(', ')})`, {
      hint: 'use the version that wrote it, or another --data-dir',
    });
  }
  await apply(db, wanted, applied);
}

async function apply(db: Db, wanted: readonly Migration[], applied: ReadonlySet<string>): Promise<void> {
  for (const migration of wanted) {
    if (applied.has(migration.id)) continue;
    await db.transaction().execute(async (tx) => {
      await migration.up(tx);
      await sql`insert into migration (id, applied_at) values (${migration.id}, ${new Date().toISOString()})`.execute(tx);
    });
  }
}
