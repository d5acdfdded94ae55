// Host ports that instances have. Kept from creation to deletion, so that a port is stable over stop and start.
import { type Migration, statements } from '../../kernel/migrate.ts';

export interface InstanceTables {
  instance_port: { instance_id: string; host_address: string; host_port: number; protocol: string };
  r_instance: { id: string; tenant: string; name: string };
}

export const migrations: Migration[] = [
  {
    id: 'instance-001',
    up: statements(
      'create table instance_port (instance_id text not null, host_address text not null, host_port bigint not null, protocol text not null, primary key (host_port, protocol, host_address))',
      'create index instance_port_instance on instance_port (instance_id)',
    ),
  },
];
