// Access control lists: from canned names, from headers and from XML, and as XML again. Of the owner's own account they decide nothing.
import type { IncomingHttpHeaders } from 'node:http';
import type { ServiceContext } from '../../../kernel/service.ts';
import type { Acl, Bucket, Grant } from '../engine/types.ts';
import { accountNameOf, ownerContent } from './accounts.ts';
import { s3Error } from './errors.ts';
import { refusePublicAcl } from './public-access.ts';
import type { Caller, S3Body } from './types.ts';
import { document, type Element, element, list, type Node, parseXml, XSI_NAMESPACE } from './xml.ts';

const MOST_GRANTS = 100;
const MOST_BYTES = 256 * 1024;

const GROUPS = {
  'all-users': 'http://acs.amazonaws.com/groups/global/AllUsers',
  'authenticated-users': 'http://acs.amazonaws.com/groups/global/AuthenticatedUsers',
  'log-delivery': 'http://acs.amazonaws.com/groups/s3/LogDelivery',
} as const;
const groupOf = (uri: string): keyof typeof GROUPS | undefined => (Object.keys(GROUPS) as (keyof typeof GROUPS)[]).find((kind) => GROUPS[kind] === uri);

const PERMISSIONS = ['FULL_CONTROL', 'READ', 'WRITE', 'READ_ACP', 'WRITE_ACP'] as const satisfies readonly Grant['permission'][];
const HEADERS: readonly (readonly [name: string, permission: Grant['permission']])[] = [
  ['x-amz-grant-read', 'READ'],
  ['x-amz-grant-write', 'WRITE'],
  ['x-amz-grant-read-acp', 'READ_ACP'],
  ['x-amz-grant-write-acp', 'WRITE_ACP'],
  ['x-amz-grant-full-control', 'FULL_CONTROL'],
];

const everything = (id: string): Grant => ({ grantee: { kind: 'tenant', id }, permission: 'FULL_CONTROL' });
const group = (kind: keyof typeof GROUPS, permission: Grant['permission']): Grant => ({ grantee: { kind }, permission });

/** What an ACL is of. `owner`: of the bucket or object itself. */
export interface AclSubject {
  readonly kind: 'bucket' | 'object';
  readonly owner: string;
  readonly bucketOwner: string;
}

/** The one of whatever nobody gave another. */
export const privateAcl = (owner: string): Acl => ({ owner, grants: [everything(owner)] });

/** Throws InvalidArgument for a name that AWS does not have. */
export function cannedAcl(name: string, { kind, owner, bucketOwner }: AclSubject): Acl {
  const own = everything(owner);
  const toBucketOwner = (permission: Grant['permission']): Acl => ({
    owner,
    grants: kind === 'bucket' || bucketOwner === owner ? [own] : [own, { grantee: { kind: 'tenant', id: bucketOwner }, permission }],
  });
  switch (name) {
    case 'private':
      return privateAcl(owner);
    case 'public-read':
      return { owner, grants: [group('all-users', 'READ'), own] };
    case 'public-read-write':
      return { owner, grants: [group('all-users', 'READ'), group('all-users', 'WRITE'), own] };
    case 'authenticated-read':
      return { owner, grants: [group('authenticated-users', 'READ'), own] };
    case 'bucket-owner-read':
      return toBucketOwner('READ');
    case 'bucket-owner-full-control':
      return toBucketOwner('FULL_CONTROL');
    case 'log-delivery-write':
      if (kind === 'bucket') return { owner, grants: [group('log-delivery', 'WRITE'), group('log-delivery', 'READ_ACP'), own] };
      break;
    case 'aws-exec-read':
      throw s3Error('NotImplemented', 'The canned ACL aws-exec-read is for EC2 of AWS, which is not here');
  }
  throw s3Error('InvalidArgument', undefined, { ArgumentName: 'x-amz-acl', ArgumentValue: name });
}

const single = (headers: IncomingHttpHeaders, name: string): string | undefined => {
  const value = headers[name];
  return Array.isArray(value) ? value.join(',') : value;
};

/** What stands in `x-amz-acl` and `x-amz-grant-…`; undefined when neither came. */
export async function aclFromHeaders(service: ServiceContext, headers: IncomingHttpHeaders, subject: AclSubject): Promise<Acl | undefined> {
  const canned = single(headers, 'x-amz-acl');
  const given = HEADERS.flatMap(([name, permission]) => {
    const value = single(headers, name);
    return value === undefined ? [] : [{ name, permission, value }];
  });
  if (canned !== undefined && given.length > 0) throw s3Error('InvalidRequest', 'Specifying both Canned ACLs and Header Grants is not allowed');
  if (canned !== undefined) return cannedAcl(canned, subject);
  if (given.length === 0) return undefined;
  const grants = given.flatMap(({ name, permission, value }) =>
    granteesOf(name, value).map(([kind, who]): Grant => ({ grantee: granteeOf(kind, who, name), permission })),
  );
  return checked(service, { owner: subject.owner, grants });
}

/** `id="…", uri=…`: pairs with commas between. */
function granteesOf(name: string, value: string): [kind: string, who: string][] {
  const found: [string, string][] = [];
  let rest = value.trim();
  while (rest !== '') {
    const [whole, kind = '', quoted, plain = ''] = /^(id|uri|emailaddress)\s*=\s*(?:"([^"]*)"|([^",\s]*))\s*(?:,\s*|$)/i.exec(rest) ?? [];
    if (whole === undefined) throw s3Error('InvalidArgument', 'Argument format not recognized', { ArgumentName: name, ArgumentValue: value });
    found.push([kind.toLowerCase(), quoted ?? plain]);
    rest = rest.slice(whole.length);
  }
  if (found.length === 0) throw s3Error('InvalidArgument', 'Argument format not recognized', { ArgumentName: name, ArgumentValue: value });
  return found;
}

function granteeOf(kind: string, who: string, argument: string): Grant['grantee'] {
  if (kind === 'id') return { kind: 'tenant', id: who };
  if (kind === 'emailaddress') {
    throw s3Error('UnresolvableGrantByEmailAddress', undefined, { EmailAddress: who });
  }
  const known = groupOf(who);
  if (known === undefined) throw s3Error('InvalidArgument', 'Invalid group uri', { ArgumentName: argument, ArgumentValue: who });
  return { kind: known };
}

async function checked(service: ServiceContext, acl: Acl): Promise<Acl> {
  await checkedGrants(service, acl.grants);
  return acl;
}

/** Throws InvalidArgument for an account that there is not. */
export async function checkedGrants(service: ServiceContext, grants: readonly Grant[]): Promise<void> {
  if (grants.length > MOST_GRANTS) throw s3Error('MalformedACLError', `An ACL has at most ${MOST_GRANTS} grants`);
  const ids = new Set(grants.flatMap(({ grantee }) => (grantee.kind === 'tenant' ? [grantee.id] : [])));
  for (const id of ids) {
    if ((await accountNameOf(service, id)) === undefined)
      throw s3Error('InvalidArgument', 'Invalid id', { ArgumentName: 'CanonicalUser/ID', ArgumentValue: id });
  }
}

/** The owner of an ACL cannot be changed by it: AccessDenied for another. */
export async function aclFromXml(service: ServiceContext, bytes: Buffer, subject: AclSubject): Promise<Acl> {
  const root = parseXml(bytes, { root: 'AccessControlPolicy' }).only('Owner', 'AccessControlList');
  const owner = root.child('Owner')?.only('ID', 'DisplayName').text('ID');
  if (owner !== undefined && owner !== subject.owner) throw s3Error('AccessDenied');
  const grants = root.need('AccessControlList').only('Grant').children('Grant').map(grantOf);
  return checked(service, { owner: subject.owner, grants });
}

export function grantOf(node: Node): Grant {
  node.only('Grantee', 'Permission');
  const permission = PERMISSIONS.find((known) => known === node.needText('Permission'));
  if (permission === undefined) throw s3Error('MalformedACLError');
  const grantee = node.need('Grantee').only('ID', 'DisplayName', 'URI', 'EmailAddress');
  const of = (name: string): string => grantee.needText(name);
  switch (grantee.attribute('type')) {
    case 'CanonicalUser':
      return { grantee: granteeOf('id', of('ID'), 'CanonicalUser/ID'), permission };
    case 'Group':
      return { grantee: granteeOf('uri', of('URI'), 'Group/URI'), permission };
    case 'AmazonCustomerByEmail':
      return { grantee: granteeOf('emailaddress', of('EmailAddress'), 'EmailAddress'), permission };
    default:
      throw s3Error('MalformedACLError');
  }
}

const ATTRIBUTES = { 'xmlns:xsi': XSI_NAMESPACE };

export async function grantsXml(service: ServiceContext, grants: readonly Grant[]): Promise<Element> {
  const rendered: { grantee: Element; permission: string }[] = [];
  // Groups come first, in whatever order they were given.
  const inOrder = [...grants.filter(({ grantee }) => grantee.kind !== 'tenant'), ...grants.filter(({ grantee }) => grantee.kind === 'tenant')];
  for (const { grantee, permission } of inOrder) {
    const who =
      grantee.kind === 'tenant'
        ? element('Grantee', await ownerContent(service, grantee.id), { ...ATTRIBUTES, 'xsi:type': 'CanonicalUser' })
        : element('Grantee', [element('URI', GROUPS[grantee.kind])], { ...ATTRIBUTES, 'xsi:type': 'Group' });
    rendered.push({ grantee: who, permission });
  }
  return list('Grant', rendered, ({ grantee, permission }) => [grantee, element('Permission', permission)]);
}

export async function aclXml(service: ServiceContext, { owner, grants }: Acl): Promise<string> {
  return document('AccessControlPolicy', [
    element('Owner', await ownerContent(service, owner)),
    element('AccessControlList', [await grantsXml(service, grants)]),
  ]);
}

// ---- ownership of objects

/** Whether ACLs are out of use: everything in the bucket is its owner's. Of a bucket that says nothing they are in use, as in AWS before 2023. */
export const enforcesOwner = ({ config }: Bucket): boolean => config.ownership === 'BucketOwnerEnforced';

/** Whether it gives nothing but what holds anyway where ACLs are out of use. */
const isOwnersOnly = (acl: Acl, bucketOwner: string): boolean =>
  acl.grants.length > 0 &&
  acl.grants.every(({ grantee, permission }) => permission === 'FULL_CONTROL' && grantee.kind === 'tenant' && grantee.id === bucketOwner);

/** Whether headers say who may do what with an object that is written: more than would hold without them. */
export const asksAcl = (bucket: Bucket, headers: IncomingHttpHeaders): boolean =>
  !enforcesOwner(bucket) && ((single(headers, 'x-amz-acl') ?? 'private') !== 'private' || HEADERS.some(([name]) => headers[name] !== undefined));

/**
 * Who is to own an object that this caller writes, with the ACL that it asks for in headers (undefined: the plain one). Throws AccessControlListNotSupported,
 * AccessDenied for what the public access block forbids, and whatever is wrong with the headers.
 */
export async function newObjectAcl(
  service: ServiceContext,
  bucket: Bucket,
  caller: Pick<Caller, 'tenantId'>,
  headers: IncomingHttpHeaders,
): Promise<{ owner: string; acl: Acl | undefined }> {
  const bucketOwner = bucket.tenantId;
  const asks = single(headers, 'x-amz-acl') !== undefined || HEADERS.some(([name]) => headers[name] !== undefined);
  if (enforcesOwner(bucket)) {
    if (!asks) return { owner: bucketOwner, acl: undefined };
    const canned = single(headers, 'x-amz-acl');
    const acl =
      canned === 'bucket-owner-full-control'
        ? privateAcl(bucketOwner)
        : await aclFromHeaders(service, headers, { kind: 'object', owner: bucketOwner, bucketOwner });
    if (acl === undefined || canned === 'private' || !isOwnersOnly(acl, bucketOwner)) throw s3Error('AccessControlListNotSupported');
    return { owner: bucketOwner, acl: undefined };
  }
  // What nobody signed for belongs to the bucket: there is no account that it could be of.
  const writer = caller.tenantId === '' ? bucketOwner : caller.tenantId;
  const givesAway = bucket.config.ownership === 'BucketOwnerPreferred' && single(headers, 'x-amz-acl') === 'bucket-owner-full-control';
  const owner = givesAway ? bucketOwner : writer;
  if (!asks) return { owner, acl: undefined };
  const acl = await aclFromHeaders(service, headers, { kind: 'object', owner, bucketOwner });
  if (acl !== undefined) refusePublicAcl(bucket, acl);
  return { owner, acl };
}

/**
 * The ACL that a PUT of one carries, in headers or in its body. Throws AccessControlListNotSupported where ACLs are out of use, and AccessDenied for what the
 * public access block forbids.
 */
export async function putAclOf(
  service: ServiceContext,
  request: { headers: IncomingHttpHeaders; body: S3Body },
  bucket: Bucket,
  subject: AclSubject,
): Promise<Acl> {
  const fromHeaders = await aclFromHeaders(service, request.headers, subject);
  const bytes = await request.body.bytes(MOST_BYTES);
  if (fromHeaders !== undefined && bytes.length > 0) throw s3Error('UnexpectedContent');
  if (fromHeaders === undefined && bytes.length === 0) throw s3Error('MissingSecurityHeader', undefined, { MissingHeaderName: 'x-amz-acl' });
  const acl = fromHeaders ?? (await aclFromXml(service, bytes, subject));
  // Of canned ones there is one that says what holds anyway, of written ones what means the same.
  const canned = single(request.headers, 'x-amz-acl');
  if (enforcesOwner(bucket) && (canned === undefined ? !isOwnersOnly(acl, bucket.tenantId) : canned !== 'bucket-owner-full-control'))
    throw s3Error('AccessControlListNotSupported');
  refusePublicAcl(bucket, acl);
  return acl;
}
