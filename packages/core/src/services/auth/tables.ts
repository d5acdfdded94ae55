import type { Kysely } from 'kysely';
import type { KernelTables } from '../../kernel/db.ts';
import { type Migration, statements } from '../../kernel/migrate.ts';

export interface AuthTables {
  signing_key: { kid: string; sealed: string; created_at: number; retired_at: number | null };
  session: {
    id: string;
    principal_id: string;
    refresh_hash: string | null;
    /** Of what all refresh tokens of the session begin with: one that does and is not the newest was used before, so somebody has a copy. */
    family_hash: string | null;
    source: string;
    created_at: number;
    expires_at: number;
    ended_at: number | null;
  };
  user_password: { user_id: string; hash: string; set_at: number };
  user_login: { user_id: string; at: number };
  one_time_token: { user_id: string; hash: string; expires_at: number };
  api_key_use: { key_id: string; at: number; source: string };
  login_failure: { account: string; source: string; failures: number; until: number; newest: number };
  /** Sources from which a login succeeded, hashed. */
  known_source: { account: string; source: string; newest: number };
}

export type Sql = Kysely<KernelTables & AuthTables>;

export const migrations: readonly Migration[] = [
  {
    id: 'auth-001',
    up: statements(
      'create table signing_key (kid text primary key, sealed text not null, created_at bigint not null, retired_at bigint)',
      `create table session (id text primary key, principal_id text not null, refresh_hash text, family_hash text, source text not null, created_at bigint not null,
        expires_at bigint not null, ended_at bigint)`,
      'create index session_principal on session (principal_id)',
      'create index session_expiry on session (expires_at)',
      'create table user_password (user_id text primary key, hash text not null, set_at bigint not null)',
      'create table user_login (user_id text primary key, at bigint not null)',
      'create table one_time_token (user_id text primary key, hash text not null, expires_at bigint not null)',
      'create table login_failure (account text not null, source text not null, failures bigint not null, until bigint not null, newest bigint not null, primary key (account, source))',
      'create table api_key_use (key_id text primary key, at bigint not null, source text not null)',
      'create table known_source (account text not null, source text not null, newest bigint not null, primary key (account, source))',
    ),
  },
];
