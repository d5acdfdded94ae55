// What the audit keeps of requests that were refused: changes, and whatever strangers tried. A flood from one source is a few lines and a number.
import { FloodGuard } from '../../../kernel/flood.ts';
import type { ServiceContext } from '../../../kernel/service.ts';
import type { Bucket } from '../engine/types.ts';
import type { S3Action } from './actions.ts';
import type { S3Request } from './types.ts';

class Refusals {
  readonly #service: ServiceContext;
  readonly #flood = new FloodGuard();

  constructor(service: ServiceContext) {
    this.#service = service;
  }

  async note(
    request: S3Request,
    about: { name: string; action: S3Action; bucket: Bucket | undefined; key: string | undefined; reason: string },
  ): Promise<void> {
    const { caller, source, requestId } = request;
    const { name, action, bucket, key, reason } = about;
    const stranger = bucket === undefined ? caller.principal === undefined : caller.tenantId !== bucket.tenantId;
    if (action.reads && !stranger) return;
    const now = this.#service.clock.now();
    await this.tell(now);
    // A change that was refused in one's own account is one line each, as any call's is.
    if (stranger && !this.#flood.passes(caller.principal?.id ?? source, now)) return;
    const target = bucket?.name ?? request.bucketName;
    await this.#write({
      tenantId: bucket?.tenantId ?? caller.tenantId,
      principal: caller.principal?.id ?? 'anonymous',
      principalName: caller.principal?.name,
      credential: caller.accessKeyId,
      source,
      permission: action.permission,
      target: key === undefined ? target : `${target}/${key}`,
      targetId: bucket?.id,
      requestId,
      outcome: 'forbidden',
      decision: `${name}: ${reason}`,
    });
  }

  /** Numbers of those that were not written one by one, in minutes that are over. */
  async tell(now?: number): Promise<void> {
    for (const { source, held } of this.#flood.take(now)) {
      await this.#write({
        tenantId: '',
        principal: 'anonymous',
        source,
        permission: 'audit:flood',
        target: `${held} more were refused`,
        requestId: '',
        outcome: 'refused',
      });
    }
  }

  /** That a line cannot be written must not change what the client hears. */
  async #write(line: Parameters<ServiceContext['audit']['note']>[0]): Promise<void> {
    const { audit, log } = this.#service;
    await audit.note(line).catch((error: unknown) => log.error({ requestId: line.requestId, error: String(error) }, 'could not write an audit line'));
  }
}

const known = new WeakMap<ServiceContext, Refusals>();
export function refusalsOf(service: ServiceContext): Pick<Refusals, 'note' | 'tell'> {
  let refusals = known.get(service);
  if (refusals === undefined) {
    refusals = new Refusals(service);
    known.set(service, refusals);
  }
  return refusals;
}
