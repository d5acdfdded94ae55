// Peerings as they hold between two VPCs, whoever's those are. The unique index keeps a pair to one that is open.
import { type Migration, statements } from '../../kernel/migrate.ts';

export type PeeringState = 'pending-acceptance' | 'active' | 'rejected';

export interface PeeringTables {
  vpc_peering: {
    /** Of the requester's row. */
    id: string;
    vpc_a: string;
    vpc_b: string;
    state: PeeringState;
    tenant_a: string;
    tenant_b: string;
    /** Of the row in the other tenant; null where both VPCs are of one. */
    mirror_id: string | null;
    /** Both ids, always in the same order. */
    pair: string;
  };
}

export const pairOf = (a: string, b: string): string => [a, b].sort().join(' ');

export const migrations: Migration[] = [
  {
    id: 'peering-001',
    up: statements(
      'create table vpc_peering (id text primary key, vpc_a text not null, vpc_b text not null, state text not null, tenant_a text not null, tenant_b text not null, mirror_id text, pair text not null)',
      "create unique index vpc_peering_pair on vpc_peering (pair) where state <> 'rejected'",
    ),
  },
];
