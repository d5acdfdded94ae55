// A cloud for the length of a test: its own data, and nothing left of it afterwards, whatever the test left running.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Core, createCore, type DriverSet, type Log, loadDrivers, localAdministrator, type Principal, silent, systemClock } from '@thecloud/core';
import { type Cloud, type Contract, contracts, type Request } from '@thecloud/core/contracts';
import { type ActingAs, actingAs, coreExchange, type S3Place, type Served, serveS3 } from './embed.ts';
import { cloudOver, isFault, transportOf } from './exchange.ts';

export interface EphemeralOptions {
  /** `memory` runs no programs and needs nothing. Default `memory`. */
  driver?: 'memory' | 'docker' | DriverSet;
  /** Nothing is logged when absent. */
  log?: Log;
  /** Serves S3 clients: a port on loopback, or a host and a port; 0 takes a free one. Default: nobody is served. */
  s3?: S3Place;
  /** Who calls. Nobody is in the directory yet: `cloud.as('ann@example.com')` is for those whom the test makes. Default: the local administrator. */
  as?: Principal;
  /** Name or id of the tenant that calls act in. Default: the principal's own. */
  tenant?: string;
}

/** Disposing of it deletes all that was made in it, then its backend's leftovers and its data directory. */
export type Ephemeral = Cloud & AsyncDisposable & ActingAs & Served & { close(): Promise<void>; readonly dataDir: string };

const DELETE_TIMEOUT_MS = 120_000;

/** `await using cloud = await ephemeral()`: a whole cloud with a temporary data directory. */
export async function ephemeral({ driver = 'memory', log = silent, as = localAdministrator, tenant, s3 }: EphemeralOptions = {}): Promise<Ephemeral> {
  const dataDir = await mkdtemp(join(tmpdir(), 'cloud-'));
  const { core, served } = await opened(dataDir, { driver, log, s3 }).catch(async (error: unknown) => {
    await rm(dataDir, { recursive: true, force: true });
    throw error;
  });
  const dispose = async (): Promise<void> => {
    const problems: unknown[] = [];
    const attempt = async (work: () => Promise<void>) => work().catch((error: unknown) => problems.push(error));
    await attempt(async () => {
      for (const id of await tenantsOf(core)) {
        await attempt(() => stopEverything(core, id));
        await attempt(() => deleteEverything(core, id));
      }
    });
    await attempt(() => core.close());
    if (driver === 'docker') await attempt(() => sweep(core, log));
    await attempt(() => rm(dataDir, { recursive: true, force: true }));
    if (problems.length > 0) throw new AggregateError(problems, `Not everything of the temporary cloud in ${dataDir} could be removed`);
  };
  let disposed: Promise<void> | undefined;
  const close = () => (disposed ??= dispose());
  return { ...actingAs(core, as, { tenant }), ...served, dataDir, close, [Symbol.asyncDispose]: close };
}

async function opened(
  dataDir: string,
  { driver, log, s3 }: { driver: 'memory' | 'docker' | DriverSet; log: Log; s3: S3Place | undefined },
): Promise<{ core: Core; served: Served }> {
  const core = await createCore({ dataDir, drivers: driver, durable: false, log });
  try {
    return { core, served: await serveS3(core, s3) };
  } catch (error) {
    await core.close();
    throw error;
  }
}

/** Ids of the tenants that the test may have made things in. */
async function tenantsOf(core: Core): Promise<string[]> {
  const ids: string[] = [];
  const { tenant } = cloudOver(coreExchange(core, localAdministrator));
  let cursor: string | undefined;
  do {
    const page = await tenant.list({ limit: 1000, cursor });
    ids.push(...page.items.map(({ id }) => id));
    cursor = page.cursor;
  } while (cursor !== undefined);
  return ids;
}

/** Nobody waits for the programs of a test to end politely. */
async function stopEverything(core: Core, tenant: string): Promise<void> {
  const { instance } = cloudOver(coreExchange(core, localAdministrator, { tenant }));
  const { items } = await instance.list({ limit: 1000 });
  await Promise.all(
    items.map(async ({ id, state }) => {
      if (state !== 'running') return;
      // One that cannot be stopped now may still be deleted; that tells more.
      await instance.stop(id, { timeout: 0 }, { wait: true, timeout: DELETE_TIMEOUT_MS }).catch(() => {});
    }),
  );
}

/** Round by round, because what is in use can go only when its user has gone. Throws the last refusals when a round brings nothing. */
async function deleteEverything(core: Core, tenant: string): Promise<void> {
  const { call } = transportOf(coreExchange(core, localAdministrator, { tenant }));
  const services = (Object.values(contracts) as Contract[]).filter(
    ({ resource, operations }) =>
      resource.scope === 'tenant' && resource.reconciled && operations.list?.standard === 'list' && operations.delete?.standard === 'delete',
  );
  const request = (service: string, operation: string, rest: Partial<Request>): Request => ({ service, operation, input: {}, options: {}, ...rest });
  for (;;) {
    const refusals: unknown[] = [];
    let deleted = 0;
    await Promise.all(
      services.map(async ({ resource: { name } }) => {
        for (let cursor: string | undefined; ; ) {
          const page = (await call(request(name, 'list', { input: { limit: 1000, cursor } }))) as {
            items: { id: string; source?: string }[];
            cursor?: string;
          };
          await Promise.all(
            page.items.map(async ({ id, source }) => {
              // Images of the host's are not the test's.
              if (name === 'image' && source === 'host') return;
              try {
                await call(request(name, 'delete', { target: id, options: { wait: true, timeout: DELETE_TIMEOUT_MS } }));
                deleted++;
              } catch (error) {
                if (!isFault(error, 'not_found')) refusals.push(error);
              }
            }),
          );
          cursor = page.cursor;
          if (cursor === undefined) return;
        }
      }),
    );
    if (refusals.length === 0) return;
    if (deleted === 0) throw new AggregateError(refusals, 'Some resources could not be deleted');
  }
}

/** What a driver may have besides what its port's verbs are for: two ports, three kinds of things that can be listed and removed. */
interface Sweepable {
  list?(): Promise<{ id: string }[]>;
  listSnapshots?(): Promise<{ id: string }[]>;
  remove?(id: string, how: unknown): Promise<void>;
  removeSnapshot?(id: string, signal: AbortSignal): Promise<void>;
  kept?(): Promise<{ id: string }[]>;
  release?(id: string, but: readonly string[]): Promise<void>;
}

/** Removes what the backend still has of this installation: what a failure in the middle of something may have left. */
async function sweep(core: Core, log: Log): Promise<void> {
  const set = await loadDrivers('docker', { installation: core.installation, dataDir: core.dataDir, log, clock: systemClock });
  try {
    const { signal } = new AbortController();
    const { compute, volume, network, image } = set.drivers as Record<string, Sweepable | undefined>;
    for (const { id } of (await compute?.list?.()) ?? []) await compute?.remove?.(id, { signal, stopTimeout: 0 });
    for (const { id } of (await volume?.listSnapshots?.()) ?? []) await volume?.removeSnapshot?.(id, signal);
    for (const { id } of (await volume?.list?.()) ?? []) await volume?.remove?.(id, signal);
    for (const { id } of (await network?.list?.()) ?? []) await network?.remove?.(id, signal);
    for (const { id } of (await image?.kept?.()) ?? []) await image?.release?.(id, []);
  } finally {
    await set.close();
  }
}
