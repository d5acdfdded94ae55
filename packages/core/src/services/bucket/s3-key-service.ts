// Access keys of S3 clients: made and revoked here, looked up by `s3-keys.ts`. Their secrets are kept sealed, because the protocol signs with them.
import { randomInt } from 'node:crypto';
import type { Principal } from '../../kernel/authorize.ts';
import type { Db, Tx } from '../../kernel/db.ts';
import { Fault } from '../../kernel/errors.ts';
import { type Migration, statements } from '../../kernel/migrate.ts';
import { pageOf } from '../../kernel/page.ts';
import { type Call, type RowOf, type ServiceContext, service } from '../../kernel/service.ts';
import { notFound } from '../../kernel/table.ts';
import { Views } from '../../kernel/view.ts';
import { s3Keys } from './contract.ts';
import { endpointOf, REGION } from './endpoint.ts';
import { all, one, run } from './engine/sql.ts';
import { keepSecret, LOCAL, openSecret, s3KeysOf, sealSecret } from './s3-keys.ts';

type Key = RowOf<typeof s3Keys>;
type KeyCall<I = unknown> = Call<typeof s3Keys, I>;

export interface Credentials {
  endpoint?: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  tenant: string;
}

const UPPER = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const random = (alphabet: string, length: number): string => Array.from({ length }, () => alphabet.charAt(randomInt(alphabet.length))).join('');
/** Twenty characters, as those of AWS, whose clients look at the length. */
const newAccessKeyId = (): string => `TC${random(UPPER, 18)}`;
const newSecret = (): string => random(LETTERS, 40);

const DEFAULT = 'default-';
const defaultName = (ownerId: string): string => `${DEFAULT}${ownerId}`;

const migrations: Migration[] = [
  {
    id: 's3-key-001',
    up: statements('create table s3_key (access_key_id text primary key, key_id text not null unique, sealed text not null)'),
  },
];

/** A key outlives the credential that made it, and has none of the policies that narrow it. */
export function refuseKeys({ principal }: { principal: Principal }, what: string): void {
  if (principal.credential?.kind !== 'api-key') return;
  throw new Fault('forbidden', `A key ${what}: use a login session`, {
    details: { reason: 'a key could shed the policies that narrow it, and outlive its own end' },
    hint: 'cloud auth login',
  });
}

/** Whom a key of the caller's speaks for: the caller, who must be known again later. */
function ownerOf({ principal }: { principal: Principal }): { ownerId: string; owner: string } {
  const local = principal.id === LOCAL && principal.administrator === true;
  if (principal.kept !== true && !local)
    throw new Fault('conflict', `${principal.name ?? principal.id} is no user: a key acts as a user or a service account`, { hint: 'cloud auth login' });
  return { ownerId: principal.id, owner: principal.name ?? principal.id };
}

const tenantName = async (sql: Db | Tx, tenantId: string): Promise<string> =>
  (await one<{ name: string }>(sql, 'select name from r_tenant where id = ?', tenantId))?.name ?? tenantId;

/** What clients are told besides their key. */
const aboutEndpoint = (context: ServiceContext): { endpoint?: string; region: string } => {
  const endpoint = endpointOf(context);
  return { ...(endpoint === undefined ? {} : { endpoint }), region: REGION };
};

export const s3KeyService = service(s3Keys, (context) => {
  const { keyring } = context;
  const views = new Views(s3Keys);
  // Made now, so that it hears of every change from the first on.
  s3KeysOf(context);

  const mine = (row: Key, { principal, administers }: Pick<KeyCall, 'principal' | 'administers'>): boolean =>
    administers || principal.id === row.status.ownerId || principal.kind === 'system';
  const shown = (row: Key): never => views.once(row as never) as never;

  const target = (call: KeyCall): Key => {
    const row = call.found;
    if (row !== undefined && mine(row, call)) return row;
    throw notFound('s3-key', call.targetName, []);
  };

  const make = async (
    call: KeyCall,
    { name, ownerId, owner, spec }: { name: string; ownerId: string; owner: string; spec: Record<string, unknown> },
  ): Promise<Credentials> => {
    const [accessKeyId, secretAccessKey] = [newAccessKeyId(), newSecret()];
    const row = await call.rows.insert({ name, labels: {}, spec, status: { accessKeyId, owner, ownerId } });
    await keepSecret(call.sql, { accessKeyId, keyId: row.id, sealed: sealSecret(keyring, call.tenantId, accessKeyId, secretAccessKey) });
    return { ...aboutEndpoint(context), accessKeyId, secretAccessKey, tenant: await tenantName(call.sql, call.tenantId) };
  };

  return {
    migrations,
    handlers: {
      async create(call) {
        refuseKeys(call, 'makes no keys');
        const { name, ...spec } = call.input;
        if (name.startsWith(DEFAULT)) {
          const message = `names that begin with ${DEFAULT} are those of \`s3 credentials\`; choose another`;
          throw new Fault('invalid_input', `name: ${message}`, { details: [{ path: 'name', message }] });
        }
        if (spec.expiresAt !== undefined && Date.parse(spec.expiresAt) <= context.clock.now()) {
          throw new Fault('invalid_input', 'expiresAt: this is over', { details: [{ path: 'expiresAt', message: 'give a time to come' }] });
        }
        return make(call, { name, ...ownerOf(call), spec });
      },
      async ofOwner(call) {
        refuseKeys(call, 'is given no other key');
        const owner = ownerOf(call);
        const name = defaultName(owner.ownerId);
        const row = await call.rows.find(name);
        if (row === undefined || row.status.ownerId !== owner.ownerId) return make(call, { name, ...owner, spec: {} });
        const { accessKeyId } = row.status as { accessKeyId: string };
        const { sealed } = (await one<{ sealed: string }>(call.sql, 'select sealed from s3_key where key_id = ?', row.id)) as { sealed: string };
        return {
          ...aboutEndpoint(context),
          accessKeyId,
          secretAccessKey: openSecret(keyring, call.tenantId, accessKeyId, sealed),
          tenant: await tenantName(call.sql, call.tenantId),
        };
      },
      async list(call) {
        const { label, ...page } = call.input;
        const rows: Key[] = [];
        for (let cursor: string | undefined; ; ) {
          const next = await call.rows.list({ label, cursor });
          rows.push(...next.rows.filter((row) => mine(row, call)));
          cursor = next.cursor;
          if (cursor === undefined) break;
        }
        return pageOf(
          rows.map((row) => shown(row) as { labels: Record<string, string>; createdAt: string; id: string }),
          ({ createdAt, id }) => `${createdAt} ${id}`,
          page,
        ) as never;
      },
      get: async (call) => shown(target(call)),
      async delete(call) {
        const row = target(call);
        await run(call.sql, 'delete from s3_key where key_id = ?', row.id);
        return shown(await call.rows.delete(row));
      },
    },
    async reseal(tx, from, to) {
      const found = await all<{ access_key_id: string; sealed: string; tenant: string }>(
        tx,
        'select s.access_key_id, s.sealed, r.tenant from s3_key s join r_s3_key r on r.id = s.key_id',
      );
      for (const { access_key_id: id, sealed, tenant } of found) {
        const again = sealSecret(to, tenant, id, openSecret(from, tenant, id, sealed));
        await run(tx, 'update s3_key set sealed = ? where access_key_id = ?', again, id);
      }
    },
  };
});
