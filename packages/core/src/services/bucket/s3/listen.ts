// The data plane as a whole: the server with all routes over the engine of a core.
import type { ListenAt, Listening } from '../../../kernel/listener.ts';
import type { ServiceContext } from '../../../kernel/service.ts';
import { REGION } from '../endpoint.ts';
import { engineOf } from '../engine/objects.ts';
import { s3KeysOf } from '../s3-keys.ts';
import { AccessLog } from './access-log.ts';
import { bucketRoutes, serviceRoutes } from './buckets.ts';
import { objectRoutes } from './objects.ts';
import { refusalsOf } from './refusals.ts';
import { createS3Server } from './server.ts';

/** `s3.example.com,objects.lan`: names under which `<bucket>.<name>` is a bucket, besides localhost and s3.localhost. */
const domainsFrom = (text: string | undefined): { domains?: readonly string[] } => {
  const domains = (text ?? '').split(',').flatMap((each) => (each.trim() === '' ? [] : [each.trim().toLowerCase()]));
  return domains.length === 0 ? {} : { domains };
};

export async function listenS3(context: ServiceContext, at: ListenAt): Promise<Listening> {
  const keys = s3KeysOf(context);
  const log = new AccessLog(context, REGION);
  const listening = await createS3Server({
    context: { objects: engineOf(context), service: context, region: REGION },
    keys: (accessKeyId) => keys.keyOf(accessKeyId),
    routes: [...serviceRoutes, ...bucketRoutes, ...objectRoutes],
    // Old clients know nothing else. It signs no bodies and few headers, so it is taken only where somebody asked for it.
    version2: process.env['CLOUD_S3_SIGNATURE_V2'] === '1',
    ...domainsFrom(process.env['CLOUD_S3_DOMAINS']),
    ...(at.legacy === undefined ? {} : { version2: at.legacy }),
    answered: (answered) => void log.note(answered),
  }).listen(at);
  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    await listening.close();
    await log.close();
    await refusalsOf(context).tell();
  };
  return {
    host: listening.host,
    port: listening.port,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}
