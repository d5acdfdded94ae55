// Objects as calls: the same engine that S3 clients reach, by the names `<bucket>/<key>`. Every change waits for the object store, so it is made before the
// kernel's transaction, which writes down that it was.
import { Fault } from '../../kernel/errors.ts';
import { type Call, type Handlers, type Preparation, type Preparations, service } from '../../kernel/service.ts';
import { actorOf, bucketOf, type Calling, mayTag, mustAlso, refuseDenied } from './calls.ts';
import { s3Keys } from './contract.ts';
import { endpointOf, REGION } from './endpoint.ts';
import { engineOf } from './engine/objects.ts';
import type { Bucket, ObjectAttributes, ObjectInfo, PutOptions } from './engine/types.ts';
import { withFaults } from './faults.ts';
import { objectChannels } from './object-channels.ts';
import { objects } from './object-contract.ts';
import { attributesOf, cursorOf, lockOf, nameOf, placeOf, viewOf } from './object-view.ts';
import { presigned } from './presign.ts';
import { refuseKeys } from './s3-key-service.ts';

type Objects = typeof objects;
type Changing = Preparation<Objects, unknown>;

const DONE = Symbol('done');
/** What the preparation did is what the transaction answers with. */
const keep = (call: { input: unknown }, value: unknown): void => {
  call.input = Object.assign({ ...(call.input as object) }, { [DONE]: value });
};
const kept = async (call: Call<Objects, unknown>): Promise<never> => (call.input as { [DONE]: unknown })[DONE] as never;

export const objectService = service(objects, (context) => {
  const engine = engineOf(context);

  /** The bucket and key that a name says, in the caller's tenant; the bucket's policy has been asked. */
  const at = async (calling: Calling, name: string, action: string, version?: string): Promise<{ bucket: Bucket; key: string; name: string }> => {
    const { bucketName, key } = nameOf(name);
    const bucket = await bucketOf(engine, calling, bucketName);
    await refuseDenied(context, engine, calling, bucket, action, key, { version });
    return { bucket, key, name };
  };
  /** The bucket of a list, and what names in it begin with. */
  const below = async (call: Call<Objects, unknown>, action: string): Promise<{ bucket: Bucket; prefix: string }> => {
    const slash = call.targetName.indexOf('/');
    const bucket = await bucketOf(engine, call, slash < 0 ? call.targetName : call.targetName.slice(0, slash));
    const prefix = slash < 0 ? '' : call.targetName.slice(slash + 1);
    await refuseDenied(context, engine, call, bucket, action, undefined, { context: { 's3:prefix': prefix } });
    return { bucket, prefix };
  };

  const headOf = async (bucket: Bucket, key: string, version?: string) =>
    viewOf(bucket, (await engine.head(bucket, key, version === undefined ? {} : { version })).info);

  /** Does it, and has the transaction answer with what came of it. */
  const done = async (call: Changing, work: (target: string) => Promise<unknown>): Promise<void> => {
    const target = call.target as string;
    keep(call, await withFaults(target, () => work(target)));
  };

  const copyTo = async (
    call: Changing & { input: { to: string; version?: string | undefined } },
    target: string,
  ): Promise<{ info: ObjectInfo; source: ObjectInfo; from: { bucket: Bucket; key: string }; to: Bucket }> => {
    const { to, version } = call.input;
    await mustAlso(context, call, 'object:get', target);
    await mustAlso(context, call, 'object:put', to);
    const from = await at(call, target, version === undefined ? 's3:GetObject' : 's3:GetObjectVersion', version);
    const into = await at(call, to, 's3:PutObject');
    await mayTag(context, engine, call, into, (await engine.look(from.bucket, from.key, version))?.attributes.tags);
    const options: Omit<PutOptions, 'expected' | 'limit' | 'attributes'> & { attributes: (source: ObjectInfo) => ObjectAttributes } = {
      attributes: ({ attributes: { acl: _, lock: __, ...rest } }) => ({ ...rest, owner: call.tenantId }),
      actor: actorOf(call),
      signal: call.signal,
    };
    const { info, source } = await engine.copy({ bucket: from.bucket, key: from.key, version }, { bucket: into.bucket, key: into.key }, options);
    return { info, source, from, to: into.bucket };
  };

  const prepare: Preparations<Objects> = {
    delete: (call) =>
      done(call, async (target) => {
        const { version, bypassGovernance } = call.input;
        const { bucket, key } = await at(call, target, version === undefined ? 's3:DeleteObject' : 's3:DeleteObjectVersion', version);
        if (bypassGovernance) await mayBypass(call, bucket, key);
        const done = await engine.delete(bucket, key, { version, bypassGovernance, actor: actorOf(call) });
        return { key, deleteMarker: done.deleteMarker, ...(done.version === undefined ? {} : { version: done.version }) };
      }),

    copy: (call) =>
      done(call, async (target) => {
        const { info, to } = await copyTo(call, target);
        return viewOf(to, info);
      }),

    move: (call) =>
      done(call, async (target) => {
        if (call.input.to === target) throw new Fault('conflict', `${target} is named so already`);
        await mustAlso(context, call, 'object:delete', target);
        const { bucketName, key } = nameOf(target);
        await refuseDenied(context, engine, call, await bucketOf(engine, call, bucketName), 's3:DeleteObject', key);
        const { info, source, from, to } = await copyTo(call, target);
        // Only what was copied goes: written anew in between, it stays under both names.
        const conditions = { ifMatch: [source.etag], ifMatchLastModified: source.modifiedAt };
        await engine.delete(from.bucket, from.key, { conditions, actor: actorOf(call) }).catch((error: unknown) => {
          throw new Fault(
            'conflict',
            `${target} was copied to ${call.input.to}, but is still there: ${error instanceof Error ? error.message : String(error)}`,
            {
              cause: error,
              hint: `cloud object delete ${target}`,
            },
          );
        });
        return viewOf(to, info);
      }),

    restore: (call) =>
      done(call, async (target) => {
        const { version } = call.input;
        const { bucket, key } = await at(call, target, 's3:RestoreObject', version);
        if (version === undefined) return undelete(call, bucket, key);
        const there = await engine.look(bucket, key, version);
        if (there?.latest === true && !there.deleteMarker) return viewOf(bucket, there);
        const { info } = await engine.copy(
          { bucket, key, version },
          { bucket, key },
          { attributes: ({ attributes: { lock: _lock, ...rest } }) => rest, actor: actorOf(call), signal: call.signal },
        );
        return viewOf(bucket, info);
      }),

    setTags: (call) =>
      done(call, async (target) => {
        const { version, tags } = call.input;
        const { bucket, key } = await at(call, target, version === undefined ? 's3:PutObjectTagging' : 's3:PutObjectVersionTagging', version);
        return viewOf(bucket, await engine.setTags(bucket, key, version, tags, actorOf(call)));
      }),

    setLock: (call) =>
      done(call, async (target) => {
        const { version, bypassGovernance, legalHold, mode } = call.input;
        const { bucket, key } = await at(call, target, legalHold === undefined ? 's3:PutObjectRetention' : 's3:PutObjectLegalHold', version);
        if (legalHold !== undefined && mode !== undefined) await refuseDenied(context, engine, call, bucket, 's3:PutObjectRetention', key, { version });
        if (bypassGovernance) await mayBypass(call, bucket, key);
        return viewOf(bucket, await engine.setLock(bucket, key, version, lockOf(call.input), { actor: actorOf(call), bypassGovernance }));
      }),

    presign: (call) =>
      done(call, async (target) => {
        const { method, version } = call.input;
        refuseKeys(call, 'signs no addresses');
        const [permission, action] = PRESIGNED[method];
        await mustAlso(context, call, permission, target);
        await at(call, target, action, version);
        if (endpointOf(context) === undefined) {
          throw new Fault('unavailable', 'Nothing listens for S3, so there is no address to give', { hint: 'cloud daemon start --s3-listen 127.0.0.1:9000' });
        }
        return undefined;
      }),

    uploadStart: (call) =>
      done(call, async (target) => {
        await mustAlso(context, call, 'object:put', target);
        const { bucket, key } = await at(call, target, 's3:PutObject');
        await mayTag(context, engine, call, { bucket, key }, call.input.tags);
        const { id, startedAt } = await engine.createUpload(bucket, key, {
          attributes: attributesOf(bucket, call, call.input),
          checksum: undefined,
          actor: actorOf(call),
        });
        return { upload: id, key, startedAt: new Date(startedAt).toISOString() };
      }),

    uploadComplete: (call) =>
      done(call, async (target) => {
        const { upload, parts, ifNoneMatch } = call.input;
        await mustAlso(context, call, 'object:put', target);
        const { bucket, key } = await at(call, target, 's3:PutObject');
        const conditions = ifNoneMatch ? { ifNoneMatch: ['*'] } : undefined;
        const { info } = await engine.completeUpload(bucket, key, upload, parts, { conditions, actor: actorOf(call) });
        return viewOf(bucket, info);
      }),

    uploadAbort: (call) =>
      done(call, async (target) => {
        const { bucket, key } = await at(call, target, 's3:AbortMultipartUpload');
        await engine.abortUpload(bucket, key, call.input.upload, actorOf(call));
        return { upload: call.input.upload };
      }),
  };

  /** Breaking a lock takes more than the right to delete. */
  const mayBypass = async (call: Changing, bucket: Bucket, key: string): Promise<void> => {
    await mustAlso(context, call, 'bucket:configure', bucket.name);
    await refuseDenied(context, engine, call, bucket, 's3:BypassGovernanceRetention', key);
  };

  /** Takes away the delete markers above the newest version. */
  const undelete = async (call: Changing, bucket: Bucket, key: string) => {
    const about = `${bucket.name}/${key}`;
    const markers: string[] = [];
    let after: { key: string; version: string } | undefined;
    search: for (;;) {
      const page = await engine.listVersions(bucket, { prefix: key, delimiter: undefined, after: after?.key, afterVersion: after?.version, limit: 100 });
      for (const info of page.versions) {
        if (info.key !== key || !info.deleteMarker) {
          if (info.key === key && markers.length > 0) break search;
          if (info.key === key)
            throw new Fault('conflict', `${about} is there: say which version is to be the newest`, { hint: `cloud object versions ${about}` });
          throw new Fault('not_found', `There is no older version of ${JSON.stringify(about)}`, { hint: `cloud object versions ${about}` });
        }
        markers.push(info.version);
      }
      const last = page.versions.at(-1);
      if (!page.truncated || last === undefined)
        throw new Fault('not_found', `There is no older version of ${JSON.stringify(about)}`, { hint: `cloud object versions ${about}` });
      after = { key: last.key, version: last.version };
    }
    for (const version of markers) await engine.delete(bucket, key, { version, actor: actorOf(call) });
    return headOf(bucket, key);
  };

  const reading: Pick<Handlers<Objects>, 'list' | 'head' | 'versions' | 'uploads' | 'uploadParts'> = {
    async list(call) {
      const { recursive, limit, cursor } = call.input;
      return withFaults(call.targetName, async () => {
        const { bucket, prefix } = await below(call, 's3:ListBucket');
        const page = await engine.list(bucket, { prefix, delimiter: recursive ? undefined : '/', after: placeOf(cursor, 1)?.[0], limit });
        return {
          items: page.objects.map(({ key, size, modifiedAt, etag, attributes }) => ({
            key,
            size,
            modifiedAt: new Date(modifiedAt).toISOString(),
            etag,
            storageClass: attributes.storageClass ?? 'STANDARD',
          })),
          folders: page.prefixes,
          ...(page.truncated && page.last !== undefined ? { cursor: cursorOf(page.last) } : {}),
        };
      });
    },
    async versions(call) {
      const { limit, cursor } = call.input;
      return withFaults(call.targetName, async () => {
        const { bucket, prefix } = await below(call, 's3:ListBucketVersions');
        const [after, afterVersion] = placeOf(cursor, 2) ?? [];
        const page = await engine.listVersions(bucket, { prefix, delimiter: undefined, after, afterVersion, limit });
        const items = page.versions.map((info) => {
          const { key, version, latest, deleteMarker, size, etag, modifiedAt } = viewOf(bucket, info);
          return { key, ...(version === undefined ? {} : { version }), latest, deleteMarker, size, etag, modifiedAt };
        });
        const last = page.versions.at(-1);
        return { items, ...(page.truncated && last !== undefined ? { cursor: cursorOf(last.key, last.version) } : {}) };
      });
    },
    async head(call) {
      const { version } = call.input;
      return withFaults(call.targetName, async () => {
        const { bucket, key } = await at(call, call.targetName, version === undefined ? 's3:GetObject' : 's3:GetObjectVersion', version);
        const { info } = await engine.head(bucket, key, { version, actor: { ...actorOf(call), audited: false } });
        return viewOf(bucket, info);
      });
    },
    async uploads(call) {
      const { limit, cursor } = call.input;
      return withFaults(call.targetName, async () => {
        const { bucket, prefix } = await below(call, 's3:ListBucketMultipartUploads');
        const [after, afterUpload] = placeOf(cursor, 2) ?? [];
        const page = await engine.listUploads(bucket, { prefix, delimiter: undefined, after, afterUpload, limit });
        const last = page.uploads.at(-1);
        return {
          items: page.uploads.map(({ id, key, startedAt }) => ({ upload: id, key, startedAt: new Date(startedAt).toISOString() })),
          ...(page.truncated && last !== undefined ? { cursor: cursorOf(last.key, last.id) } : {}),
        };
      });
    },
    async uploadParts(call) {
      const { upload, after } = call.input;
      return withFaults(call.targetName, async () => {
        const { bucket, key } = await at(call, call.targetName, 's3:ListMultipartUploadParts');
        const { parts, truncated } = await engine.listParts(bucket, key, upload, { after, limit: 1000 });
        return { items: parts.map(({ number, size, etag }) => ({ number, size, etag })), truncated };
      });
    },
  };

  return {
    prepare,
    handlers: {
      ...reading,
      ...objectChannels(context, engine, at),
      delete: kept,
      copy: kept,
      move: kept,
      restore: kept,
      setTags: kept,
      setLock: kept,
      uploadStart: kept,
      uploadComplete: kept,
      uploadAbort: kept,
      async presign(call) {
        const { method, expires, version } = call.input;
        const { bucketName, key } = nameOf(call.targetName);
        const keys = await call.client({ s3Key: s3Keys }).s3Key.ofOwner({});
        const now = context.clock.now();
        const url = presigned({
          endpoint: endpointOf(context) as string,
          region: REGION,
          accessKeyId: keys.accessKeyId,
          secret: keys.secretAccessKey,
          method,
          path: [bucketName, key],
          query: version === undefined ? {} : { versionId: version },
          now,
          seconds: expires,
        });
        return { url, expiresAt: new Date(now + expires * 1000).toISOString() };
      },
    },
  };
});

const PRESIGNED = {
  GET: ['object:get', 's3:GetObject'],
  HEAD: ['object:head', 's3:GetObject'],
  PUT: ['object:put', 's3:PutObject'],
  DELETE: ['object:delete', 's3:DeleteObject'],
} as const;
