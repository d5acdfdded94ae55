// Makes instances so: waits for what they need, asks the driver, runs first boot, and restarts what died.
import type { Kysely } from 'kysely';
import type { z } from 'zod';
import { DriverError, Fault } from '../../kernel/errors.ts';
import { type Controller, type Reconciliation, type RowOf, type ServiceContext, Unsuccessful, Waiting } from '../../kernel/service.ts';
import { images } from '../image/contract.ts';
import { imagePort } from '../image/driver.ts';
import { CATALOG } from '../instance-type/catalog.ts';
import { sshKeys } from '../ssh-key/contract.ts';
import { volumes } from '../volume/contract.ts';
import { vpcs } from '../vpc/contract.ts';
import { networks } from '../vpc/network-contract.ts';
import { dnsContract } from '../zone/contract.ts';
import { readUserData } from './cloudinit.ts';
import { advanceBoot } from './cloudinit-run.ts';
import { bootOf } from './cloudinit-script.ts';
import type { instances } from './contract.ts';
import type { ComputeDriver, InstanceObserved, InstanceSpec } from './driver.ts';
import { afterEnd, type HealingRecord, MOST_RESTARTS } from './healing.ts';
import { environmentOf } from './secrets.ts';
import type { InstanceTables } from './tables.ts';

type Instances = typeof instances;
type InstanceRow = RowOf<Instances>;
type Context = Reconciliation<Instances>;

/** Kept in rows beside what the contract shows. */
interface HiddenSpec {
  restartToken?: string;
  allowRestartAt?: number;
  stopTimeoutOnce?: number;
  detaching?: string[];
}
interface HiddenStatus {
  healing?: HealingRecord;
  /** When the program ended for good (policy, or too many restarts), Unix milliseconds: only a new wish starts it again. */
  endedAt?: number;
  /** The newest generation that the backend has been brought to: a restart that was allowed for a newer one is still to come. */
  applied?: number;
  /** It was in the backend once: should it be gone, somebody else removed it. */
  made?: boolean;
}

/** What the image service has written down of the instance's image. */
type Held = z.output<typeof images.operations.coming.output>;

/** The status patch of a new wish: earlier ends no longer count. */
export const FORGET_END = { endedAt: null, healing: null };

const BOOT_POLL_MS = 300;
const IMAGE_POLL_MS = 500;

const hidden = (row: InstanceRow): HiddenSpec & HiddenStatus => ({ ...(row.spec as HiddenSpec), ...(row.status as HiddenStatus) });
/** As JSON knows it: undefined takes a field away. */
const patch = (status: HiddenStatus): object => Object.fromEntries(Object.entries(status).map(([key, value]) => [key, value ?? null]));

function specOf(row: InstanceRow): Omit<InstanceSpec, 'content'> {
  const type = CATALOG.find((candidate) => candidate.name === row.spec.type);
  if (type === undefined) throw new DriverError('bad_spec', `There is no instance type ${row.spec.type}`);
  const { restartToken, stopTimeoutOnce } = hidden(row);
  const hostname = row.spec.userData === undefined ? undefined : readUserData(row.spec.userData).hostname;
  return {
    id: row.id,
    name: row.name,
    ...(hostname === undefined ? {} : { hostname }),
    image: row.spec.image,
    command: row.spec.command,
    entrypoint: row.spec.entrypoint,
    env: row.spec.env,
    cpus: type.cpus,
    memoryBytes: type.memoryMiB * 2 ** 20,
    pids: type.pids,
    networkId: row.spec.vpcId as string,
    address: row.status.address as string,
    ports: row.spec.ports,
    mounts: row.spec.volumes.map((mount) => ({ volumeId: mount.volumeId as string, path: mount.path, readOnly: mount.readOnly })),
    power: row.spec.desiredState,
    restartToken: restartToken ?? '',
    stopTimeout: stopTimeoutOnce ?? row.spec.stopTimeout,
  };
}

export function instanceController(context: ServiceContext, driver: ComputeDriver): Controller<Instances> {
  const store = context.driver(imagePort);
  /** Instances whose image is on its way, by the image's id. */
  const waiting = new Map<string, Set<string>>();

  /**
   * Throws Waiting until the VPC and the volumes are there; their changes wake this instance. One that is broken is a failure with its reason,
   * for it may never come; only an instance that shall stop does not need it.
   */
  async function needs(row: InstanceRow, stopping: boolean, { client }: Context): Promise<void> {
    const { vpc: vpcClient, volume } = client({ vpc: vpcs, volume: volumes });
    const vpc = await vpcClient.get(row.spec.vpcId as string);
    const found: { kind: string; name: string; state: string; reason?: string; there: boolean }[] = [{ kind: 'VPC', ...vpc, there: vpc.state === 'ready' }];
    for (const mount of row.spec.volumes) {
      const each = await volume.get(mount.volumeId as string);
      found.push({ kind: 'volume', ...each, there: each.state === 'in-use' || each.state === 'available' });
    }
    for (const { kind, name, state, reason, there } of found) {
      if (there) continue;
      const why = reason === undefined ? '' : `: ${reason}`;
      if (state !== 'error') throw new Waiting(`waiting for the ${kind} ${name}${why}`, 1000);
      if (!stopping) throw new DriverError('failed', `The ${kind} ${name} is in error${why}`);
    }
  }

  /** What an instance that is not in the backend is to be made from. Throws Waiting while that is fetched. */
  async function contentOf(row: InstanceRow, held: Held, { client, event, progress }: Context): Promise<string> {
    progress('looking for the image');
    const { image } = client({ image: images });
    const reference = row.spec.image;
    const hold = async (gone?: string) => {
      const { hostContent } = await image.locate({ reference });
      await image.hold({ reference, instance: row.name, instanceId: row.id, generation: row.generation, hostContent, gone });
      return image.coming({ instanceId: row.id });
    };
    let now = held;
    if (held.content !== undefined && !(await store.has(held.content))) {
      await event('image-lost', `The content of the image ${reference} is gone from this host; instance ${row.name} is made from what the name means now`);
      now = await hold(held.content);
    } else if (held.content === undefined && held.progress === undefined && (held.failure === undefined || (held.asked ?? 0) < row.generation)) {
      now = await hold();
    }
    if (now.content !== undefined) return now.content;
    if (now.failure !== undefined) throw new DriverError('bad_spec', now.failure, { hint: `cloud image pull ${reference}` });
    const { imageId } = now;
    if (imageId !== undefined) waiting.set(imageId, (waiting.get(imageId) ?? new Set()).add(row.id));
    throw new Waiting(now.progress ?? `waiting for the image ${reference}`, IMAGE_POLL_MS);
  }

  /** Gives back the claims of volumes that the instance no longer has. */
  async function letGo(row: InstanceRow, volumeIds: readonly string[], { client }: Context): Promise<void> {
    const { volume } = client({ volume: volumes });
    for (const id of volumeIds) {
      await volume.release(id, { instanceId: row.id }).catch((error: unknown) => {
        if (!(error instanceof Fault) || error.code !== 'not_found') throw error;
      });
    }
  }

  /** The program has ended though it is meant to run. Returns when it may be started again, or how long to wait, or that it stays so. */
  async function heal(
    row: InstanceRow,
    observed: InstanceObserved,
    { report, event, clock }: Context,
  ): Promise<{ start: true; record: HealingRecord; reason: string } | { start: false; again: number | undefined }> {
    const { healing } = hidden(row);
    const ended = { exitCode: observed.exitCode ?? null, startedAt: null };
    const decision = afterEnd({
      policy: row.spec.restartPolicy,
      exitCode: observed.exitCode,
      outOfMemory: observed.outOfMemory,
      startedAt: observed.startedAt,
      now: clock.now(),
      record: healing,
    });
    if (decision.do !== 'stay-stopped' && healing?.run !== decision.record.run) await event('died', `Instance ${row.name} died: ${decision.reason}`);
    switch (decision.do) {
      case 'stay-stopped':
        await report({ state: 'stopped', reason: decision.reason, status: { ...ended, ...patch({ endedAt: clock.now() }) } });
        return { start: false, again: undefined };
      case 'give-up':
        await report({ state: 'error', reason: decision.reason, status: { ...ended, ...patch({ healing: decision.record, endedAt: clock.now() }) } });
        await event('healing-gave-up', `Instance ${row.name} is not restarted any more: ${decision.reason}`);
        return { start: false, again: undefined };
      case 'wait':
        await report({ state: 'error', reason: decision.reason, status: { ...ended, ...patch({ healing: decision.record }) } });
        return { start: false, again: decision.milliseconds };
      case 'restart':
        return { start: true, record: decision.record, reason: decision.reason };
    }
  }

  /** First boot. Throws Waiting while it runs, Unsuccessful once when it failed. */
  async function boot(row: InstanceRow, { report, client, event, clock }: Context): Promise<void> {
    const before = row.status.cloudInit;
    if (before === undefined || (before.status !== 'pending' && before.status !== 'running')) return;
    if (driver.capabilities.cloudInit !== 'exec') {
      await report({ status: { cloudInit: { status: driver.capabilities.cloudInit === 'none' ? 'recorded' : 'done' } } });
      return;
    }
    const keys: string[] = [];
    for (const id of (row.spec as { sshKeyIds?: string[] }).sshKeyIds ?? []) {
      try {
        keys.push((await client({ sshKey: sshKeys }).sshKey.get(id)).publicKey);
      } catch (error) {
        if (!(error instanceof Fault) || error.code !== 'not_found') throw error;
      }
    }
    const userData = row.spec.userData === undefined ? undefined : readUserData(row.spec.userData);
    const progress = await advanceBoot(driver, row.id, bootOf(userData, keys));
    if (progress.status === 'running') {
      await report({ status: { cloudInit: { status: 'running' } } });
      throw new Waiting('first boot: cloud-init is running', BOOT_POLL_MS);
    }
    await report({
      status: {
        cloudInit: {
          status: progress.status,
          ...(progress.exitCode === undefined ? {} : { exitCode: progress.exitCode }),
          ...(progress.reason === undefined ? {} : { reason: progress.reason }),
          finishedAt: new Date(clock.now()).toISOString(),
        },
      },
      reason: progress.status === 'error' ? `cloud-init failed: ${progress.reason ?? ''}` : null,
    });
    await event(
      progress.status === 'done' ? 'booted' : 'boot-failed',
      progress.status === 'done' ? `First boot of ${row.name} is done` : `First boot of ${row.name} failed: ${progress.reason ?? ''}`,
    );
    if (progress.status === 'error') throw new Unsuccessful(`Cloud-init failed: ${progress.reason ?? ''}`);
  }

  return {
    async reconcile(row, reconciliation) {
      const { signal, progress, report, event } = reconciliation;
      let spec: InstanceSpec;
      try {
        spec = specOf(row);
      } catch (error) {
        throw error instanceof Fault ? new DriverError('bad_spec', error.message, { cause: error }) : error;
      }
      // Asked before the look at the backend: what happens there between the look and the deed must be as little as can be.
      const held: Held = await reconciliation.client({ image: images }).image.coming({ instanceId: row.id });
      let observed = await driver.inspect(row.id);
      const settled = row.observed >= row.generation;
      const { allowRestartAt, endedAt, made, applied = 0 } = hidden(row);
      const over = endedAt !== undefined;
      if (over) spec = { ...spec, power: 'stopped' };
      // One that is as it should be is left alone, whatever becomes of the rows beside it.
      if (!settled || observed?.power !== spec.power) await needs(row, spec.power === 'stopped' && observed !== undefined, reconciliation);
      let healed: { record: HealingRecord; reason: string } | undefined;
      if (observed === undefined) {
        if (made) {
          await event('recreated', `Instance ${row.name} was gone from the backend and is made anew; its volumes are kept, its own file system is not`);
          const boots = row.spec.userData !== undefined || row.spec.sshKeys.length > 0;
          await report({ status: { cloudInit: { status: boots ? 'pending' : 'none' }, ...patch({ made: undefined }) } });
        }
      } else if (settled && spec.power === 'running' && !over && observed.power === 'stopped') {
        const next = await heal(row, observed, reconciliation);
        if (!next.start) return next.again;
        healed = next;
      }
      // One that was made before it was written down what from has it in the backend.
      const content = observed === undefined ? await contentOf(row, held, reconciliation) : held.content;
      if (content !== undefined) spec = { ...spec, content };
      const before = observed?.startedAt;
      const mayRestart = (allowRestartAt ?? 0) > applied;
      const environment = await environmentOf(row, observed, spec, mayRestart, reconciliation);
      // What decides about its packets is in force before it sends the first.
      if (spec.power !== 'stopped' && observed?.power !== spec.power) await reconciliation.client({ network: networks }).network.settle({});
      // Only one that is made, or made anew, can be told where to ask for names.
      const making = !settled || observed?.power !== spec.power || environment.restart;
      const dns = making ? (await reconciliation.client({ dns: dnsContract }).dns.servers({ vpcId: row.spec.vpcId as string })).addresses : [];
      // A restart counts when it has happened, not when a backend that is away was asked for it.
      observed = await driver.ensure({ ...spec, ...environment.spec, dns }, { signal, allowRestart: mayRestart || environment.restart, onProgress: progress });
      const { detaching } = hidden(row);
      if (detaching !== undefined && applied < row.generation) {
        const attached = new Set(row.spec.volumes.map((mount) => mount.volumeId));
        await letGo(
          row,
          detaching.filter((id) => !attached.has(id)),
          reconciliation,
        );
      }
      const ended = spec.power === 'running' && observed.power === 'stopped';
      const bootFailed = row.status.cloudInit?.status === 'error';
      if (healed !== undefined)
        await event('healed', `Instance ${row.name} was restarted (${healed.record.count} of ${MOST_RESTARTS} in a row): ${healed.reason}`);
      const current = await report({
        ...(ended || over ? {} : { state: observed.power, ...(bootFailed ? {} : { reason: null }) }),
        status: {
          exitCode: observed.exitCode ?? null,
          startedAt: observed.startedAt === undefined || observed.power === 'stopped' ? null : new Date(observed.startedAt).toISOString(),
          ...patch({ made: true, applied: row.generation }),
          ...environment.status,
          ...(healed === undefined ? {} : { restarts: (row.status.restarts ?? 0) + 1, ...patch({ healing: healed.record }) }),
        },
      });
      if (ended) {
        // Started, and over already: the policy decides, now and after each further try.
        const next = await heal(current, observed, reconciliation);
        return next.start ? 1 : next.again;
      }
      if (observed.power === 'running' && before !== observed.startedAt && settled && before !== undefined && healed === undefined)
        await event('restarted', `Instance ${row.name} runs again`);
      if (observed.power === 'running') await boot(current, reconciliation);
      return undefined;
    },

    async remove(row, reconciliation) {
      const { signal, client, progress } = reconciliation;
      progress('removing');
      await driver.remove(row.id, { signal, stopTimeout: Math.min(hidden(row).stopTimeoutOnce ?? row.spec.stopTimeout, row.spec.stopTimeout) });
      await client({ image: images }).image.release({ instanceId: row.id });
      const ids = [...row.spec.volumes.map((mount) => mount.volumeId as string), ...(hidden(row).detaching ?? [])];
      await letGo(row, ids, reconciliation);
      await client({ vpc: vpcs }).vpc.releaseAddresses(row.spec.vpcId as string, { owner: row.id });
      await (context.db as unknown as Kysely<InstanceTables>).deleteFrom('instance_port').where('instance_id', '=', row.id).execute();
    },

    async watch(wake, signal, onReady) {
      const forget = context.onCommit(({ rows }) => {
        for (const { resource, id, stateChanged } of rows) {
          if (resource !== 'image' || !stateChanged) continue;
          for (const instance of waiting.get(id) ?? []) wake(instance);
          waiting.delete(id);
        }
      });
      try {
        await driver.watch(wake, signal, onReady);
      } finally {
        forget();
      }
    },

    async differing(rows) {
      const found = new Map((await driver.list()).map((instance) => [instance.id, instance]));
      return rows
        .filter((row) => {
          const there = found.get(row.id);
          if (row.deletedAt !== undefined) return true;
          if (there === undefined) return true;
          return there.power !== row.state;
        })
        .map((row) => row.id);
    },
    resyncMs: 15_000,
    concurrency: 16,
    reap: { list: () => driver.list(), remove: (id, signal) => driver.remove(id, { signal, stopTimeout: 1 }) },
  };
}
