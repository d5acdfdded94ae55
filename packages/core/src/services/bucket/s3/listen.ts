// The data plane as a whole: the server with all routes over the engine of a core.
import type { ListenAt, Listening } from '../../../kernel/listener.ts';
import type { ServiceContext } from '../../../kernel/service.ts';
import { REGION } from '../endpoint.ts';
import { engineOf } from '../engine/objects.ts';
import { s3KeysOf } from '../s3-keys.ts';
import { bucketRoutes, serviceRoutes } from './buckets.ts';
import { objectRoutes } from './objects.ts';
import { createS3Server } from './server.ts';

export function listenS3(context: ServiceContext, at: ListenAt): Promise<Listening> {
  const keys = s3KeysOf(context);
  return createS3Server({
    context: { objects: engineOf(context), service: context, region: REGION },
    keys: (accessKeyId) => keys.keyOf(accessKeyId),
    routes: [...serviceRoutes, ...bucketRoutes, ...objectRoutes],
  }).listen(at);
}
