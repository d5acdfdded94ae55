// The public access block of a bucket: four switches that take away what ACLs and policies give to everybody.
import type { PublicAccessBlock } from '../engine/config.ts';
import type { Acl, Bucket, Grant } from '../engine/types.ts';
import { s3Error } from './errors.ts';
import { isPublicPolicy, readPolicy } from './policy.ts';
import { document, element, type Node } from './xml.ts';

/** Everybody, or everybody who has an account anywhere: that is everybody. */
export const isPublicGrant = ({ grantee }: Grant): boolean => grantee.kind === 'all-users' || grantee.kind === 'authenticated-users';
export const isPublicAcl = (acl: Acl | undefined): boolean => acl?.grants.some(isPublicGrant) === true;

/** Of a policy that is being put. AccessDenied for a public one where the block forbids that. */
export function readAllowedPolicy(bucket: Bucket, text: string): void {
  const policy = readPolicy(bucket.name, text);
  if (bucket.config.publicAccessBlock?.blockPublicPolicy === true && isPublicPolicy(policy)) {
    throw s3Error('AccessDenied', 'Public policies are blocked by the BlockPublicPolicy setting of the bucket’s public access block.');
  }
}

/** Of an ACL that is being put, or comes with an object. */
export function refusePublicAcl({ config }: Bucket, acl: Acl): void {
  if (config.publicAccessBlock?.blockPublicAcls === true && isPublicAcl(acl)) {
    throw s3Error('AccessDenied', 'Public access control lists (ACLs) are blocked by the BlockPublicAcls setting of the bucket’s public access block.');
  }
}

const SWITCHES = [
  ['BlockPublicAcls', 'blockPublicAcls'],
  ['IgnorePublicAcls', 'ignorePublicAcls'],
  ['BlockPublicPolicy', 'blockPublicPolicy'],
  ['RestrictPublicBuckets', 'restrictPublicBuckets'],
] as const;

export function publicAccessBlockOf(root: Node): PublicAccessBlock {
  root.only(...SWITCHES.map(([name]) => name));
  const block: PublicAccessBlock = { blockPublicAcls: false, ignorePublicAcls: false, blockPublicPolicy: false, restrictPublicBuckets: false };
  for (const [name, field] of SWITCHES) block[field] = root.boolean(name) ?? false;
  return block;
}

export const publicAccessBlockXml = (block: PublicAccessBlock): string =>
  document(
    'PublicAccessBlockConfiguration',
    SWITCHES.map(([name, field]) => element(name, block[field])),
  );
