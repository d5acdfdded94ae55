// Versions of secrets. `sealed` opens only for the secret and version that its row names, so rows that were exchanged are noticed.
import type { Kysely } from 'kysely';
import type { KernelTables } from '../../kernel/db.ts';
import { type Migration, statements } from '../../kernel/migrate.ts';

interface VersionTable {
  secret_id: string;
  version: number;
  sealed: string;
  created_at: number;
  created_by: string;
  accessed_at: number | null;
}

export type Sql = Kysely<KernelTables & { secret_version: VersionTable }>;

export const migrations: Migration[] = [
  {
    id: 'secret-001',
    up: statements(
      `create table secret_version (secret_id text not null, version bigint not null, sealed text not null, created_at bigint not null, created_by text not null,
        accessed_at bigint, primary key (secret_id, version))`,
    ),
  },
];
