// One event as S3 writes it ("Event message structure", version 2.1), which programs that take events of AWS read as it is.
import { REGION } from './endpoint.ts';
import type { ObjectChange } from './engine/types.ts';

/** As in a form, but for slashes: spaces become `+`. */
const formEncoded = (key: string): string =>
  encodeURIComponent(key)
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(/%20/g, '+')
    .replace(/%2F/g, '/');

export function recordOf({ type, bucket, info, actor, time }: ObjectChange, { rule, sequencer }: { rule: string; sequencer: string }): object {
  const removed = type.startsWith('ObjectRemoved') || type.startsWith('LifecycleExpiration');
  return {
    eventVersion: '2.1',
    eventSource: 'aws:s3',
    awsRegion: REGION,
    eventTime: new Date(time).toISOString(),
    eventName: type,
    userIdentity: { principalId: actor.principal },
    requestParameters: { sourceIPAddress: actor.source },
    responseElements: { 'x-amz-request-id': actor.requestId },
    s3: {
      s3SchemaVersion: '1.0',
      configurationId: rule,
      bucket: { name: bucket.name, ownerIdentity: { principalId: bucket.tenantId }, arn: `arn:aws:s3:::${bucket.name}` },
      object: {
        key: formEncoded(info.key),
        ...(removed ? {} : { size: info.size, eTag: info.etag }),
        ...(bucket.versioning === 'off' ? {} : { versionId: info.version }),
        sequencer,
      },
    },
  };
}
