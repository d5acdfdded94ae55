// Where the access log of a bucket goes, as XML says it.
import type { Grant } from '../engine/types.ts';
import { grantOf } from './acl.ts';
import { s3Error } from './errors.ts';
import { parseXml } from './xml.ts';

export interface LoggingStatus {
  readonly targetBucket: string;
  readonly targetPrefix: string;
  /** Whom the logs are for besides their owner. */
  readonly grants: readonly Grant[];
  /** Keys have the day in them; of the event or of the delivery. Undefined: they begin with the prefix, and then the time. */
  readonly partitioned: 'EventTime' | 'DeliveryTime' | undefined;
}

/** Undefined: none any more. */
export function loggingOf(text: string | Buffer): LoggingStatus | undefined {
  const enabled = parseXml(Buffer.from(text), { root: 'BucketLoggingStatus' }).only('LoggingEnabled').child('LoggingEnabled');
  if (enabled === undefined) return undefined;
  enabled.only('TargetBucket', 'TargetPrefix', 'TargetGrants', 'TargetObjectKeyFormat');
  const format = enabled.child('TargetObjectKeyFormat')?.only('SimplePrefix', 'PartitionedPrefix');
  const source = format?.child('PartitionedPrefix')?.only('PartitionDateSource').text('PartitionDateSource');
  const partitioned = format?.child('PartitionedPrefix') === undefined ? undefined : (source ?? 'EventTime');
  if (partitioned !== undefined && partitioned !== 'EventTime' && partitioned !== 'DeliveryTime') throw s3Error('MalformedXML');
  const grants = enabled.child('TargetGrants')?.only('Grant').children('Grant').map(grantOf) ?? [];
  if (grants.some(({ permission }) => !['FULL_CONTROL', 'READ', 'WRITE'].includes(permission))) throw s3Error('MalformedXML');
  return { targetBucket: enabled.needText('TargetBucket'), targetPrefix: enabled.text('TargetPrefix') ?? '', grants, partitioned };
}
