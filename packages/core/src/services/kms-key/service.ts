// Keys that never leave the cloud. Their material is random and sealed by the keyring; it is in the clear only while something is sealed or opened with it.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { Fault } from '../../kernel/errors.ts';
import { type Call, type RowOf, service } from '../../kernel/service.ts';
import { kmsKeys } from './contract.ts';
import { migrations, type Sql } from './tables.ts';

type Row = RowOf<typeof kmsKeys>;
type KeyCall = Pick<Call<typeof kmsKeys, unknown>, 'sql'>;

const PURPOSE = 'kms-key';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const RESEALED_AT_ONCE = 500;

const sqlOf = (call: KeyCall): Sql => call.sql as unknown as Sql;
const sealedFor = (id: string, version: number): string => `${id} ${version}`;
const aadOf = (id: string, version: number): Buffer => Buffer.from(`thecloud/kms1/${id}/${version}`);

export const kmsKeyService = service(kmsKeys, ({ keyring, clock }) => {
  const add = async (call: KeyCall, { id, tenantId }: Pick<Row, 'id' | 'tenantId'>, version: number): Promise<void> => {
    const material = randomBytes(KEY_BYTES);
    const sealed = keyring.seal(PURPOSE, { tenant: tenantId }, material, sealedFor(id, version));
    material.fill(0);
    await sqlOf(call).insertInto('kms_key_version').values({ key_id: id, version, sealed, created_at: clock.now() }).execute();
  };
  const materialOf = async (call: KeyCall, { id, tenantId, name }: Row, version: number): Promise<Buffer> => {
    const found = await sqlOf(call).selectFrom('kms_key_version').select('sealed').where('key_id', '=', id).where('version', '=', version).executeTakeFirst();
    if (found === undefined) throw new Fault('not_found', `The key ${name} has no version ${version}`, { hint: `cloud kms-key get ${name}` });
    return keyring.open(PURPOSE, { tenant: tenantId }, found.sealed, sealedFor(id, version));
  };

  return {
    migrations,
    handlers: {
      async create(call) {
        const { name, labels, ...spec } = call.input;
        const row = await call.rows.insert({ name, labels, spec, status: { currentVersion: 1 } });
        await add(call, row, 1);
        return row;
      },
      async rotate(call) {
        const version = call.target.status.currentVersion === undefined ? 1 : call.target.status.currentVersion + 1;
        await add(call, call.target, version);
        await call.event(call.target, 'rotated', `The key ${call.target.name} has new material: version ${version}`);
        return call.rows.report(call.target, { status: { currentVersion: version, rotatedAt: new Date(clock.now()).toISOString() } });
      },
      async delete(call) {
        await sqlOf(call).deleteFrom('kms_key_version').where('key_id', '=', call.target.id).execute();
        return call.rows.delete(call.target);
      },
      async encrypt(call) {
        const { id, name, status } = call.target;
        const version = status.currentVersion ?? 1;
        const key = await materialOf(call, call.target, version);
        const nonce = randomBytes(NONCE_BYTES);
        const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
        cipher.setAAD(aadOf(id, version));
        const bytes = Buffer.concat([nonce, cipher.update(call.input.plaintext, 'base64'), cipher.final(), cipher.getAuthTag()]);
        key.fill(0);
        return { key: name, version, ciphertext: `kms1.${version}.${bytes.toString('base64url')}` };
      },
      async decrypt(call) {
        const { id, name } = call.target;
        const [, number = '', text = ''] = call.input.ciphertext.split('.');
        const version = Number(number);
        const bytes = Buffer.from(text, 'base64url');
        const key = await materialOf(call, call.target, version);
        try {
          const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
          decipher.setAAD(aadOf(id, version));
          decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
          const plain = Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, bytes.length - TAG_BYTES)), decipher.final()]);
          return { key: name, version, plaintext: plain.toString('base64') };
        } catch (error) {
          const message = `this was not sealed by the key ${name}, or was changed`;
          throw new Fault('invalid_input', `ciphertext: ${message}`, { details: [{ path: 'ciphertext', message }], cause: error });
        } finally {
          key.fill(0);
        }
      },
      async material(call) {
        const version = call.input.version ?? call.target.status.currentVersion ?? 1;
        return { id: call.target.id, version, material: (await materialOf(call, call.target, version)).toString('base64') };
      },
    },

    async reseal(tx, from, to) {
      const sql = tx as unknown as Sql;
      for (let after = { key_id: '', version: 0 }; ; ) {
        const found = await sql
          .selectFrom('kms_key_version')
          .innerJoin('r_kms_key', 'r_kms_key.id', 'kms_key_version.key_id')
          .select(['key_id', 'version', 'sealed', 'r_kms_key.tenant as tenant'])
          .where((where) =>
            where.or([where('key_id', '>', after.key_id), where.and([where('key_id', '=', after.key_id), where('version', '>', after.version)])]),
          )
          .orderBy('key_id')
          .orderBy('version')
          .limit(RESEALED_AT_ONCE)
          .execute();
        for (const { key_id, version, sealed, tenant } of found) {
          const material = from.open(PURPOSE, { tenant }, sealed, sealedFor(key_id, version));
          await sql
            .updateTable('kms_key_version')
            .set({ sealed: to.seal(PURPOSE, { tenant }, material, sealedFor(key_id, version)) })
            .where('key_id', '=', key_id)
            .where('version', '=', version)
            .execute();
          material.fill(0);
          after = { key_id, version };
        }
        if (found.length < RESEALED_AT_ONCE) return;
      }
    },
  };
});
