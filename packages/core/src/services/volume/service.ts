// Volumes: persistent, attached to one instance at a time. The attachment is written in the instance's spec; the claim here is what makes it exclusive.
import { DriverError, Fault } from '../../kernel/errors.ts';
import { service, Waiting } from '../../kernel/service.ts';
import { instances } from '../instance/contract.ts';
import { snapshots } from '../snapshot/contract.ts';
import { volumes } from './contract.ts';
import { volumePort } from './driver.ts';

const GIB = 2 ** 30;
const DEFAULT_SIZE = 10;

function unlessNotFound(error: unknown): undefined {
  if (!(error instanceof Fault) || error.code !== 'not_found') throw error;
}

export const volumeService = service(volumes, (context) => {
  const driver = context.driver(volumePort);
  return {
    needs: [volumePort],
    handlers: {
      async create(call) {
        const { name, labels, size: wanted, ...spec } = call.input;
        const from = call.refs['snapshot']?.[0];
        const least = (from?.status['size'] as number | undefined) ?? 1;
        if (from !== undefined && from.state !== 'available')
          throw new Fault('conflict', `The snapshot ${from.name} is ${from.state}`, { hint: `cloud snapshot get ${from.name}` });
        const size = wanted ?? (from === undefined ? DEFAULT_SIZE : least);
        if (size < least) {
          throw new Fault('invalid_input', `size: the snapshot ${from?.name} is of a volume of ${least} GiB`, {
            details: [{ path: 'size', message: `give ${least} or more` }],
          });
        }
        return call.rows.insert({ name, labels, spec: { ...spec, size }, status: { sizeEnforced: driver.capabilities.sizeEnforced } });
      },

      async resize(call) {
        const volume = call.target;
        const { size } = call.input;
        if (size < volume.spec.size) {
          throw new Fault('invalid_input', `size: ${volume.name} has ${volume.spec.size} GiB, and a volume cannot shrink`, {
            details: [{ path: 'size', message: `${volume.name} has ${volume.spec.size} GiB, and a volume cannot shrink; give ${volume.spec.size} or more` }],
          });
        }
        if (size > volume.spec.size && volume.status.instanceId !== undefined && !driver.capabilities.onlineResize) {
          // Whoever may resize a volume learns what keeps it from being resized.
          const instance = await call.systemClient(call.tenantId, { instance: instances }).instance.get(volume.status.instanceId);
          if (instance.state === 'running' || instance.state === 'paused') {
            throw new Fault('conflict', `${volume.name} is in use by ${instance.name}, and this driver cannot resize a volume in use`, {
              hint: `cloud instance stop ${instance.name}`,
            });
          }
        }
        return call.rows.update(volume, { spec: { size } });
      },

      async attach(call) {
        const instance = call.refs['instance']?.[0];
        if (instance === undefined) throw new Error('the instance was not resolved');
        const { path, readOnly, allowRestart } = call.input;
        await call.client({ instance: instances }).instance.attachVolume(instance.id, { volume: call.target.id, path, readOnly, allowRestart });
        call.follow('instance', instance.id);
        return call.rows.get(call.target.id);
      },

      async detach(call) {
        const { instanceId } = call.target.status;
        if (instanceId === undefined) throw new Fault('conflict', `${call.target.name} is not attached to an instance`);
        await call.client({ instance: instances }).instance.detachVolume(instanceId, { volume: call.target.id, allowRestart: call.input.allowRestart });
        call.follow('instance', instanceId);
        return call.rows.get(call.target.id);
      },

      async snapshot(call) {
        const made = await call.client({ snapshot: snapshots }).snapshot.create({ name: call.input.name, volume: call.target.id });
        call.follow('snapshot', made.id);
        return made as never;
      },

      async delete(call) {
        const { name, status } = call.target;
        if (status.instance !== undefined) {
          throw new Fault('conflict', `The volume ${name} is attached to the instance ${status.instance}`, {
            details: { usedBy: [{ resource: 'instance', name: status.instance, id: status.instanceId }] },
            hint: `cloud volume detach ${name}`,
          });
        }
        return call.rows.delete(call.target);
      },

      async claim(call) {
        const volume = call.target;
        if (volume.deletedAt !== undefined) throw new Fault('conflict', `The volume ${volume.name} is being deleted`);
        const { instance, instanceId, path, readOnly } = call.input;
        if (volume.status.instanceId !== undefined && volume.status.instanceId !== instanceId) {
          throw new Fault('conflict', `The volume ${volume.name} is attached to ${volume.status.instance}`, {
            hint: `cloud volume detach ${volume.name}`,
            details: { attachedTo: { name: volume.status.instance, id: volume.status.instanceId } },
          });
        }
        return call.rows.report(volume, { state: volume.state === 'available' ? 'in-use' : volume.state, status: { instance, instanceId, path, readOnly } });
      },

      async release(call) {
        const volume = call.target;
        const { instanceId } = call.input;
        if (volume.status.instanceId !== instanceId) return volume;
        // Attached again to the same instance while it was letting go: then the claim is the new attachment's.
        const user = await call.client({ instance: instances }).instance.get(instanceId).catch(unlessNotFound);
        if (user !== undefined && user.state !== 'deleting' && user.volumes.some((mount) => mount.volumeId === volume.id)) return volume;
        return call.rows.report(volume, {
          state: volume.state === 'in-use' ? 'available' : volume.state,
          status: { instance: null, instanceId: null, path: null, readOnly: null },
        });
      },
    },
    controller: {
      async reconcile(volume, { signal, report, event }) {
        const { made } = volume.status as { made?: boolean };
        if (made === true && (await driver.inspect(volume.id)) === undefined) {
          // An empty volume in the place of one with data would look healthy to the program that trusted it.
          if (driver.capabilities.durable)
            throw new DriverError('bad_spec', `The data of ${volume.name} is gone from the backend`, {
              hint: 'cloud volume create <name> --snapshot <snapshot>',
            });
          await event('recreated', `Volume ${volume.name} was gone from the backend and is made anew, empty`);
        }
        // Looked at only while the volume is new: afterwards the snapshot may be gone.
        const fromSnapshot = made === true ? undefined : volume.spec.snapshotId;
        const observed = await driver.ensure(
          { id: volume.id, sizeBytes: volume.spec.size * GIB, ...(fromSnapshot === undefined ? {} : { fromSnapshot }) },
          signal,
        );
        await report({
          state: volume.status.instanceId === undefined ? 'available' : 'in-use',
          reason: null,
          status: { sizeEnforced: observed.sizeBytes !== undefined, usedBytes: observed.usedBytes ?? null, ...{ made: true } },
        });
      },
      async remove(volume, { signal, client }) {
        // A snapshot that is being made still reads from it.
        const { snapshot } = client({ snapshot: snapshots });
        for (let cursor: string | undefined; ; ) {
          const page = await snapshot.list(cursor === undefined ? {} : { cursor });
          const reading = page.items.find(({ volumeId, state }) => volumeId === volume.id && state === 'pending');
          if (reading !== undefined) throw new Waiting(`waiting for the snapshot ${reading.name}`, 500);
          cursor = page.cursor;
          if (cursor === undefined) break;
        }
        await driver.remove(volume.id, signal);
      },
      async differing(rows) {
        const present = new Set((await driver.list()).map((found) => found.id));
        return rows.filter((row) => !present.has(row.id)).map((row) => row.id);
      },
      reap: { list: () => driver.list(), remove: (id, signal) => driver.remove(id, signal) },
      concurrency: 4,
    },
  };
});
