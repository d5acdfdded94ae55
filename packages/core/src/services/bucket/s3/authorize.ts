// Who may do what over S3. An explicit Deny anywhere wins. Then, within one account: what the caller's roles and policies allow, or what the bucket's policy or
// the ACL does. Between two accounts: both. For nobody in particular: the policy or the ACL (AWS, "How Amazon S3 authorizes a request").
import { BUILT_IN_ROLES, isAdministrator, type Principal, rulingText } from '../../../kernel/authorize.ts';
import { evaluate, type RequestPrincipal } from '../../../kernel/policy/index.ts';
import type { ServiceContext } from '../../../kernel/service.ts';
import type { Acl, Bucket, Grant } from '../engine/types.ts';
import { enforcesOwner } from './acl.ts';
import { type S3Action, s3Actions } from './actions.ts';
import { callContextOf, contextOf } from './conditions.ts';
import { s3Error } from './errors.ts';
import { accountName, objectArn, policyOf, userName } from './policy.ts';
import { isPublicGrant } from './public-access.ts';
import { refusalsOf } from './refusals.ts';
import type { Allows, Authorize, Demand, S3Context, S3Request } from './types.ts';

/** With these the administrators of a tenant mend a policy that locks everybody out, as the root user of an account does. */
const MENDING: ReadonlySet<string> = new Set(['s3:GetBucketPolicy', 's3:PutBucketPolicy', 's3:DeleteBucketPolicy']);

interface Verdict {
  readonly allowed: boolean;
  /** For the audit, not for the caller. */
  readonly reason: string;
  /** By a Deny of the bucket's policy. */
  readonly denied?: boolean;
  /** There is no such object, and the caller may know that. */
  readonly missing?: boolean;
}
const allowed = (reason: string): Verdict => ({ allowed: true, reason });
const refused = (reason: string): Verdict => ({ allowed: false, reason });

export const authorize: Authorize = async (request, context, demand) => {
  const action = actionOf(demand.action);
  const { allowed: may, reason, missing } = await decide(request, context, demand, action);
  if (may) {
    request.decided = true;
    return;
  }
  if (missing === true) throw s3Error('NoSuchKey', undefined, { Key: demand.key ?? '' });
  await refusalsOf(context.service).note(request, { name: demand.action, action, bucket: demand.bucket, key: demand.key, reason });
  throw s3Error('AccessDenied');
};

export const allows: Allows = async (request, context, demand) => (await decide(request, context, demand, actionOf(demand.action))).allowed;

function actionOf(name: string): S3Action {
  const action = s3Actions.get(name);
  if (action === undefined) throw new Error(`no action ${name}`);
  return action;
}

/** What the caller's own account says. */
interface Identity {
  readonly principal: Principal | undefined;
  readonly tenantId: string;
  readonly verdict: Verdict;
  /** Nothing else can allow it: a Deny, or what the credential is bound to. */
  readonly forbids: boolean;
  /** It administers its tenant, and so is the account. */
  readonly isAccount: boolean;
  /** Allowed by a role that lists, too. */
  readonly lists: boolean;
}

const ANYBODY: Identity = { principal: undefined, tenantId: '', verdict: refused('anonymous'), forbids: false, isAccount: false, lists: false };

async function identityOf(request: S3Request, service: ServiceContext, demand: Demand, { permission }: S3Action): Promise<Identity> {
  const { principal, tenantId } = request.caller;
  if (principal === undefined) return ANYBODY;
  const target = targetOf(request, demand, permission);
  const { ruling, grants } = await service.access.rule(principal, tenantId, { permission, target, source: request.source });
  return {
    principal,
    tenantId,
    verdict: { allowed: ruling.allowed, reason: rulingText(ruling) },
    forbids: !ruling.allowed && (ruling.kind === 'policy' || ruling.bound === true),
    isAccount: isAdministrator(principal) || grants.roles.includes('admin'),
    lists: ruling.allowed && BUILT_IN_ROLES.some((role) => role === ruling.role),
  };
}

/** A name of ours for what the permission is asked about. */
function targetOf(request: S3Request, { bucket, key, context }: Demand, permission: string): string | undefined {
  const name = bucket?.name ?? request.bucketName;
  if (name === undefined || permission.startsWith('bucket:')) return name;
  // A list is of the names that begin so.
  const below = key ?? context?.['s3:prefix'] ?? (request.key === undefined ? request.query.get('prefix') : undefined);
  return typeof below === 'string' && below !== '' ? `${name}/${below}` : name;
}

/** How a bucket policy may name the caller. */
function namesOf({ principal, tenantId, isAccount }: Pick<Identity, 'principal' | 'tenantId' | 'isAccount'>): RequestPrincipal {
  if (principal === undefined) return { names: [], groups: [] };
  const names = [userName(tenantId, principal.id)];
  if (principal.name !== undefined) names.push(userName(tenantId, principal.name));
  if (isAccount) names.push(accountName(tenantId));
  return { names, groups: [accountName(tenantId)] };
}

/** What an ACL gives: to everybody, to everybody with an account, to this account. */
function granted(acl: Acl | undefined, wanted: S3Action['grant'], tenantId: string, { config }: Bucket): Grant | undefined {
  if (wanted === undefined) return undefined;
  const ignoring = config.publicAccessBlock?.ignorePublicAcls === true;
  return acl?.grants.find((grant) => {
    const { grantee, permission } = grant;
    if (permission !== 'FULL_CONTROL' && permission !== wanted) return false;
    if (ignoring && isPublicGrant(grant)) return false;
    if (grantee.kind === 'tenant') return tenantId !== '' && grantee.id === tenantId;
    return grantee.kind === 'all-users' || (grantee.kind === 'authenticated-users' && tenantId !== '');
  });
}

type Facts = Awaited<ReturnType<NonNullable<Demand['object']>>>;
type Read = () => Promise<Facts>;

function once(demand: Demand): Read {
  let read: Promise<Facts> | undefined;
  return () => {
    read ??= demand.object?.() ?? Promise.resolve(undefined);
    return read;
  };
}

async function decide(request: S3Request, context: S3Context, demand: Demand, action: S3Action): Promise<Verdict> {
  const { bucket } = demand;
  const identity = await identityOf(request, context.service, demand, action);
  const { verdict, isAccount } = identity;
  if (identity.forbids || bucket === undefined || action.level === 'account') return verdict;
  const ofBucket = identity.principal !== undefined && identity.tenantId === bucket.tenantId;
  if (ofBucket && isAccount && verdict.allowed && MENDING.has(demand.action)) return verdict;
  const { config } = bucket;
  // Nobody else could ever write here, so all objects are the bucket owner's: from the first policy on there is an ACL.
  const plain = config.policy === undefined && config.acl === undefined && config.ownership === undefined;
  if (plain && ofBucket && verdict.allowed && (action.level !== 'object' || identity.lists)) return verdict;

  const read = once(demand);
  const decided = await decideAbout(request, context, { ...demand, bucket }, action, identity, read);
  // Somebody who may not do it to what is there may not learn what is not there, unless by a list.
  if (action.level !== 'object' || demand.object === undefined || decided.denied === true || (await read()) !== undefined) return decided;
  const listing = { action: 's3:ListBucket', bucket, context: { 's3:prefix': demand.key ?? '' } };
  if (await allows(request, context, listing)) return decided.allowed ? decided : { ...decided, missing: true };
  return decided.allowed && action.reads ? refused('there is no such object, and the caller may not list') : decided;
}

/** All but the caller's own Deny, which came first. */
async function decideAbout(
  request: S3Request,
  { service }: S3Context,
  demand: Demand & { bucket: Bucket },
  action: S3Action,
  identity: Identity,
  read: Read,
): Promise<Verdict> {
  const { bucket, key } = demand;
  const { principal, tenantId, verdict } = identity;
  const ofBucket = principal !== undefined && tenantId === bucket.tenantId;

  const policy = policyOf(bucket);
  let said: 'allow' | 'none' = 'none';
  if (policy !== undefined) {
    const values = contextOf(service, request, demand, bucket, identity, policy.asksTags ? (await read())?.tags : undefined);
    const asking = { action: demand.action, resources: [objectArn(bucket.name, action.level === 'bucket' ? undefined : (key ?? ''))], context: values };
    const who = namesOf(identity);
    const { effect, by } = evaluate(policy.policies, { ...asking, principal: who });
    if (effect === 'deny') return { allowed: false, denied: true, reason: `denied by statement ${by?.sid ?? by?.index} of the bucket policy` };
    said = effect;
    // A policy that names the owner's own account leaves it to that account whom it lets; it speaks for nobody in it.
    if (said === 'allow' && ofBucket && evaluate(policy.policies, { ...asking, principal: { ...who, groups: [] } }).effect !== 'allow') said = 'none';
  }

  const enforced = enforcesOwner(bucket);
  const facts = action.level === 'object' || action.level === 'upload' ? await read() : undefined;
  const owner = action.level === 'object' && !enforced ? (facts?.owner ?? bucket.tenantId) : bucket.tenantId;
  const ofOwner = principal !== undefined && (tenantId === owner || (action.level === 'upload' && tenantId === facts?.owner));

  if (ofOwner && verdict.allowed) return ofBucket || !restricted(bucket) ? verdict : refused('RestrictPublicBuckets');
  if (!ofOwner && principal !== undefined && !verdict.allowed) return verdict;
  if (!ofBucket && restricted(bucket)) return refused('RestrictPublicBuckets');
  // The bucket's owner speaks for what is the bucket owner's, and for nothing else in it.
  if (said === 'allow' && owner === bucket.tenantId) return allowed('bucket policy');
  const acl = enforced ? undefined : action.level === 'object' ? facts?.acl : bucket.config.acl;
  const grant = granted(acl, action.grant, tenantId, bucket);
  // As with policies: what one's own account is granted it gives to whom it wants.
  if (grant === undefined || (ofOwner && grant.grantee.kind === 'tenant')) return refused(ofOwner ? verdict.reason : 'nothing of the bucket allows it');
  return allowed(`acl: ${grant.permission} to ${grant.grantee.kind}`);
}

/** With RestrictPublicBuckets a bucket whose policy is public is for its owner's account alone. */
const restricted = (bucket: Bucket): boolean => bucket.config.publicAccessBlock?.restrictPublicBuckets === true && policyOf(bucket)?.isPublic === true;

/** What a call over the daemon does to a bucket or object. */
export interface PolicyQuestion {
  readonly principal: Principal;
  /** The tenant that the caller acts in. */
  readonly tenantId: string;
  readonly administers: boolean;
  readonly source?: string | undefined;
  /** `s3:GetObject`. */
  readonly action: string;
  readonly key?: string | undefined;
  /** Of the object that is there. Read only when a condition asks. */
  readonly tags?: (() => Promise<Readonly<Record<string, string>> | undefined>) | undefined;
  readonly context?: Demand['context'];
}

/** Whether the bucket's policy says Deny: it holds for calls over the daemon as well, where otherwise roles and policies of the caller decide alone. */
export async function deniedByPolicy(service: Pick<ServiceContext, 'clock'>, bucket: Bucket, asked: PolicyQuestion): Promise<boolean> {
  const policy = policyOf(bucket);
  if (policy === undefined) return false;
  const { principal, tenantId, administers, action, key } = asked;
  if (administers && tenantId === bucket.tenantId && MENDING.has(action)) return false;
  const asking = { principal, tenantId, isAccount: administers };
  const tags = policy.asksTags ? await asked.tags?.() : undefined;
  const { effect } = evaluate(policy.policies, {
    action,
    resources: [objectArn(bucket.name, actionOf(action).level === 'bucket' ? undefined : (key ?? ''))],
    context: callContextOf(service, { source: asked.source, tags, context: asked.context }, bucket, asking),
    principal: namesOf(asking),
  });
  return effect === 'deny';
}
