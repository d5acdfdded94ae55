// The process that volume-crash.test.ts kills: a driver of its own that carries out one call.
import { silent } from '../../kernel/log.ts';
import type { SnapshotSpec, VolumeSpec } from '../../services/volume/driver.ts';
import { DockerClient } from './client.ts';
import { DockerVolume, type DockerVolumeOptions } from './volume.ts';

export interface CrashPlan {
  installation: string;
  dataDir: string;
  options: DockerVolumeOptions;
  ensure?: VolumeSpec;
  snapshot?: SnapshotSpec;
  remove?: string;
}

const plan = JSON.parse(process.argv[2] ?? '') as CrashPlan;
const signal = new AbortController().signal;
const client = new DockerClient({ installation: plan.installation, dataDir: plan.dataDir, log: silent });
const driver = await DockerVolume.create(client, plan.options);
process.stdout.write('ready\n');
if (plan.ensure !== undefined) await driver.ensure(plan.ensure, signal);
if (plan.snapshot !== undefined) await driver.ensureSnapshot(plan.snapshot, signal);
if (plan.remove !== undefined) await driver.remove(plan.remove, signal);
process.stdout.write('done\n');
