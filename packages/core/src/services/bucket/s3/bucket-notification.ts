// Where events of a bucket go, as S3 clients say it: queues of ours, by an ARN with the region, the tenant and the queue's name.
import { randomUUID } from 'node:crypto';
import { Fault } from '../../../kernel/errors.ts';
import type { ServiceContext } from '../../../kernel/service.ts';
import { queues } from '../../queue/contract.ts';
import type { NotificationTarget } from '../engine/config.ts';
import { engineOf } from '../engine/objects.ts';
import type { Bucket } from '../engine/types.ts';
import { notifierOf } from '../notifications.ts';
import { s3Error } from './errors.ts';
import { onBucket } from './find.ts';
import type { Route, S3Context, S3Request } from './types.ts';
import { document, type Element, element, list, type Node, parseXml } from './xml.ts';

const MOST_BYTES = 256 * 1024;
const MOST_TARGETS = 100;

/** What the engine tells of, and `*` for all of a kind. */
const EVENTS: ReadonlySet<string> = new Set(
  (
    [
      ['ObjectCreated', 'Put', 'Post', 'Copy', 'CompleteMultipartUpload'],
      ['ObjectRemoved', 'Delete', 'DeleteMarkerCreated'],
      ['ObjectTagging', 'Put', 'Delete'],
      ['ObjectAcl', 'Put'],
      ['LifecycleExpiration', 'Delete', 'DeleteMarkerCreated'],
    ] as const
  ).flatMap(([kind, ...of]) => ['*', ...of].map((name) => `s3:${kind}:${name}`)),
);

const refuse = (message: string, elements?: Record<string, string>): never => {
  throw s3Error('InvalidArgument', message, elements);
};

function filterOf(node: Node): Pick<NotificationTarget, 'prefix' | 'suffix'> {
  const rules = node.child('Filter')?.only('S3Key').child('S3Key')?.only('FilterRule').children('FilterRule') ?? [];
  const found: Pick<NotificationTarget, 'prefix' | 'suffix'> = {};
  for (const rule of rules) {
    const name = rule.only('Name', 'Value').needText('Name').toLowerCase();
    const value = rule.text('Value') ?? '';
    if (name !== 'prefix' && name !== 'suffix') throw s3Error('InvalidArgument', 'filter rule name must be either prefix or suffix');
    if (found[name] !== undefined) refuse(`Cannot specify more than one ${name} rule in a filter.`);
    if (Buffer.byteLength(value) > 1024) refuse('filter value cannot be longer than 1024 bytes');
    found[name] = value;
  }
  return found;
}

const arnOf = (region: string, tenantId: string, queue: string): string => `arn:aws:sqs:${region}:${tenantId}:${queue}`;

/** Of the bucket's own tenant; another's queue is not there. */
async function queueId(service: ServiceContext, bucket: Bucket, arn: string): Promise<string> {
  const [, , kind, , tenantId, name, more] = arn.split(':');
  const message = 'Unable to validate the following destination configurations';
  if (!arn.startsWith('arn:') || kind !== 'sqs' || name === undefined || more !== undefined)
    return refuse('The ARN is not well formed', { ArgumentName: 'Queue', ArgumentValue: arn });
  if (tenantId !== bucket.tenantId) return refuse(message, { ArgumentName: arn, ArgumentValue: 'There is no such queue in the account of the bucket' });
  try {
    return (await service.client(bucket.tenantId, { queue: queues }).queue.get(name)).id;
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== 'not_found') throw error;
    return refuse(message, { ArgumentName: arn, ArgumentValue: 'The destination queue does not exist' });
  }
}

async function targetsOf(service: ServiceContext, bucket: Bucket, bytes: Buffer): Promise<NotificationTarget[]> {
  const root = parseXml(bytes, { root: 'NotificationConfiguration' });
  for (const node of root) {
    const what = { TopicConfiguration: 'topics', CloudFunctionConfiguration: 'functions', EventBridgeConfiguration: 'event buses' }[node.name];
    if (what !== undefined) refuse(`There are no ${what} here: send events to a queue, with QueueConfiguration`, { ArgumentName: node.name });
  }
  const nodes = root.only('QueueConfiguration').children('QueueConfiguration');
  if (nodes.length > MOST_TARGETS) refuse(`A bucket has at most ${MOST_TARGETS} notification configurations`);
  const targets: NotificationTarget[] = [];
  for (const node of nodes) {
    node.only('Id', 'Queue', 'Event', 'Filter');
    const events = node.children('Event').map((event) => event.value().trim());
    if (events.length === 0) throw s3Error('MalformedXML');
    for (const event of events)
      if (!EVENTS.has(event)) refuse('A specified event is not supported for notifications.', { ArgumentName: 'Event', ArgumentValue: event });
    const id = node.text('Id');
    if ((id ?? '').length > 255) refuse('The Id of a notification configuration has at most 255 characters');
    targets.push({
      id: id === undefined || id === '' ? randomUUID() : id,
      events,
      ...filterOf(node),
      queueId: await queueId(service, bucket, node.needText('Queue').trim()),
    });
  }
  if (new Set(targets.map(({ id }) => id)).size < targets.length) refuse('Same ID used for multiple configurations. IDs must be unique');
  return targets;
}

const filterXml = ({ prefix, suffix }: NotificationTarget): Element | undefined => {
  const rules = [...(prefix === undefined ? [] : [['Prefix', prefix]]), ...(suffix === undefined ? [] : [['Suffix', suffix]])] as [string, string][];
  if (rules.length === 0) return undefined;
  return element('Filter', [element('S3Key', [list('FilterRule', rules, ([name, value]) => [element('Name', name), element('Value', value)])])]);
};

/** Queues that are gone are left out, and so is what goes to webhooks: S3 has no words for those. */
async function notificationXml({ service, region }: S3Context, bucket: Bucket): Promise<string> {
  const targets = (bucket.config.notifications ?? []).filter(({ queueId: id }) => id !== undefined);
  const named: { target: NotificationTarget; arn: string }[] = [];
  for (const target of targets) {
    try {
      const { name } = await service.client(bucket.tenantId, { queue: queues }).queue.get(target.queueId ?? '');
      named.push({ target, arn: arnOf(region, bucket.tenantId, name) });
    } catch (error) {
      if (!(error instanceof Fault) || error.code !== 'not_found') throw error;
    }
  }
  return document('NotificationConfiguration', [
    list('QueueConfiguration', named, ({ target, arn }) => [
      element('Id', target.id),
      element('Queue', arn),
      list('Event', target.events, (event) => event),
      filterXml(target),
    ]),
  ]);
}

async function put(request: S3Request, { service }: S3Context, bucket: Bucket): Promise<void> {
  const targets = await targetsOf(service, bucket, await request.body.bytes(MOST_BYTES));
  const { principal } = request.caller;
  // Whoever has events sent to a queue may send there; that nobody is known to be.
  if (principal === undefined && targets.length > 0) throw s3Error('AccessDenied');
  if (principal !== undefined) {
    const { requestId, source } = request;
    await notifierOf(service).checkTargets({ principal, tenantId: bucket.tenantId, requestId, source, administers: false }, targets);
  }
  // Those to webhooks were not made over S3, and are not taken away over it.
  const kept = (bucket.config.notifications ?? []).filter(({ webhook }) => webhook !== undefined);
  const all = [...kept, ...targets];
  await engineOf(service).buckets.setConfig(bucket, 'notifications', all.length === 0 ? undefined : all, request.actor);
}

export const notificationRoutes: Route[] = [
  {
    name: 'GetBucketNotificationConfiguration',
    method: 'GET',
    level: 'bucket',
    query: { notification: true },
    handle: onBucket('s3:GetBucketNotification', async (_request, context, bucket) => ({ status: 200, xml: await notificationXml(context, bucket) })),
  },
  {
    name: 'PutBucketNotificationConfiguration',
    method: 'PUT',
    level: 'bucket',
    query: { notification: true },
    handle: onBucket('s3:PutBucketNotification', async (request, context, bucket) => {
      await put(request, context, bucket);
      return { status: 200 };
    }),
  },
];
