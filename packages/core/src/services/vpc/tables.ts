// Addresses given out. The primary key is what makes it impossible to give one twice.
import { type Migration, statements } from '../../kernel/migrate.ts';

export interface VpcTables {
  vpc_address: { vpc_id: string; address: number; owner: string };
}

export const migrations: Migration[] = [
  {
    id: 'vpc-001',
    up: statements(
      'create table vpc_address (vpc_id text not null, address bigint not null, owner text not null, primary key (vpc_id, address))',
      'create index vpc_address_owner on vpc_address (vpc_id, owner)',
    ),
  },
];
