// What is said of a PowerDNS that is given: read once, and no message repeats the key.
import { expect, test } from 'vitest';
import { systemClock } from './kernel/clock.ts';
import { silent } from './kernel/log.ts';
import { powerDnsFrom, withPowerDns } from './powerdns.ts';
import { faultOf } from './testing/bench.ts';

const none = { name: 'none', drivers: {}, close: async () => {} };
const common = { installation: 'cloud-x', dataDir: '/nonexistent', clock: systemClock, log: silent };

test('nothing said: one of our own; an address needs its key', async () => {
  expect(powerDnsFrom({})).toBeUndefined();
  expect(powerDnsFrom({ CLOUD_POWERDNS_URL: 'http://127.0.0.1:8081', CLOUD_POWERDNS_API_KEY: 'k' })).toEqual({
    url: 'http://127.0.0.1:8081',
    apiKey: 'k',
    dns: undefined,
  });
  expect(() => powerDnsFrom({ CLOUD_POWERDNS_URL: 'http://127.0.0.1:8081' })).toThrow('the key of its API is missing');
});

test('what is not right is refused without the key in the message', async () => {
  for (const [server, message] of [
    [{ url: '127.0.0.1:8081' }, 'use an address'],
    [{ url: 'ftp://127.0.0.1' }, 'use an address'],
    [{ url: 'http://me:pass@127.0.0.1:8081' }, 'it has credentials in it'],
    [{ url: 'http://dns.example:8081' }, 'use an IPv4 address and a port'],
    [{ url: 'http://127.0.0.1:8081', dns: '127.0.0.1:99999' }, 'use an IPv4 address and a port'],
    [{ url: 'http://127.0.0.1:8081', apiKey: 'topsecret\nx' }, 'more than one line'],
  ] as const) {
    const fault = await faultOf(withPowerDns(none, { ...common, server: { apiKey: 'topsecret', ...server } }));
    expect(fault, message).toMatchObject({ code: 'invalid_input', message: expect.stringContaining(message) });
    expect(JSON.stringify(fault)).not.toMatch(/topsecret|pass@/);
  }
  const set = await withPowerDns(none, { ...common, server: { url: 'http://localhost:8081/', apiKey: 'k', dns: '127.0.0.1:5300' } });
  expect(Object.keys(set.drivers)).toEqual(['dns']);
  await set.close();
});
