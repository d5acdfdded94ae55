// The machine's own addresses, also those that no interface tells of.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { postTo, refuseHost } from './webhook.ts';

const real = await vi.importActual<typeof import('node:os')>('node:os');
vi.mock('node:os', async (original) => ({ ...(await original<typeof import('node:os')>()), networkInterfaces: () => ({}) }));
afterEach(() => vi.unstubAllEnvs());

const own = Object.values(real.networkInterfaces())
  .flatMap((each) => each ?? [])
  .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'));

test('an address of an interface that is not listed is the machine all the same', async () => {
  vi.stubEnv('CLOUD_WEBHOOKS_TO_HOST', '');
  const server = createServer((_, response) => response.end()).listen(0, '0.0.0.0');
  try {
    await new Promise((done) => server.once('listening', done));
    const { port } = server.address() as AddressInfo;
    for (const { address, family } of own) {
      const host = family === 'IPv6' ? `[${address}]` : address;
      expect(await refuseHost(host), host).toContain('the machine itself');
      const post = postTo(`http://${host}:${port}/`, '{}', { id: 'a', version: '1', signal: AbortSignal.timeout(5000) });
      await expect(post, host).rejects.toThrow('the machine itself');
    }
    vi.stubEnv('CLOUD_WEBHOOKS_TO_HOST', '1');
    for (const { address, family } of own) if (family === 'IPv4') expect(await refuseHost(address), address).toBeUndefined();
  } finally {
    server.close();
  }
});
