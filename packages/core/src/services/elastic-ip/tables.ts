// Elastic IPs of all tenants: the primary key keeps an address from being given twice, the unique indexes keep each instance and NAT gateway to one.
import { type Migration, statements } from '../../kernel/migrate.ts';

export interface ElasticIpTables {
  elastic_ip: { address: string; id: string; tenant: string; instance_id: string | null; nat_gateway_id: string | null };
  /** One row: the number of the address behind the last that was given, so that released ones rest. */
  elastic_ip_cursor: { id: number; next: number };
}

export const migrations: Migration[] = [
  {
    id: 'elastic-ip-001',
    up: statements(
      'create table elastic_ip (address text primary key, id text not null, tenant text not null, instance_id text, nat_gateway_id text)',
      'create unique index elastic_ip_id on elastic_ip (id)',
      'create unique index elastic_ip_instance on elastic_ip (instance_id) where instance_id is not null',
      'create unique index elastic_ip_nat_gateway on elastic_ip (nat_gateway_id) where nat_gateway_id is not null',
      'create table elastic_ip_cursor (id integer primary key, next bigint not null)',
    ),
  },
];
