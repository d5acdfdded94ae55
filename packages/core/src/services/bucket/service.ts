// Buckets, and the S3 endpoint. What is in buckets the engine keeps; here are their rows, what is configured about them, and the listener that serves them.
import { Fault } from '../../kernel/errors.ts';
import type { Listener } from '../../kernel/listener.ts';
import { type Call, type Preparation, type RowOf, type ServiceContext, service } from '../../kernel/service.ts';
import { actorOf, bucketOf, type Calling, mustAlso, refuseDenied } from './calls.ts';
import { checkedConfig } from './configuring.ts';
import { buckets, CONFIG_NAMES, s3Keys, s3s } from './contract.ts';
import { objectStorePort } from './driver.ts';
import { endpointOf, REGION } from './endpoint.ts';
import { claimName, releaseName, writeConfig } from './engine/buckets.ts';
import type { BucketConfig, ConfigName } from './engine/config.ts';
import { resealTenantKeys } from './engine/keys.ts';
import { engineOf } from './engine/objects.ts';
import type { Bucket } from './engine/types.ts';
import { usageOf } from './engine/usage.ts';
import { toFault, withFaults } from './faults.ts';
import { notificationMigrations, notifierOf } from './notifications.ts';
import { migrations } from './tables.ts';

type Buckets = typeof buckets;
type Row = RowOf<Buckets>;

/** How long the object store may take to say how it is. */
const STATUS_MS = 10_000;

/** What a preparation has found out for the handler. */
const PREPARED = Symbol('prepared');
interface Prepared {
  value: BucketConfig[ConfigName] | undefined;
}
const keep = <I extends object>(call: { input: I }, prepared: Prepared): void => {
  call.input = Object.assign({ ...call.input }, { [PREPARED]: prepared });
};
const kept = (input: object): Prepared => (input as { [PREPARED]: Prepared })[PREPARED];

const wrong = (path: string, message: string): Fault => new Fault('invalid_input', `${path}: ${message}`, { details: [{ path, message }] });

/** The rules of S3: versions once kept stay kept or rest, and locks need them. */
function checkVersioning(row: Row, next: 'off' | 'enabled' | 'suspended' | null | undefined): void {
  const before = row.spec.versioning;
  if (next === undefined || next === before) return;
  if (next === 'off' || next === null) throw wrong('versioning', 'once on, it can only be suspended: older versions stay');
  if (next === 'suspended' && row.spec.objectLock) throw wrong('versioning', 'a bucket with object lock keeps versions for good');
  if (next === 'suspended' && before === 'off') throw wrong('versioning', 'it was never on, so there is nothing to suspend');
}

export const bucketService = service(buckets, (context) => {
  const engine = engineOf(context);
  const notifier = notifierOf(context);

  /** The bucket of a row, as the engine has it. */
  const ofRow = async (row: Row): Promise<Bucket> => {
    const bucket = await engine.byId(row.id);
    if (bucket === undefined) throw new Fault('not_found', `There is no bucket ${JSON.stringify(row.name)}`, { hint: 'cloud bucket list' });
    return bucket;
  };
  const ofPreparation = async (call: Preparation<Buckets, unknown>): Promise<Bucket> => ofRow(await call.rows.get(call.target as string));
  const configure = async (call: Call<Buckets, unknown>, name: ConfigName): Promise<Row> => {
    const row = call.target;
    const { value } = kept(call.input as object);
    await writeConfig(call.sql, row.id, name, value as never);
    await call.event(row, 'configured', `${value === undefined ? 'Removed' : 'Set'} ${name} of the bucket ${row.name}`);
    call.changed(row.id);
    return row;
  };
  const denied = (call: Calling, bucket: Bucket, action: string): Promise<void> => refuseDenied(context, engine, call, bucket, action);

  return {
    migrations: [...migrations, ...notificationMigrations],
    status: async (rows, sql) => {
      const found = await usageOf(
        sql,
        rows.map(({ id }) => id),
      );
      return rows.map(({ id }) => found.get(id) ?? { objects: 0, versions: 0, bytes: 0, uploads: 0, uploadBytes: 0 });
    },
    prepare: {
      async delete(call) {
        const row = await call.rows.find(call.target as string);
        const bucket = row === undefined ? undefined : await engine.byId(row.id);
        if (bucket === undefined) return; // the transaction says that it is not there
        await denied(call, bucket, 's3:DeleteBucket');
        // The system takes a tenant down with all that is in it: nobody is left for whom locked versions would be kept.
        const ending = call.principal.kind === 'system';
        if (!call.input.force && !ending) return;
        // What is deleted along with its bucket is deleted: it takes what it takes one by one.
        const may = async (key: string, version: string | undefined): Promise<void> => {
          const [permission, action] =
            version === undefined ? (['object:uploadAbort', 's3:AbortMultipartUpload'] as const) : (['object:delete', 's3:DeleteObjectVersion'] as const);
          await mustAlso(context, call, permission, `${bucket.name}/${key}`);
          await refuseDenied(context, engine, call, bucket, action, key, { version });
        };
        try {
          await engine.clear(bucket, { actor: actorOf(call), locked: ending, ...(ending ? {} : { may }), signal: call.signal });
        } catch (error) {
          throw toFault(error, bucket.name);
        }
      },
      async update(call) {
        if (call.input.versioning === undefined) return;
        const row = await call.rows.find(call.target as string);
        const bucket = row === undefined ? undefined : await engine.byId(row.id);
        if (bucket !== undefined) await denied(call, bucket, 's3:PutBucketVersioning');
      },
      async configure(call) {
        const bucket = await ofPreparation(call);
        const { name, value } = call.input;
        await denied(call, bucket, name === 'policy' ? (value === undefined ? 's3:DeleteBucketPolicy' : 's3:PutBucketPolicy') : CONFIGURES[name]);
        keep(call, { value: value === undefined || value === null ? undefined : await checkedConfig(context, call, bucket, name, value) });
      },
      async notification(call) {
        const bucket = await ofPreparation(call);
        await denied(call, bucket, 's3:PutBucketNotification');
        const rules = await notifier.targetsOf(call, call.input.rules);
        keep(call, { value: rules.length === 0 ? undefined : rules });
      },
    },
    handlers: {
      async create(call) {
        const { name, labels, ...spec } = call.input;
        if (spec.objectLock && spec.versioning === 'suspended') throw wrong('versioning', 'a bucket with object lock keeps versions');
        if (spec.versioning === 'suspended') throw wrong('versioning', 'it begins off or enabled');
        const row = await call.rows.insert({ name, labels, spec: { ...spec, ...(spec.objectLock ? { versioning: 'enabled' } : {}) } });
        await claimName(call.sql, { name, bucketId: row.id, tenantId: call.tenantId });
        return row;
      },
      async update(call) {
        const { labels, ...spec } = call.input;
        checkVersioning(call.target, spec.versioning);
        return call.rows.update(call.target, { labels, spec });
      },
      async delete(call) {
        const row = call.target;
        await releaseName(call.sql, { id: row.id, name: row.name, tenantId: row.tenantId, now: call.startedAt });
        return call.rows.delete(row);
      },
      async configuration(call) {
        const bucket = await ofRow(call.target);
        await denied(call, bucket, 's3:GetBucketPolicy');
        const config = bucket.config;
        return { items: CONFIG_NAMES.flatMap((name) => (config[name] === undefined ? [] : [{ name, value: readable(name, config[name]) }])) };
      },
      configure: (call) => configure(call, call.input.name),
      notification: (call) => configure(call, 'notifications'),
      async *verify(call) {
        const bucket = await bucketOf(engine, call, call.target.name);
        await denied(call, bucket, 's3:ListBucketVersions');
        try {
          for await (const { checked, bytes, damage } of engine.verify(bucket, { prefix: call.input.prefix, signal: call.signal })) {
            yield { checked, bytes, damaged: damage.map(({ part, ...rest }) => (part === undefined ? rest : { ...rest, part })) };
          }
        } catch (error) {
          throw toFault(error, bucket.name);
        }
      },
      async clusterStatus(call) {
        const signal = AbortSignal.any([call.signal, AbortSignal.timeout(STATUS_MS)]);
        const { bytesTotal, bytesFree, nodes, ...rest } = await context.driver(objectStorePort).status(signal);
        const bytes = (of: { bytesTotal: number | undefined; bytesFree: number | undefined }) => ({
          ...(of.bytesTotal === undefined ? {} : { bytesTotal: of.bytesTotal }),
          ...(of.bytesFree === undefined ? {} : { bytesFree: of.bytesFree }),
        });
        return {
          ...rest,
          ...bytes({ bytesTotal, bytesFree }),
          nodes: nodes.map(({ name, state, detail, ...of }) => ({ name, state, detail, ...bytes(of) })),
        };
      },
    },
    reseal: resealTenantKeys,
    listener: s3Listener(context),
    async start() {
      engine.startSweep();
      await notifier.start();
    },
    prune: (now) => withFaults('', () => engine.prune(now)),
    async close() {
      await notifier.close();
      await engine.close();
    },
  };
});

/** What AWS calls it to set a part of the configuration. */
const CONFIGURES: Readonly<Record<Exclude<ConfigName, 'policy'>, string>> = {
  acl: 's3:PutBucketAcl',
  cors: 's3:PutBucketCORS',
  lifecycle: 's3:PutLifecycleConfiguration',
  tags: 's3:PutBucketTagging',
  publicAccessBlock: 's3:PutBucketPublicAccessBlock',
  ownership: 's3:PutBucketOwnershipControls',
  encryption: 's3:PutEncryptionConfiguration',
  lockDefault: 's3:PutBucketObjectLockConfiguration',
  notifications: 's3:PutBucketNotification',
  requestPayment: 's3:PutBucketRequestPayment',
  logging: 's3:PutBucketLogging',
};

/** A policy is kept as the text that came; shown is what it says. */
function readable(name: ConfigName, value: unknown): unknown {
  if (name !== 'policy' || typeof value !== 'string') return value;
  try {
    return JSON.parse(value) as unknown;
  } catch (error) {
    if (error instanceof SyntaxError) return value;
    throw error;
  }
}

/** The protocol is loaded when somebody is to be served by it. */
function s3Listener(context: ServiceContext): Listener {
  return {
    name: 's3',
    defaultPort: 9000,
    async listen(at) {
      const { listenS3 } = await import('./s3/listen.ts');
      return listenS3(context, at);
    },
  };
}

export const s3Service = service(s3s, (context) => ({
  handlers: {
    credentials: (call) => call.client({ s3Key: s3Keys }).s3Key.ofOwner({}),
    async status() {
      const endpoint = endpointOf(context);
      return { ...(endpoint === undefined ? {} : { endpoint }), region: REGION };
    },
  },
}));
