import { INSTALLATION } from '../../kernel/authorize.ts';
import { type Migration, statements } from '../../kernel/migrate.ts';

/** The kernel's list of tenants becomes rows like any other; the first tenant keeps its id. */
export const migrations = (now: number): readonly Migration[] => [
  {
    id: 'tenant-001',
    up: statements(
      `insert into r_tenant (id, tenant, name, labels, spec, generation, deleted_at, operation, status, state, reason, observed, revision, created_at, updated_at)
        select id, '${INSTALLATION}', name, '{}', '{}', 1, null, null, '{}', 'ready', null, 1, 1, case when created_at = 0 then ${now} else created_at end, ${now} from tenant`,
    ),
  },
];
