// Where the bytes of objects are kept when not in the data directory: said once, in the environment or by an embedding program, and remembered, because bytes that
// were put in one place are not in another.
import { readFileSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { sql } from 'kysely';
import { z } from 'zod';
import type { Clock } from './kernel/clock.ts';
import type { Db } from './kernel/db.ts';
import type { DriverSet } from './kernel/driver.ts';
import { Fault } from './kernel/errors.ts';
import type { Log } from './kernel/log.ts';

const NAME = 'CLOUD_OBJECT_STORE';
/** Everything that may hold a credential or tell where one lies. */
export const OBJECT_STORE_VARIABLES = [
  NAME,
  `${NAME}_ACCESS_KEY_ID`,
  `${NAME}_SECRET_ACCESS_KEY`,
  `${NAME}_SECRET_ACCESS_KEY_FILE`,
  `${NAME}_CLUSTER_TOKEN`,
  `${NAME}_CLUSTER_TOKEN_FILE`,
] as const;

const address = z
  .url({ protocol: /^https?$/, error: 'use an address such as http://127.0.0.1:3900' })
  .refine((text) => new URL(text).username === '' && new URL(text).password === '', 'credentials do not belong in an address')
  .transform((text) => text.replace(/\/+$/, ''));

const place = z.strictObject({
  endpoint: address.refine((text) => new URL(text).search === '' && new URL(text).hash === '', 'an endpoint has no query'),
  bucket: z.string().regex(/^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$/i, 'this is no name of a bucket'),
  region: z
    .string()
    .regex(/^[\w-]{1,64}$/, 'this is no region')
    .default('us-east-1'),
  prefix: z
    .string()
    .regex(/^(?:[\w-][\w.-]*\/)*[\w-][\w.-]*\/?$|^$/, 'use letters, digits, hyphens, dots and slashes')
    .max(200)
    .default('')
    .transform((text) => (text === '' || text.endsWith('/') ? text : `${text}/`)),
  cluster: z
    .strictObject({ engine: z.enum(['garage', 'seaweedfs', 'minio']), endpoint: address.optional() })
    .optional()
    .meta({ description: 'Where the engine tells of its nodes' }),
});

/** An S3 engine that keeps the bytes of objects. They are sealed before they go there, unless a bucket says otherwise. */
export type ObjectStoreOptions = z.input<typeof place> & {
  accessKeyId: string;
  secretAccessKey: string;
  cluster?: { engine: 'garage' | 'seaweedfs' | 'minio'; endpoint?: string | undefined; token?: string | undefined } | undefined;
};

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * What `CLOUD_OBJECT_STORE` says: JSON, or `http://host:port/bucket/prefix?region=…&cluster=garage&cluster-endpoint=…`; credentials come in variables of their own.
 * Undefined: the data directory. `invalid_input` for anything else; no message repeats what may be a secret.
 */
export function objectStoreFrom(environment: Environment): ObjectStoreOptions | undefined {
  const given = environment[NAME];
  if (!given) return undefined;
  const said = parsed(given.trimStart().startsWith('{') ? jsonOf(given) : partsOf(given));
  const accessKeyId = environment[`${NAME}_ACCESS_KEY_ID`];
  const secretAccessKey = secretOf(environment, `${NAME}_SECRET_ACCESS_KEY`);
  if (!accessKeyId || !secretAccessKey) {
    throw new Fault('invalid_input', `${NAME} needs credentials: set ${NAME}_ACCESS_KEY_ID, and ${NAME}_SECRET_ACCESS_KEY or ${NAME}_SECRET_ACCESS_KEY_FILE`);
  }
  const token = secretOf(environment, `${NAME}_CLUSTER_TOKEN`);
  const { cluster, ...rest } = said;
  return { ...rest, accessKeyId, secretAccessKey, ...(cluster === undefined ? {} : { cluster: { ...cluster, token } }) };
}

function parsed(value: unknown): z.output<typeof place> {
  const result = place.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new Fault('invalid_input', `${NAME} is not right: ${[issue?.path.join('.'), issue?.message].filter((each) => each).join(': ')}`, {
    hint: `export ${NAME}=http://127.0.0.1:3900/bucket/prefix?region=garage`,
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Fault('invalid_input', `${NAME} begins as JSON and is none`); // the parser's own words would repeat the text
  }
}

function partsOf(text: string): unknown {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined)
    throw new Fault('invalid_input', `${NAME} is no address`, { hint: `export ${NAME}=http://127.0.0.1:3900/bucket/prefix?region=garage` });
  if (url.username !== '' || url.password !== '') {
    throw new Fault('invalid_input', `${NAME} has credentials in it, where every log would show them`, {
      hint: `use ${NAME}_ACCESS_KEY_ID and ${NAME}_SECRET_ACCESS_KEY`,
    });
  }
  const [bucket = '', ...prefix] = url.pathname.split('/').filter((part) => part !== '');
  const { cluster, 'cluster-endpoint': clusterEndpoint, ...query } = Object.fromEntries(url.searchParams);
  return {
    endpoint: url.origin,
    bucket,
    prefix: prefix.join('/'),
    ...query,
    ...(cluster === undefined && clusterEndpoint === undefined
      ? {}
      : { cluster: { engine: cluster, ...(clusterEndpoint === undefined ? {} : { endpoint: clusterEndpoint }) } }),
  };
}

function secretOf(environment: Environment, variable: string): string | undefined {
  const path = environment[`${variable}_FILE`];
  if (!path) return environment[variable] || undefined;
  if (environment[variable]) throw new Fault('invalid_input', `${variable} and ${variable}_FILE are both set`, { hint: `unset ${variable}` });
  // A daemon in the background works in another directory than whoever starts it.
  if (!isAbsolute(path)) throw new Fault('invalid_input', `${variable}_FILE has to be an absolute path`, { hint: `${variable}_FILE=$PWD/${path}` });
  try {
    return readFileSync(path, 'utf8').trim() || undefined;
  } catch (error) {
    throw new Fault('unavailable', `${variable}_FILE cannot be read: ${(error as Error).message}`, { hint: `ls -l ${path}`, cause: error });
  }
}

function placeOf({ accessKeyId: _id, secretAccessKey: _secret, cluster, ...rest }: ObjectStoreOptions): z.output<typeof place> {
  return parsed(cluster === undefined ? rest : { ...rest, cluster: { engine: cluster.engine, endpoint: cluster.endpoint } });
}

/** The same set with this store in place of its own. `invalid_input` for options that are not right. */
export async function withObjectStore(set: DriverSet, options: ObjectStoreOptions, { clock, log }: { clock: Clock; log: Log }): Promise<DriverSet> {
  const { accessKeyId, secretAccessKey, cluster } = options;
  const said = placeOf(options);
  const { S3ObjectStore } = await import('./drivers/s3/index.ts');
  const store = new S3ObjectStore({
    ...said,
    accessKeyId,
    secretAccessKey,
    cluster: said.cluster === undefined ? undefined : { ...said.cluster, token: cluster?.token },
    clock,
    log,
  });
  return {
    name: set.name,
    drivers: { ...set.drivers, 'object-store': store },
    close: async () => {
      try {
        await store.close();
      } finally {
        await set.close();
      }
    },
  };
}

const META = 'object-store';
const OWN = 'own';

/**
 * Sees to it that objects are looked for where they were put. `conflict` when there are some, and somewhere else. An engine may move to another address; its bucket
 * and prefix are what is remembered. To be called when the tables are there.
 */
export async function rememberObjectStore(db: Db, options: ObjectStoreOptions | undefined): Promise<void> {
  const wanted = options === undefined ? OWN : `s3:${options.bucket}/${placeOf(options).prefix}`;
  const kept = (await db.selectFrom('meta').select('value').where('key', '=', META).executeTakeFirst())?.value;
  if (kept === wanted) return;
  const { rows } = await sql`select 1 from object_version where body is not null or parts_of is not null union all select 1 from object_part limit 1`.execute(
    db,
  );
  if (rows.length > 0 && (kept ?? OWN) !== wanted) {
    const where = (place: string) => (place === OWN ? 'in the data directory' : `at ${place}`);
    throw new Fault('conflict', `The objects of this installation are kept ${where(kept ?? OWN)}, not ${where(wanted)}. Nothing was changed`, {
      hint: wanted === OWN ? `set ${NAME} as it was` : `unset ${NAME}, or use another --data-dir`,
    });
  }
  await db
    .insertInto('meta')
    .values({ key: META, value: wanted })
    .onConflict((on) => on.column('key').doUpdateSet({ value: wanted }))
    .execute();
}
