// What the services of object storage have in common: who calls, whose bucket it is, and what else they must be allowed besides the operation itself.
import type { Principal } from '../../kernel/authorize.ts';
import { Fault } from '../../kernel/errors.ts';
import type { CallLine, ServiceContext } from '../../kernel/service.ts';
import type { ObjectEngine } from './engine/objects.ts';
import type { Actor, Bucket } from './engine/types.ts';

/** Of a call or its preparation. */
export interface Calling {
  readonly principal: Principal;
  /** Whose buckets it may see: the tenant that it acts in. */
  readonly tenantId: string;
  readonly source: string;
  readonly requestId: string;
  readonly administers: boolean;
  /** Of a preparation. */
  readonly line?: CallLine | undefined;
}

/** The kernel writes the line of the audit; what a preparation changes is written down with the change. */
export const actorOf = ({ principal, tenantId, source, requestId, line }: Calling): Actor => ({
  principal: principal.id,
  speaker: principal,
  principalName: principal.name,
  tenantId,
  credential: principal.credential?.id,
  source,
  requestId,
  audited: true,
  line,
});

/** A bucket of the caller's tenant; another's is not there. */
export async function bucketOf(engine: ObjectEngine, { tenantId }: Pick<Calling, 'tenantId'>, name: string): Promise<Bucket> {
  const bucket = await engine.find(name);
  if (bucket !== undefined && bucket.tenantId === tenantId) return bucket;
  throw new Fault('not_found', `There is no bucket ${JSON.stringify(name)}`, { hint: 'cloud bucket list' });
}

/** Throws `forbidden` unless the caller may do this as well: a copy writes, a move deletes. Not in a transaction. */
export async function mustAlso(context: ServiceContext, calling: Calling, permission: string, target: string): Promise<void> {
  const { principal, tenantId, source } = calling;
  if (principal.kind === 'system') return;
  const { ruling } = await context.access.rule(principal, tenantId, { permission, target, source });
  if (!ruling.allowed) throw refused(calling, permission, target);
}

const refused = ({ principal }: Calling, permission: string, target: string): Fault =>
  new Fault('forbidden', `${principal.name ?? principal.id} may not ${permission} here`, {
    details: { permission },
    hint: `cloud auth can-i ${permission} ${target}`,
  });

/** Tags along with an object take what they take by themselves. */
export async function mayTag(
  context: ServiceContext,
  engine: ObjectEngine,
  calling: Calling,
  to: { bucket: Bucket; key: string },
  tags: Readonly<Record<string, string>> | undefined,
): Promise<void> {
  if (tags === undefined || Object.keys(tags).length === 0) return;
  await mustAlso(context, calling, 'object:setTags', `${to.bucket.name}/${to.key}`);
  await refuseDenied(context, engine, calling, to.bucket, 's3:PutObjectTagging', to.key);
}

/** An explicit Deny of the bucket's policy holds at every door. `action` as AWS names it: `s3:GetObject`. */
export async function refuseDenied(
  context: ServiceContext,
  engine: ObjectEngine,
  calling: Calling,
  bucket: Bucket,
  action: string,
  key?: string,
  more: { version?: string | undefined; context?: Readonly<Record<string, string>> } = {},
): Promise<void> {
  if (bucket.config.policy === undefined || calling.principal.kind === 'system') return;
  const { principal, tenantId, administers, source } = calling;
  const { deniedByPolicy } = await import('./s3/authorize.ts');
  const denied = await deniedByPolicy(context, bucket, {
    principal,
    tenantId,
    administers,
    source,
    action,
    key,
    ...(more.context === undefined ? {} : { context: more.context }),
    tags: async () => (key === undefined ? undefined : (await engine.look(bucket, key, more.version))?.attributes.tags),
  });
  if (!denied) return;
  throw new Fault('forbidden', `The policy of the bucket ${bucket.name} denies ${action}`, {
    details: { permission: action, reason: 'an explicit Deny of the bucket policy' },
    hint: `cloud bucket configuration ${bucket.name}`,
  });
}
