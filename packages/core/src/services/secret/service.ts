// Secrets: a row tells about one, sealed versions lie in a table of their own. A value is in the clear only in the answer to whoever reads it.
import { randomInt } from 'node:crypto';
import { Fault } from '../../kernel/errors.ts';
import type { Keys, Scope } from '../../kernel/keyring.ts';
import { type Call, type RowOf, type Rows, service } from '../../kernel/service.ts';
import { notFound, rowOf } from '../../kernel/table.ts';
import { REDACTED, Views } from '../../kernel/view.ts';
import { secrets } from './contract.ts';
import { migrations, type Sql } from './tables.ts';

type Row = RowOf<typeof secrets>;
type SecretCall<I = unknown> = Call<typeof secrets, I>;
type Caller = Pick<SecretCall, 'principal' | 'administers'>;

const PURPOSE = 'secret';
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const RESEALED_AT_ONCE = 200;

const time = (milliseconds: number): string => new Date(milliseconds).toISOString();
const wrong = (path: string, message: string): Fault => new Fault('invalid_input', `${path}: ${message}`, { details: [{ path, message }] });

const scopeOf = ({ tenantId, spec, status }: Row): Scope => ({ tenant: tenantId, ...(spec.private ? { user: status.ownerId } : {}) });
const sealedFor = (id: string, version: number): string => `${id} ${version}`;

function seal(keys: Keys, row: Row, version: number, value: string): string {
  const bytes = Buffer.from(value);
  const sealed = keys.seal(PURPOSE, scopeOf(row), bytes, sealedFor(row.id, version));
  bytes.fill(0);
  return sealed;
}

/** Throws `conflict` for what was changed, or is not the value of this version of this secret. */
function open(keys: Keys, row: Row, version: number, sealed: string): Buffer {
  try {
    return keys.open(PURPOSE, scopeOf(row), sealed, sealedFor(row.id, version));
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    throw new Fault(error.code, `Version ${version} of the secret ${row.name} cannot be opened. ${error.message}`, {
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      cause: error,
    });
  }
}

function noVersion(row: Row, version: number): Fault {
  const message = `the secret ${row.name} has no version ${version}`;
  return new Fault('not_found', `version: ${message}`, { details: [{ path: 'version', message }], hint: `cloud secret versions ${row.name}` });
}

const random = (length: number): string => Array.from({ length }, () => ALPHABET.charAt(randomInt(ALPHABET.length))).join('');

/** What the caller gives, or a new one. */
function valueFrom({ value, generate }: { value?: string | undefined; generate?: number | undefined }): string {
  if (value !== undefined && generate !== undefined) throw wrong('generate', 'give a value, or have one made, not both');
  if (generate !== undefined) return random(generate);
  if (value === undefined) throw wrong('value', 'give one (@file, or - for standard input), or have one made with generate');
  return value;
}

/** A private secret of somebody else is not there; for the system it is, which takes a whole tenant down. */
const maySee = (row: Row, { principal, administers }: Caller): boolean =>
  !row.spec.private || row.status.ownerId === principal.id || (principal.kind === 'system' && administers);

async function visible(
  rows: Pick<Rows<typeof secrets>, 'list'>,
  call: Caller,
  page: { limit?: number | undefined; cursor?: string | undefined; label?: string[] | undefined },
) {
  const found: Row[] = [];
  let { cursor } = page;
  const limit = page.limit ?? 1000;
  do {
    const next = await rows.list({ ...page, limit: limit - found.length, cursor });
    found.push(...next.rows.filter((row) => maySee(row, call)));
    cursor = next.cursor;
  } while (cursor !== undefined && found.length < limit);
  return { rows: found, cursor };
}

/** The row that the call is for, if the caller may know of it. */
async function target(call: SecretCall, { unseen = false } = {}): Promise<Row> {
  const row = call.found;
  if (row !== undefined && (unseen || maySee(row, call))) return row;
  // The kernel's own words could name a secret of somebody else as the one that was meant.
  const { rows } = await visible(call.rows, call, {});
  throw notFound(
    'secret',
    call.targetName,
    rows.map(({ name }) => name),
  );
}

const sqlOf = (call: Pick<SecretCall, 'sql'>): Sql => call.sql as unknown as Sql;

export const secretService = service(secrets, (context) => {
  const { keyring } = context;
  const views = new Views(secrets);

  const counts = async (rows: readonly Row[], sql: Sql) => {
    const ids = rows.map(({ id }) => id);
    const found = await sql
      .selectFrom('secret_version')
      .select((of) => ['secret_id', of.fn.countAll<number>().as('versions'), of.fn.max('accessed_at').as('accessed')])
      .where('secret_id', 'in', ids)
      .groupBy('secret_id')
      .execute();
    const byId = new Map(found.map((each) => [each.secret_id, each]));
    return ids.map((id) => {
      const { versions = 0, accessed = null } = byId.get(id) ?? {};
      return { versions: Number(versions), ...(accessed === null ? {} : { lastAccessedAt: time(Number(accessed)) }) };
    });
  };

  const add = async (call: SecretCall, row: Row, version: number, value: string): Promise<void> => {
    await sqlOf(call)
      .insertInto('secret_version')
      .values({
        secret_id: row.id,
        version,
        sealed: seal(keyring, row, version, value),
        created_at: context.clock.now(),
        created_by: call.principal.id,
        accessed_at: null,
      })
      .execute();
  };

  /** Leaves as many as the secret keeps. */
  const forget = async (call: SecretCall, row: Row): Promise<void> => {
    const oldest = await sqlOf(call)
      .selectFrom('secret_version')
      .select('version')
      .where('secret_id', '=', row.id)
      .orderBy('version', 'desc')
      .offset(row.spec.keepVersions)
      .limit(1)
      .executeTakeFirst();
    if (oldest === undefined) return;
    await sqlOf(call).deleteFrom('secret_version').where('secret_id', '=', row.id).where('version', '<=', oldest.version).execute();
    call.changed(row.id);
  };

  const look = async (call: SecretCall, row: Row, version: number) => {
    const found = await sqlOf(call).selectFrom('secret_version').selectAll().where('secret_id', '=', row.id).where('version', '=', version).executeTakeFirst();
    if (found === undefined) return undefined;
    const bytes = open(keyring, row, version, found.sealed);
    const value = bytes.toString();
    bytes.fill(0);
    return { id: row.id, name: row.name, version, value, createdAt: time(found.created_at) };
  };

  const read = async (call: SecretCall<{ version?: number | undefined }>, row: Row, why: string) => {
    const version = call.input.version ?? (row.status.currentVersion as number);
    const found = await look(call, row, version);
    if (found === undefined) throw noVersion(row, version);
    await sqlOf(call)
      .updateTable('secret_version')
      .set({ accessed_at: context.clock.now() })
      .where('secret_id', '=', row.id)
      .where('version', '=', version)
      .execute();
    await call.event(row, 'accessed', `Version ${version} of the secret ${row.name} was read${why}`);
    call.changed(row.id);
    return found;
  };

  return {
    migrations,
    status: (rows, sql) => counts(rows, sql as unknown as Sql),
    handlers: {
      async create(call) {
        const { name, labels, value, generate, ...spec } = call.input;
        const text = valueFrom({ value, generate });
        const { principal } = call;
        const status = { currentVersion: 1, owner: principal.name ?? principal.id, ownerId: principal.id };
        const row = await call.rows.insert({ name, labels, spec: { ...spec, value: REDACTED }, status });
        await add(call, row, 1, text);
        return row;
      },
      async list(call) {
        const { rows, cursor } = await visible(call.rows, call, call.input);
        const counted = rows.length === 0 ? [] : await counts(rows, sqlOf(call));
        const items = rows.map((row, index) => views.once({ ...row, status: { ...row.status, ...counted[index] } }) as never);
        return { items, ...(cursor === undefined ? {} : { cursor }) };
      },
      get: (call) => target(call),
      async update(call) {
        const row = await target(call);
        const { labels, ...spec } = call.input;
        const updated = await call.rows.update(row, { labels, spec });
        await forget(call, updated);
        return updated;
      },
      async delete(call) {
        const row = await target(call, { unseen: call.administers });
        const deleted = await call.rows.delete(row);
        await sqlOf(call).deleteFrom('secret_version').where('secret_id', '=', row.id).execute();
        return deleted;
      },
      value: async (call) => read(call, await target(call), ''),
      reveal: async (call) => read(call, await target(call, { unseen: true }), ` for the ${call.input.usedBy}`),
      async peek(call) {
        const row = await target(call, { unseen: true });
        const found = (await look(call, row, call.input.version)) ?? (await look(call, row, row.status.currentVersion as number));
        if (found === undefined) throw noVersion(row, call.input.version);
        return found;
      },
      async rotate(call) {
        const row = await target(call);
        const version = (row.status.currentVersion as number) + 1;
        await add(call, row, version, valueFrom(call.input));
        const updated = await call.rows.update(row, { always: true, message: `The secret ${row.name} has a new version, ${version}` });
        await forget(call, updated);
        return call.rows.report(updated, { status: { currentVersion: version } });
      },
      async versions(call) {
        const row = await target(call);
        const found = await sqlOf(call)
          .selectFrom('secret_version')
          .select(['version', 'created_at', 'created_by', 'accessed_at'])
          .where('secret_id', '=', row.id)
          .orderBy('version', 'desc')
          .execute();
        const items = found.map(({ version, created_at, created_by, accessed_at }) => ({
          version,
          state: version === row.status.currentVersion ? ('current' as const) : ('previous' as const),
          createdAt: time(created_at),
          createdBy: created_by,
          ...(accessed_at === null ? {} : { lastAccessedAt: time(accessed_at) }),
        }));
        return { items };
      },
      async deleteVersion(call) {
        const row = await target(call);
        const { version } = call.input;
        if (version === row.status.currentVersion) {
          throw new Fault('conflict', `Version ${version} is the newest of the secret ${row.name}`, { hint: `cloud secret rotate ${row.name} --value -` });
        }
        const { numDeletedRows } = await sqlOf(call)
          .deleteFrom('secret_version')
          .where('secret_id', '=', row.id)
          .where('version', '=', version)
          .executeTakeFirst();
        if (numDeletedRows === 0n) throw noVersion(row, version);
        await call.event(row, 'version-deleted', `Version ${version} of the secret ${row.name} was deleted`);
        call.changed(row.id);
        return row;
      },
    },

    async reseal(tx, from, to) {
      const sql = tx as unknown as Sql;
      for (let after = ''; ; ) {
        const records = await tx.selectFrom('r_secret').selectAll().where('id', '>', after).orderBy('id').limit(RESEALED_AT_ONCE).execute();
        for (const row of records.map(rowOf) as unknown as Row[]) {
          after = row.id;
          const versions = await sql.selectFrom('secret_version').select(['version', 'sealed']).where('secret_id', '=', row.id).execute();
          for (const { version, sealed } of versions) {
            const value = open(from, row, version, sealed);
            const again = to.seal(PURPOSE, scopeOf(row), value, sealedFor(row.id, version));
            value.fill(0);
            await sql.updateTable('secret_version').set({ sealed: again }).where('secret_id', '=', row.id).where('version', '=', version).execute();
          }
        }
        if (records.length < RESEALED_AT_ONCE) return;
      }
    },
  };
});
