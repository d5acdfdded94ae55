// Bytes that come and are no object yet, or went and are still being read. Quotas count neither, so both together have a bound of their own: of each tenant never
// more than it may keep. Otherwise uploads and reads that never end would fill the disk for everybody.
import type { Clock } from '../../../kernel/clock.ts';
import { ObjectError } from './types.ts';

/** How long a limit that was read is taken for the limit. */
const KEPT_MS = 1000;

interface Tenant {
  bytes: number;
  limit: number | undefined;
  readAt: number;
}

export class Underway {
  readonly #clock: Clock;
  readonly #limitOf: (tenantId: string) => Promise<number | undefined>;
  readonly #goneOf: (tenantId: string) => number;
  readonly #tenants = new Map<string, Tenant>();

  /** `limitOf`: what a tenant may keep; `goneOf`: what it deleted and is still being read. */
  constructor(clock: Clock, of: { limitOf: (tenantId: string) => Promise<number | undefined>; goneOf: (tenantId: string) => number }) {
    this.#clock = clock;
    this.#limitOf = of.limitOf;
    this.#goneOf = of.goneOf;
  }

  /** Has bytes written that are counted until they are. `size`: of all of them, where it is known; else they count as they come. `quota_exceeded`. */
  async write<R>(tenantId: string, source: AsyncIterable<Buffer>, size: number | undefined, store: (source: AsyncIterable<Buffer>) => Promise<R>): Promise<R> {
    const tenant = await this.#of(tenantId);
    let held = 0;
    const take = (bytes: number): void => {
      const { limit } = tenant;
      if (limit !== undefined) {
        const used = tenant.bytes + this.#goneOf(tenantId);
        if (used + bytes > limit) throw exceeded(used, limit);
      }
      tenant.bytes += bytes;
      held += bytes;
    };
    try {
      if (size === undefined) return await store(counted(source, take));
      take(size);
      return await store(source);
    } finally {
      tenant.bytes -= held;
    }
  }

  async #of(tenantId: string): Promise<Tenant> {
    let tenant = this.#tenants.get(tenantId);
    const now = this.#clock.now();
    if (tenant !== undefined && Math.abs(now - tenant.readAt) < KEPT_MS) return tenant;
    const limit = await this.#limitOf(tenantId);
    tenant = this.#tenants.get(tenantId);
    if (tenant === undefined) {
      tenant = { bytes: 0, limit, readAt: now };
      this.#tenants.set(tenantId, tenant);
    } else Object.assign(tenant, { limit, readAt: now });
    return tenant;
  }
}

function exceeded(used: number, limit: number): ObjectError {
  const message = `${used} bytes are being written already, or were deleted and are still being read, and at most ${limit} are kept`;
  return new ObjectError('quota_exceeded', message, { quota: 'objectBytes', limit, used });
}

async function* counted(source: AsyncIterable<Buffer>, take: (bytes: number) => void): AsyncGenerator<Buffer> {
  for await (const piece of source) {
    take(piece.length);
    yield piece;
  }
}
