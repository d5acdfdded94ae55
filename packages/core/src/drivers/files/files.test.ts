// The files driver under the conformance suite, and what only it can show: what lies on the disk.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { objectStoreConformance } from '../../services/bucket/driver.conformance.ts';
import { FilesObjectStore } from './index.ts';

objectStoreConformance('files', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'cloud-objects-'));
  let driver = new FilesObjectStore({ directory: join(directory, 'objects') });
  return {
    driver,
    reopen: async () => {
      await driver.close();
      driver = new FilesObjectStore({ directory: join(directory, 'objects') });
      return driver;
    },
    close: async () => {
      await driver.close();
      rmSync(directory, { recursive: true });
    },
  };
});
