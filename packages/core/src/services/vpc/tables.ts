// Addresses given out. The primary key is what makes it impossible to give one twice.
import { type Migration, statements } from '../../kernel/migrate.ts';

export interface VpcTables {
  vpc_address: { vpc_id: string; address: number; owner: string; subnet_id: string | null };
  /** Where to look for the next free one, for a VPC (outside its subnets) or a subnet: behind the last that was given, so that freed ones rest. */
  vpc_address_cursor: { scope: string; vpc_id: string; next: number };
}

export const migrations: Migration[] = [
  {
    id: 'vpc-001',
    up: statements(
      'create table vpc_address (vpc_id text not null, address bigint not null, owner text not null, primary key (vpc_id, address))',
      'create index vpc_address_owner on vpc_address (vpc_id, owner)',
    ),
  },
  {
    id: 'vpc-002',
    up: statements(
      'alter table vpc_address add column subnet_id text',
      'create index vpc_address_subnet on vpc_address (subnet_id)',
      'create table vpc_address_cursor (scope text primary key, vpc_id text not null, next bigint not null)',
      'create index vpc_address_cursor_vpc on vpc_address_cursor (vpc_id)',
    ),
  },
];
