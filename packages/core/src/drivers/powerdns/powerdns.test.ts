// A real PowerDNS of our own, as the daemon runs it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'vitest';
import { systemClock } from '../../kernel/clock.ts';
import { conformance } from '../../services/zone/driver.conformance.ts';
import { PowerDns } from './index.ts';
import { findProgram } from './server.ts';

describe.skipIf(findProgram('pdns_server') === undefined)('PowerDNS', () => {
  conformance('PowerDNS', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'cloud-dns-'));
    const driver = new PowerDns({ installation: 'cloud-0000000000000000', directory: join(directory, 'powerdns'), clock: systemClock });
    return {
      driver,
      close: async () => {
        await driver.close();
        rmSync(directory, { recursive: true, force: true });
      },
    };
  });
});
