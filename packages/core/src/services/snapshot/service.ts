// Snapshots: copies of volumes that outlive them.
import { Fault } from '../../kernel/errors.ts';
import { service } from '../../kernel/service.ts';
import { volumePort } from '../volume/driver.ts';
import { snapshots } from './contract.ts';

export const snapshotService = service(snapshots, (context) => {
  const driver = context.driver(volumePort);
  return {
    needs: [volumePort],
    handlers: {
      async create(call) {
        const { name, labels, ...spec } = call.input;
        const volume = call.refs['volume']?.[0];
        if (volume === undefined) throw new Error('the volume was not resolved');
        if (volume.state === 'pending' || volume.state === 'error') {
          throw new Fault('conflict', `The volume ${volume.name} is ${volume.state}${volume.reason === undefined ? '' : `: ${volume.reason}`}`, {
            hint: `cloud volume get ${volume.name}`,
          });
        }
        return call.rows.insert({ name, labels, spec, status: { size: volume.spec['size'] as number } });
      },
    },
    controller: {
      async reconcile(snapshot, { signal, report }) {
        // A snapshot is made once. One that got lost is not made again from a volume that has gone on since.
        if (snapshot.state === 'available') {
          const present = (await driver.listSnapshots()).some((found) => found.id === snapshot.id);
          if (!present) await report({ state: 'error', reason: 'its data is gone from the backend' });
          return;
        }
        if (snapshot.state === 'error' && snapshot.observed >= snapshot.generation && snapshot.status.sizeBytes !== undefined) return;
        const { sizeBytes } = await driver.ensureSnapshot({ id: snapshot.id, volumeId: snapshot.spec.volumeId as string }, signal);
        await report({ state: 'available', reason: null, status: { sizeBytes } });
      },
      async remove(snapshot, { signal }) {
        await driver.removeSnapshot(snapshot.id, signal);
      },
      async differing(rows) {
        const present = new Set((await driver.listSnapshots()).map((found) => found.id));
        return rows.filter((row) => (row.state === 'available') !== present.has(row.id)).map((row) => row.id);
      },
      reap: { list: () => driver.listSnapshots(), remove: (id, signal) => driver.removeSnapshot(id, signal) },
      concurrency: 2,
    },
  };
});
