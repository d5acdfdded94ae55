// Lifecycle rules of a bucket: from XML with the errors of AWS, and back as they came. The engine carries them out.
import { randomUUID } from 'node:crypto';
import type { LifecycleFilter, LifecycleRule } from '../engine/config.ts';
import { engineOf } from '../engine/objects.ts';
import { s3Error } from './errors.ts';
import { NO_CONTENT, onBucket } from './find.ts';
import { tagsOf, tagsXml } from './tagging.ts';
import type { Route } from './types.ts';
import { document, type Element, element, list, type Node, optional, parseXml } from './xml.ts';

const MOST_BYTES = 512 * 1024;
const MOST_RULES = 1000;
const MOST_ID = 255;
const MOST_PREFIX = 1024;
const DAY_MS = 24 * 60 * 60 * 1000;

const refuse = (message: string): never => {
  throw s3Error('InvalidArgument', message);
};

/** A whole number above nothing; AWS says which action it is of. */
function days(node: Node, name: string, action: string): number | undefined {
  const text = node.text(name)?.trim();
  if (text === undefined) return undefined;
  if (!/^-?\d{1,9}$/.test(text)) throw s3Error('MalformedXML');
  const value = Number(text);
  if (value <= 0) refuse(`'${name}' for ${action} action must be a positive integer`);
  return value;
}

function midnight(node: Node): string | undefined {
  const text = node.text('Date')?.trim();
  if (text === undefined) return undefined;
  const time = /^\d{4}-\d{2}-\d{2}(T.*)?$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time)) throw s3Error('MalformedXML');
  if (time % DAY_MS !== 0) refuse("'Date' must be at midnight GMT");
  return new Date(time).toISOString();
}

const size = (node: Node, name: string): number | undefined => {
  const value = node.integer(name);
  if (value !== undefined && value > 2 ** 50) refuse(`'${name}' is too large`);
  return value;
};

const prefixIn = (node: Node): string | undefined => {
  const prefix = node.text('Prefix');
  if (prefix !== undefined && Buffer.byteLength(prefix) > MOST_PREFIX) refuse(`The maximum size of a prefix is ${MOST_PREFIX}`);
  return prefix;
};

const CRITERIA = ['Prefix', 'Tag', 'ObjectSizeGreaterThan', 'ObjectSizeLessThan'];

function criteria(node: Node): LifecycleFilter {
  const prefix = prefixIn(node);
  const tags = node.children('Tag');
  const [above, below] = [size(node, 'ObjectSizeGreaterThan'), size(node, 'ObjectSizeLessThan')];
  if (above !== undefined && below !== undefined && above + 1 >= below) refuse("'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'");
  return {
    ...(prefix === undefined ? {} : { prefix }),
    ...(tags.length === 0 ? {} : { tags: tagsOf(tags, Number.MAX_SAFE_INTEGER) }),
    ...(above === undefined ? {} : { sizeGreaterThan: above }),
    ...(below === undefined ? {} : { sizeLessThan: below }),
  };
}

function filterOf(rule: Node): Pick<LifecycleRule, 'filter' | 'prefixAtRule' | 'and'> {
  const filter = rule.child('Filter');
  const prefix = prefixIn(rule);
  if (filter === undefined) {
    if (prefix === undefined) throw s3Error('MalformedXML');
    return { filter: { prefix }, prefixAtRule: true };
  }
  if (prefix !== undefined) throw s3Error('MalformedXML');
  const and = filter.only(...CRITERIA, 'And').child('And');
  const several = [...filter].length > 1;
  if (and !== undefined && several) throw s3Error('MalformedXML');
  // S3 wants `And` around several; Ceph and older clients leave it out, and there is only one thing it can mean. It is given back in the form of S3.
  if (and === undefined) return { filter: criteria(filter), ...(several ? { and: true } : {}) };
  if ([...and.only(...CRITERIA)].length < 2) throw s3Error('MalformedXML');
  return { filter: criteria(and), and: true };
}

function expirationOf(node: Node | undefined): LifecycleRule['expiration'] {
  if (node === undefined) return undefined;
  node.only('Days', 'Date', 'ExpiredObjectDeleteMarker');
  if ([...node].length !== 1) throw s3Error('MalformedXML');
  const [after, date, marker] = [days(node, 'Days', 'Expiration'), midnight(node), node.boolean('ExpiredObjectDeleteMarker')];
  return {
    ...(after === undefined ? {} : { days: after }),
    ...(date === undefined ? {} : { date }),
    ...(marker === undefined ? {} : { expiredObjectDeleteMarker: marker }),
  };
}

function noncurrentOf(node: Node | undefined): LifecycleRule['noncurrentExpiration'] {
  if (node === undefined) return undefined;
  node.only('NoncurrentDays', 'NewerNoncurrentVersions');
  const after = days(node, 'NoncurrentDays', 'NoncurrentVersionExpiration');
  const newer = days(node, 'NewerNoncurrentVersions', 'NoncurrentVersionExpiration');
  if (after === undefined) throw s3Error('MalformedXML');
  if ((newer ?? 0) > 100) refuse("'NewerNoncurrentVersions' for NoncurrentVersionExpiration action must be at most 100");
  return { days: after, ...(newer === undefined ? {} : { newerVersions: newer }) };
}

/** There is one class of storage, so nothing can move to another; but what is wrong with a rule about that is told first. */
function refuseTransitions(rule: Node): void {
  for (const transition of [...rule.children('Transition'), ...rule.children('NoncurrentVersionTransition')]) {
    midnight(transition);
    transition.needText('StorageClass');
  }
  if (rule.children('Transition').length + rule.children('NoncurrentVersionTransition').length > 0)
    throw s3Error('NotImplemented', 'There is one storage class here, so objects cannot transition to another');
}

function ruleOf(rule: Node): LifecycleRule {
  rule.only(
    ...['ID', 'Status', 'Prefix', 'Filter', 'Expiration', 'NoncurrentVersionExpiration', 'AbortIncompleteMultipartUpload'],
    ...['Transition', 'NoncurrentVersionTransition'],
  );
  const id = rule.text('ID');
  if (id !== undefined && id.length > MOST_ID) refuse(`ID length should not exceed allowed limit of ${MOST_ID}`);
  const status = rule.needText('Status');
  if (status !== 'Enabled' && status !== 'Disabled') throw s3Error('MalformedXML');
  const filter = filterOf(rule);
  const expiration = expirationOf(rule.child('Expiration'));
  const noncurrentExpiration = noncurrentOf(rule.child('NoncurrentVersionExpiration'));
  const abort = rule.child('AbortIncompleteMultipartUpload')?.only('DaysAfterInitiation');
  const abortUploadDays = abort === undefined ? undefined : days(abort, 'DaysAfterInitiation', 'AbortIncompleteMultipartUpload');
  if (abort !== undefined && abortUploadDays === undefined) throw s3Error('MalformedXML');
  refuseTransitions(rule);
  if (expiration === undefined && noncurrentExpiration === undefined && abortUploadDays === undefined)
    throw s3Error('InvalidRequest', 'At least one action needs to be specified in a rule');
  const { tags, sizeGreaterThan, sizeLessThan } = filter.filter;
  const bySize = sizeGreaterThan !== undefined || sizeLessThan !== undefined;
  if (abortUploadDays !== undefined && tags !== undefined) throw s3Error('InvalidRequest', 'AbortIncompleteMultipartUpload cannot be specified with Tags.');
  if (abortUploadDays !== undefined && bySize) throw s3Error('InvalidRequest', 'AbortIncompleteMultipartUpload cannot be specified with Object Size.');
  if (expiration?.expiredObjectDeleteMarker !== undefined && tags !== undefined)
    throw s3Error('InvalidRequest', 'ExpiredObjectDeleteMarker cannot be specified with Tags.');
  return {
    id: id === undefined || id === '' ? randomUUID() : id,
    enabled: status === 'Enabled',
    ...filter,
    ...(expiration === undefined ? {} : { expiration }),
    ...(noncurrentExpiration === undefined ? {} : { noncurrentExpiration }),
    ...(abortUploadDays === undefined ? {} : { abortUploadDays }),
  };
}

export function lifecycleOf(bytes: Buffer): LifecycleRule[] {
  const rules = parseXml(bytes, { root: 'LifecycleConfiguration' }).only('Rule').children('Rule').map(ruleOf);
  if (rules.length === 0) throw s3Error('MalformedXML');
  if (rules.length > MOST_RULES) throw s3Error('InvalidRequest', `The number of lifecycle rules must not exceed the allowed limit of ${MOST_RULES} rules`);
  if (new Set(rules.map(({ id }) => id)).size < rules.length) refuse('Rule ID must be unique. Found same ID for more than one rule');
  return rules;
}

function filterXml({ filter, prefixAtRule, and }: LifecycleRule): Element {
  if (prefixAtRule === true) return element('Prefix', filter.prefix ?? '');
  const content = [
    optional('Prefix', filter.prefix),
    optional('ObjectSizeGreaterThan', filter.sizeGreaterThan),
    optional('ObjectSizeLessThan', filter.sizeLessThan),
    filter.tags === undefined ? undefined : tagsXml(filter.tags),
  ];
  return element('Filter', and === true ? [element('And', content)] : content);
}

export const lifecycleXml = (rules: readonly LifecycleRule[]): string =>
  document('LifecycleConfiguration', [
    list('Rule', rules, (rule) => {
      const { expiration, noncurrentExpiration, abortUploadDays } = rule;
      return [
        expiration &&
          element('Expiration', [
            optional('Days', expiration.days),
            optional('Date', expiration.date?.replace('.000Z', 'Z')),
            optional('ExpiredObjectDeleteMarker', expiration.expiredObjectDeleteMarker),
          ]),
        element('ID', rule.id),
        filterXml(rule),
        element('Status', rule.enabled ? 'Enabled' : 'Disabled'),
        noncurrentExpiration &&
          element('NoncurrentVersionExpiration', [
            element('NoncurrentDays', noncurrentExpiration.days),
            optional('NewerNoncurrentVersions', noncurrentExpiration.newerVersions),
          ]),
        abortUploadDays === undefined ? undefined : element('AbortIncompleteMultipartUpload', [element('DaysAfterInitiation', abortUploadDays)]),
      ];
    }),
  ]);

export const lifecycleRoutes: Route[] = [
  {
    name: 'GetBucketLifecycleConfiguration',
    method: 'GET',
    level: 'bucket',
    query: { lifecycle: true },
    handle: onBucket('s3:GetLifecycleConfiguration', (_request, _context, { name, config }) => {
      if (config.lifecycle === undefined) throw s3Error('NoSuchLifecycleConfiguration', undefined, { BucketName: name });
      return { status: 200, xml: lifecycleXml(config.lifecycle) };
    }),
  },
  {
    name: 'PutBucketLifecycleConfiguration',
    method: 'PUT',
    level: 'bucket',
    query: { lifecycle: true },
    handle: onBucket('s3:PutLifecycleConfiguration', async (request, { service }, bucket) => {
      await engineOf(service).buckets.setConfig(bucket, 'lifecycle', lifecycleOf(await request.body.bytes(MOST_BYTES)), request.actor);
      return { status: 200 };
    }),
  },
  {
    name: 'DeleteBucketLifecycle',
    method: 'DELETE',
    level: 'bucket',
    query: { lifecycle: true },
    handle: onBucket('s3:PutLifecycleConfiguration', async (request, { service }, bucket) => {
      await engineOf(service).buckets.setConfig(bucket, 'lifecycle', undefined, request.actor);
      return NO_CONTENT;
    }),
  },
];
