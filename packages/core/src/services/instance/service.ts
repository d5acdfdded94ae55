// Instances: what may be asked of them. How they become so is in controller.ts.
import { Fault } from '../../kernel/errors.ts';
import { newId } from '../../kernel/ids.ts';
import { nearest } from '../../kernel/near.ts';
import { type Call, type RowOf, service } from '../../kernel/service.ts';
import { waitFor } from '../../kernel/wait.ts';
import { elasticIps } from '../elastic-ip/contract.ts';
import { images } from '../image/contract.ts';
import { CATALOG } from '../instance-type/catalog.ts';
import { volumes } from '../volume/contract.ts';
import { vpcs } from '../vpc/contract.ts';
import { bytesHandlers } from './bytes.ts';
import { readUserData } from './cloudinit.ts';
import { instances } from './contract.ts';
import { FORGET_END, instanceController } from './controller.ts';
import { type ComputeDriver, computePort } from './driver.ts';
import { metadataPlane } from './metadata/plane.ts';
import { attachGroup, detachGroup, groupsOf, vpcOf } from './network.ts';
import { PortChooser, refuseTwice, reservePorts } from './ports.ts';
import { secretsIn } from './secrets.ts';
import { migrations } from './tables.ts';

export type InstanceRow = RowOf<typeof instances>;
type InstanceCall<I = unknown> = Call<typeof instances, I>;

const DEFAULT_VPC = 'default';
/** What `prepare` has seen of the world, for the handler. */
interface Prepared {
  prepared: { hostContent: string | undefined; hostNetworks: string[] | undefined };
}

/** What a running instance cannot be given without a restart. */
const NEEDS_RESTART = ['env', 'command', 'entrypoint', 'ports'] as const;

/** The size of that name, if this host can carry it. */
function sizeOf(name: string, driver: ComputeDriver) {
  const type = CATALOG.find((candidate) => candidate.name === name);
  if (type === undefined) {
    const near = nearest(
      name,
      CATALOG.map((candidate) => candidate.name),
    );
    throw new Fault('invalid_input', `type: there is no instance type ${JSON.stringify(name)}${near === undefined ? '' : `; did you mean ${near}?`}`, {
      details: [
        {
          path: 'type',
          message: `use ${CATALOG.map((candidate) => candidate.name).join(', ')}${near === undefined ? '' : `; did you mean ${near}?`}`,
        },
      ],
      hint: 'cloud instance-type list',
    });
  }
  const { maxCpus, maxMemoryBytes } = driver.capabilities;
  if ((maxCpus !== undefined && type.cpus > maxCpus) || (maxMemoryBytes !== undefined && type.memoryMiB * 2 ** 20 > maxMemoryBytes)) {
    throw new Fault('invalid_input', `type: ${name} has ${type.cpus} CPUs and ${type.memoryMiB} MiB, more than this host; use a smaller one`, {
      details: [{ path: 'type', message: `${name} has ${type.cpus} CPUs and ${type.memoryMiB} MiB, more than this host; use a smaller one` }],
      hint: 'cloud instance-type list',
    });
  }
  return type;
}

/**
 * Refuses what would restart a running instance unless the caller allows it; returns what to write into the spec when allowed. One that is
 * stopped allows it by being so: it may have been started and stopped so fast that in the backend it still runs.
 */
function restartAllowed(row: InstanceRow, allowRestart: boolean, what: string): { allowRestartAt: number } {
  const stopped = row.state !== 'running' && row.state !== 'paused' && row.spec.desiredState === 'stopped';
  const boot = row.status.cloudInit?.status;
  if (!stopped && (boot === 'pending' || boot === 'running')) {
    throw new Fault('conflict', `The first boot of ${row.name} is not over, and a restart would cut it short`, {
      hint: `cloud instance wait ${row.name} --for cloud-init`,
    });
  }
  if (!allowRestart && (row.state === 'running' || row.state === 'paused')) {
    throw new Fault('conflict', `${what} needs a restart of ${row.name}; its file system, address and metadata stay`, {
      details: { reason: 'restart_required' },
      hint: 'repeat with --yes',
    });
  }
  return { allowRestartAt: row.generation + 1 };
}

function distinct(items: readonly { key: string; path: string }[], what: string): void {
  const seen = new Set<string>();
  for (const { key, path } of items) {
    if (seen.has(key))
      throw new Fault('invalid_input', `${path}: ${key} is given twice`, { details: [{ path, message: `${key} is given twice; give each ${what} once` }] });
    seen.add(key);
  }
}

export const instanceService = service(instances, (context) => {
  const driver = context.driver(computePort);
  const ports = new PortChooser(context.db, context.clock);

  const notDeleting = (row: InstanceRow): InstanceRow => {
    if (row.deletedAt !== undefined) throw new Fault('conflict', `The instance ${row.name} is being deleted`);
    return row;
  };
  const want = async (
    call: InstanceCall,
    desiredState: InstanceRow['spec']['desiredState'],
    more: Record<string, unknown>,
    message: string,
  ): Promise<InstanceRow> => {
    const row = notDeleting(call.target);
    // A broken instance is tried again when someone asks for the same thing once more, and one whose program ended may run again.
    const always = row.state === 'error' || (desiredState === 'running' && row.state === 'stopped');
    const updated = await call.rows.update(row, { spec: { desiredState, stopTimeoutOnce: null, ...more }, always, message });
    return call.rows.report(updated, { status: FORGET_END as object });
  };

  return {
    migrations,
    needs: [computePort],
    prepare: {
      async create(call) {
        const { input } = call;
        sizeOf(input.type, driver);
        if (input.userData !== undefined) readUserData(input.userData);
        distinct(
          input.volumes.map(({ path }, index) => ({ key: path, path: `volumes.${index}.path` })),
          'path',
        );
        distinct(
          input.volumes.map(({ volume }, index) => ({ key: volume, path: `volumes.${index}.volume` })),
          'volume',
        );
        refuseTwice(input.ports);
        input.ports = await ports.choose(call.tenantId, input.ports);
        const { image, vpc } = call.client({ image: images, vpc: vpcs });
        const { hostContent } = await image.locate({ reference: input.image });
        const hostNetworks = input.vpc === undefined && input.subnet === undefined ? (await vpc.survey({ name: DEFAULT_VPC })).hostNetworks : undefined;
        Object.assign(input, { prepared: { hostContent, hostNetworks } } satisfies Prepared);
      },
      async update(call) {
        const wanted = call.input.ports;
        if (wanted === undefined || wanted === null) return;
        refuseTwice(wanted);
        call.input.ports = await ports.choose(call.tenantId, wanted, (await call.rows.get(call.target as string)).spec.ports);
      },
    },
    handlers: {
      async create(call) {
        const { name, labels, prepared, ...spec } = call.input as typeof call.input & Prepared & { vpcId?: string };
        const id = newId('inst');
        const size = sizeOf(spec.type, driver);
        const { image, vpc, volume } = call.client({ image: images, vpc: vpcs, volume: volumes });
        const subnet = call.refs['subnet']?.[0];
        if (subnet !== undefined) Object.assign(spec, vpcOf(subnet, spec.vpc, spec.vpcId));
        else if (spec.vpc === undefined) {
          const made = await vpc.provide({ name: DEFAULT_VPC, description: 'For instances that name no VPC', hostNetworks: prepared.hostNetworks ?? [] });
          Object.assign(spec, { vpc: made.name, vpcId: made.id });
        }
        groupsOf(call.refs['securityGroups'] ?? [], { id: spec.vpcId as string, name: spec.vpc as string });
        await image.hold({ reference: spec.image, instance: name, instanceId: id, generation: 1, hostContent: prepared.hostContent });
        const { address } = await vpc.allocateAddress(spec.vpcId as string, { owner: id, subnet: subnet?.id, address: spec.privateAddress });
        for (const mount of spec.volumes) {
          await volume.claim(mount.volumeId as string, { instance: name, instanceId: id, path: mount.path, readOnly: mount.readOnly });
        }
        await reservePorts(call.sql, call.tenantId, id, spec.ports);
        const boots = spec.userData !== undefined || spec.sshKeys.length > 0;
        return call.rows.insert({
          id,
          name,
          labels,
          spec: { ...spec, ...(await secretsIn(call, spec.env)) },
          status: { address, cpus: size.cpus, memoryMiB: size.memoryMiB, restarts: 0, cloudInit: { status: boots ? 'pending' : 'none' } },
        });
      },

      async update(call) {
        const row = notDeleting(call.target);
        const { labels, allowRestart, ...spec } = call.input as typeof call.input & Record<string, unknown>;
        const changed = NEEDS_RESTART.filter((key) => key in spec && JSON.stringify(spec[key] ?? undefined) !== JSON.stringify(row.spec[key]));
        const allowed = changed.length === 0 ? {} : restartAllowed(row, allowRestart, `A change of ${changed.join(', ')}`);
        groupsOf(call.refs['securityGroups'] ?? [], { id: row.spec.vpcId as string, name: row.spec.vpc });
        if (spec.ports !== undefined && spec.ports !== null) await reservePorts(call.sql, call.tenantId, row.id, spec.ports);
        const uses = spec.env === undefined ? {} : await secretsIn(call, spec.env ?? {}, row);
        return call.rows.update(row, { labels, spec: { ...spec, ...allowed, ...uses } });
      },

      async delete(call) {
        await call.systemClient(call.tenantId, { elasticIp: elasticIps }).elasticIp.leave({ instanceId: call.target.id });
        return call.rows.delete(call.target);
      },

      start: (call) => {
        if (call.target.state === 'paused') throw new Fault('conflict', `${call.target.name} is paused`, { hint: `cloud instance resume ${call.target.name}` });
        return want(call, 'running', {}, `Instance ${call.target.name} is asked to start`);
      },
      stop: (call) =>
        want(call, 'stopped', call.input.timeout === undefined ? {} : { stopTimeoutOnce: call.input.timeout }, `Instance ${call.target.name} is asked to stop`),
      restart: (call) =>
        want(call, 'running', { restartToken: new Date(context.clock.now()).toISOString() }, `Instance ${call.target.name} is asked to restart`),
      async pause(call) {
        if (!driver.capabilities.pause) throw new Fault('unsupported', 'This driver cannot pause an instance', { hint: 'cloud system info' });
        const row = notDeleting(call.target);
        if (row.spec.desiredState === 'paused') return row;
        if (row.state !== 'running')
          throw new Fault('conflict', `${row.name} is ${row.state}; only a running instance can be paused`, { hint: `cloud instance start ${row.name}` });
        return call.rows.update(row, { spec: { desiredState: 'paused' }, message: `Instance ${row.name} is asked to pause` });
      },
      async resume(call) {
        const row = notDeleting(call.target);
        if (row.spec.desiredState === 'running' && row.state === 'running') return row;
        if (row.spec.desiredState !== 'paused')
          throw new Fault('conflict', `${row.name} is ${row.state}, not paused`, { hint: `cloud instance start ${row.name}` });
        return call.rows.update(row, { spec: { desiredState: 'running' }, message: `Instance ${row.name} is asked to resume` });
      },
      async resize(call) {
        const row = notDeleting(call.target);
        const size = sizeOf(call.input.type, driver);
        const allowed = driver.capabilities.hotResize || size.name === row.spec.type ? {} : restartAllowed(row, call.input.allowRestart, 'A change of type');
        const updated = await call.rows.update(row, { spec: { type: size.name, ...allowed }, message: `Instance ${row.name} is asked to be ${size.name}` });
        return call.rows.report(updated, { status: { cpus: size.cpus, memoryMiB: size.memoryMiB } });
      },

      async attachVolume(call) {
        const row = notDeleting(call.target);
        const { path, readOnly, allowRestart } = call.input;
        const { volumeId, volume } = call.input as { volume: string; volumeId?: string };
        const there = row.spec.volumes.find((mount) => mount.volumeId === volumeId);
        if (there !== undefined && there.path === path && there.readOnly === readOnly) return row;
        if (there !== undefined)
          throw new Fault('conflict', `${volume} is attached to ${row.name} at ${there.path}`, { hint: `cloud volume detach ${volume}` });
        const other = row.spec.volumes.find((mount) => mount.path === path);
        if (other !== undefined)
          throw new Fault('conflict', `${row.name} has ${other.volume} at ${path}`, { details: [{ path: 'path', message: 'use another path' }] });
        const allowed = driver.capabilities.hotVolumes ? {} : restartAllowed(row, allowRestart, `Attaching ${volume}`);
        await call.client({ volume: volumes }).volume.claim(volumeId as string, { instance: row.name, instanceId: row.id, path, readOnly });
        return call.rows.update(row, {
          spec: { volumes: [...row.spec.volumes, { volume, volumeId, path, readOnly }], ...allowed },
          message: `Volume ${volume} is to be attached to ${row.name}`,
        });
      },
      async detachVolume(call) {
        const row = notDeleting(call.target);
        const { volumeId, volume } = call.input as { volume: string; volumeId?: string };
        if (!row.spec.volumes.some((mount) => mount.volumeId === volumeId)) throw new Fault('conflict', `${volume} is not attached to ${row.name}`);
        const allowed = driver.capabilities.hotVolumes ? {} : restartAllowed(row, call.input.allowRestart, `Detaching ${volume}`);
        // The claim is given back by the controller, when the instance really has let go.
        return call.rows.update(row, {
          spec: {
            volumes: row.spec.volumes.filter((mount) => mount.volumeId !== volumeId),
            detaching: [...new Set([...((row.spec as { detaching?: string[] }).detaching ?? []), volumeId])],
            ...allowed,
          },
          message: `Volume ${volume} is to be detached from ${row.name}`,
        });
      },

      attachGroup: (call) => attachGroup(call, notDeleting(call.target)),
      detachGroup: (call) => detachGroup(call, notDeleting(call.target)),

      async wait(call) {
        const { for: state, timeout } = call.input;
        const id = call.target.id;
        let row: InstanceRow = call.target;
        const found = await waitFor<InstanceRow>({
          onCommit: context.onCommit,
          signal: call.signal,
          milliseconds: timeout * 1000,
          concerns: ({ rows }) => rows.some((changed) => changed.id === id),
          look: async () => {
            const now = await call.rows.byId(id);
            if (now === undefined) {
              if (state === 'deleted') return { ...row, state: 'deleting' };
              throw new Fault('not_found', `The instance ${row.name} was deleted meanwhile`);
            }
            row = now;
            if (state !== 'cloud-init') return row.state === state ? row : undefined;
            const boot = row.status.cloudInit;
            if (boot?.status !== 'error') return boot?.status === 'done' || boot?.status === 'none' || boot?.status === 'recorded' ? row : undefined;
            throw new Fault('conflict', `Cloud-init of ${row.name} failed: ${boot.reason ?? ''}`, { hint: `cloud instance logs ${row.name} --cloud-init` });
          },
        });
        if (found !== undefined) return found;
        throw new Fault('timeout', `${row.name} is ${row.state}${row.reason === undefined ? '' : ` (${row.reason})`}, not ${state}, after ${timeout} s`, {
          hint: `cloud instance get ${row.name}`,
        });
      },

      ...bytesHandlers(context, driver),
    },
    controller: instanceController(context, driver),
    ...metadataPlane(context),
  };
});
