// One part of a bucket's configuration as JSON, checked as strictly as what comes over S3: by the same rules, and by what else of the bucket it must agree with.
import { Fault } from '../../kernel/errors.ts';
import type { ServiceContext } from '../../kernel/service.ts';
import type { Calling } from './calls.ts';
import type { BucketConfig, ConfigName, NotificationTarget } from './engine/config.ts';
import { configFrom } from './engine/config-rules.ts';
import type { Acl, Bucket } from './engine/types.ts';
import { notifierOf } from './notifications.ts';

const wrong = (message: string): Fault => new Fault('invalid_input', `value: ${message}`, { details: [{ path: 'value', message }] });

/** What may be stored. Throws `invalid_input` with each field, `conflict` for what the bucket's other settings forbid. */
export async function checkedConfig(
  context: ServiceContext,
  calling: Calling,
  bucket: Bucket,
  name: ConfigName,
  given: unknown,
): Promise<BucketConfig[ConfigName]> {
  // A document is a document, however it is quoted.
  const value = configFrom(name, name === 'policy' && typeof given === 'object' ? JSON.stringify(given) : given);
  switch (name) {
    case 'policy': {
      const { readAllowedPolicy } = await import('./s3/public-access.ts');
      await inCallWords(() => readAllowedPolicy(bucket, value as string));
      return value;
    }
    case 'acl': {
      const acl = value as Acl;
      if (acl.owner !== bucket.tenantId) throw wrong(`the owner is the bucket's tenant, ${bucket.tenantId}`);
      if (bucket.config.ownership === 'BucketOwnerEnforced')
        throw new Fault('conflict', 'This bucket has no ACLs: its owner is enforced', { hint: hintOf(bucket) });
      const { refusePublicAcl } = await import('./s3/public-access.ts');
      await inCallWords(() => refusePublicAcl(bucket, acl));
      return acl;
    }
    case 'lockDefault':
      if (!bucket.objectLock)
        throw new Fault('conflict', `The bucket ${bucket.name} was created without object lock`, { hint: 'cloud bucket create … --object-lock' });
      return value;
    case 'logging':
      throw new Fault('unsupported', 'Access logs are set by S3 clients, which say so to the bucket that takes them (PutBucketLogging)', {
        hint: `aws s3api put-bucket-logging --bucket ${bucket.name} …`,
      });
    case 'notifications':
      await notifierOf(context).checkTargets(calling, value as NotificationTarget[]);
      return value;
    default:
      return value;
  }
}

const hintOf = ({ name }: Bucket): string => `cloud bucket configuration ${name}`;

/** What the S3 side refuses with, as a Fault. */
async function inCallWords(work: () => unknown): Promise<void> {
  try {
    await work();
  } catch (error) {
    const { S3Error } = await import('./s3/types.ts');
    if (!(error instanceof S3Error)) throw error;
    if (error.status === 403) throw new Fault('conflict', `Public access to this bucket is blocked: ${error.message}`, { cause: error });
    throw new Fault('invalid_input', `value: ${error.message}`, { details: [{ path: 'value', message: error.message }], cause: error });
  }
}
