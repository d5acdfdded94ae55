// Who may do it, asked in the words of object operations: with the version in mind, and with the object that is there looked at only when somebody wants to know.
import { type Acl, type Bucket, ObjectError, type ObjectInfo } from '../engine/types.ts';
import { authorize } from './authorize.ts';
import { bucketOf } from './find.ts';
import type { Demand, S3Context, S3Request } from './types.ts';

export interface Target {
  readonly bucket: Bucket;
  readonly key: string;
  /** Undefined: the newest. */
  readonly version: string | undefined;
}

const ABSENT = new Set(['no_such_key', 'no_such_version', 'delete_marker']);

/** The object as a decision looks at it. Undefined: there is none, or a delete marker. */
function factsOf({ objects }: S3Context, { bucket, key, version }: Target): NonNullable<Demand['object']> {
  return async () => {
    try {
      const { tags, info } = await objects.tags(bucket, key, version);
      return { tags, acl: aclOf(info), owner: info.attributes.owner };
    } catch (error) {
      if (error instanceof ObjectError && ABSENT.has(error.problem)) return undefined;
      throw error;
    }
  };
}

/** What holds where nobody set another. */
export const aclOf = ({ attributes: { acl, owner } }: ObjectInfo): Acl =>
  acl ?? { owner, grants: [{ grantee: { kind: 'tenant', id: owner }, permission: 'FULL_CONTROL' }] };

/** `s3:GetObject` of the newest version, `s3:GetObjectVersion` of one that is named; likewise for what ends so: Tagging, Acl, Attributes. */
const versioned = (action: string, version: string | undefined): string =>
  version === undefined ? action : action.replace(/^(s3:\w+Object)(|Tagging|Acl|Attributes)$/, '$1Version$2');

/** Something is done with an object that is there. */
export const demandOf = (context: S3Context, action: string, target: Target, more?: Demand['context']): Demand => ({
  action: versioned(action, target.version),
  bucket: target.bucket,
  key: target.key,
  object: factsOf(context, target),
  context: more,
});

/** `versionId` of the query. An empty one is none. */
const versionIn = ({ query }: Pick<S3Request, 'query'>): string | undefined => query.get('versionId') || undefined;

/** The object that a request names. */
export async function targetOf(request: S3Request, context: S3Context): Promise<Target> {
  return { bucket: await bucketOf(request, context), key: request.key ?? '', version: versionIn(request) };
}

/** The same, and that the caller may. */
export async function allowedTarget(request: S3Request, context: S3Context, action: string, more?: Demand['context']): Promise<Target> {
  const target = await targetOf(request, context);
  await authorize(request, context, demandOf(context, action, target, more));
  return target;
}
