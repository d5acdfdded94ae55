// The access log of a bucket: where it goes, and whether it may.
import type { ServiceContext } from '../../../kernel/service.ts';
import { engineOf } from '../engine/objects.ts';
import { mayDeliver } from './access-log.ts';
import { checkedGrants, grantsXml } from './acl.ts';
import { s3Error } from './errors.ts';
import { onBucket } from './find.ts';
import { type LoggingStatus, loggingOf } from './logging-xml.ts';
import type { Route } from './types.ts';
import { document, element } from './xml.ts';

const MOST_BYTES = 64 * 1024;

async function loggingXml(service: ServiceContext, { targetBucket, targetPrefix, grants, partitioned }: LoggingStatus): Promise<string> {
  const format = partitioned === undefined ? element('SimplePrefix', []) : element('PartitionedPrefix', [element('PartitionDateSource', partitioned)]);
  return document('BucketLoggingStatus', [
    element('LoggingEnabled', [
      element('TargetBucket', targetBucket),
      element('TargetPrefix', targetPrefix),
      grants.length === 0 ? undefined : element('TargetGrants', [await grantsXml(service, grants)]),
      element('TargetObjectKeyFormat', [format]),
    ]),
  ]);
}

export const loggingRoutes: Route[] = [
  {
    name: 'GetBucketLogging',
    method: 'GET',
    level: 'bucket',
    query: { logging: true },
    handle: onBucket('s3:GetBucketLogging', async (_request, { service }, { config }) => {
      const status = config.logging === undefined ? undefined : loggingOf(config.logging.xml);
      return { status: 200, xml: status === undefined ? document('BucketLoggingStatus', []) : await loggingXml(service, status) };
    }),
  },
  {
    name: 'PutBucketLogging',
    method: 'PUT',
    level: 'bucket',
    query: { logging: true },
    handle: onBucket('s3:PutBucketLogging', async (request, { service }, bucket) => {
      const bytes = await request.body.bytes(MOST_BYTES);
      const status = loggingOf(bytes);
      const { buckets } = engineOf(service);
      if (status === undefined) {
        await buckets.setConfig(bucket, 'logging', undefined, request.actor);
        return { status: 200 };
      }
      const { targetBucket, targetPrefix } = status;
      const target = await engineOf(service).find(targetBucket);
      const elements = { TargetBucket: targetBucket };
      if (target === undefined) throw s3Error('InvalidTargetBucketForLogging', undefined, elements);
      if (!mayDeliver(bucket, target, targetPrefix, service.clock.now()))
        throw s3Error(
          'AccessDenied',
          'The target bucket does not let logging.s3.amazonaws.com write there for this bucket: give it a bucket policy that does',
          elements,
        );
      if (target.config.requestPayment === 'Requester') throw s3Error('InvalidArgument', 'The target bucket must not be one whose requesters pay', elements);
      await checkedGrants(service, status.grants);
      await buckets.setConfig(bucket, 'logging', { targetBucket, targetPrefix, xml: bytes.toString() }, request.actor);
      return { status: 200 };
    }),
  },
];
