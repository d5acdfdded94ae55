// Versions of keys, sealed. All of them are kept: what an old one sealed must open.
import type { Kysely } from 'kysely';
import type { KernelTables } from '../../kernel/db.ts';
import { type Migration, statements } from '../../kernel/migrate.ts';

interface VersionTable {
  key_id: string;
  version: number;
  sealed: string;
  created_at: number;
}

export type Sql = Kysely<KernelTables & { kms_key_version: VersionTable }>;

export const migrations: Migration[] = [
  {
    id: 'kms-key-001',
    up: statements(
      'create table kms_key_version (key_id text not null, version bigint not null, sealed text not null, created_at bigint not null, primary key (key_id, version))',
    ),
  },
];
