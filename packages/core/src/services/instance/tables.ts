// Host ports that instances have. Kept from creation to deletion, so that a port is stable over stop and start.
import type { AnyResource } from '../../kernel/contract.ts';
import { type Migration, statements } from '../../kernel/migrate.ts';
import { costOf } from '../../kernel/quota.ts';
import { instance } from './contract.ts';

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
  {
    // vCPUs and memory of instances that were there before these were counted.
    id: 'instance-002',
    up: async (db) => {
      const used = new Map<string, { tenant: string; name: string; value: number }>();
      for (const { tenant, spec } of await db.selectFrom('r_instance').select(['tenant', 'spec']).execute()) {
        const { instances: _, ...cost } = costOf(instance as AnyResource, JSON.parse(spec) as Record<string, unknown>);
        for (const [name, value] of Object.entries(cost)) {
          const key = `${tenant} ${name}`;
          used.set(key, { tenant, name, value: (used.get(key)?.value ?? 0) + value });
        }
      }
      for (const values of used.values()) await db.insertInto('quota_usage').values(values).execute();
    },
  },
];
