// The process of a daemon for tests of object storage, from the sources: instances in memory, objects in files as everywhere, S3 on a port of loopback.
//   node --conditions=@thecloud/source test/s3/serve.ts <data directory> <port, 0 for a free one>
import { join } from 'node:path';
import { FilesObjectStore } from '../../packages/core/src/drivers/files/index.ts';
import { memoryDrivers } from '../../packages/core/src/drivers/memory/index.ts';
import { createCore } from '../../packages/core/src/index.ts';
import { createLog, serve } from '../../packages/daemon/src/index.ts';

const [dataDir = '', port = '0'] = process.argv.slice(2);
process.umask(0o077);
const log = createLog({ file: join(dataDir, 'daemon.log'), level: 'info' });
const memory = memoryDrivers();
const files = new FilesObjectStore({ directory: join(dataDir, 'objects'), log });
const drivers = {
  ...memory,
  drivers: { ...memory.drivers, 'object-store': files },
  close: async () => void (await Promise.all([memory.close(), files.close()])),
};
const core = await createCore({ dataDir, log, start: false, drivers });
const daemon = await serve(core, { log, s3Listen: `127.0.0.1:${port}`, s3Legacy: process.env['CLOUD_S3_SIGNATURE_V2'] === '1' });
await core.start();
process.on('SIGTERM', () => void daemon.close().then(() => process.exit(0)));
process.stdout.write(`${JSON.stringify({ port: daemon.s3?.port })}\n`);
