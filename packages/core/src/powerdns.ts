// Which PowerDNS serves the zones when it is not one of our own: said in the environment or by an embedding program.
import { isIPv4 } from 'node:net';
import { join } from 'node:path';
import { z } from 'zod';
import type { Clock } from './kernel/clock.ts';
import type { DriverSet } from './kernel/driver.ts';
import { Fault } from './kernel/errors.ts';
import type { Log } from './kernel/log.ts';

const NAME = 'CLOUD_POWERDNS';
/** Everything that may hold the key. */
export const POWERDNS_VARIABLES = [`${NAME}_URL`, `${NAME}_API_KEY`, `${NAME}_DNS`] as const;
const DNS_PORT = 53;

/** A PowerDNS (authoritative, 4.7 or newer) that runs already. Others may use it, too: zones of this installation carry its id as account. */
export interface PowerDnsOptions {
  /** Of its HTTP API: `http://127.0.0.1:8081`. */
  url: string;
  apiKey: string;
  /** Where it answers questions: `127.0.0.1:5300`. Default: the host of the API, port 53. */
  dns?: string | undefined;
}

const wrong = (variable: string, message: string): Fault =>
  new Fault('invalid_input', `${variable} is not right: ${message}`, { hint: `export ${NAME}_URL=http://127.0.0.1:8081 ${NAME}_DNS=127.0.0.1:5300` });

/** What the environment says; undefined: one of our own. No message repeats the key. */
export function powerDnsFrom(environment: Readonly<Record<string, string | undefined>>): PowerDnsOptions | undefined {
  const url = environment[`${NAME}_URL`];
  if (!url) return undefined;
  const apiKey = environment[`${NAME}_API_KEY`];
  if (!apiKey) throw wrong(`${NAME}_API_KEY`, 'the key of its API is missing');
  return { url, apiKey, dns: environment[`${NAME}_DNS`] || undefined };
}

/** As its driver wants it. `invalid_input` for what is not right. */
function addressOf({ url, apiKey, dns }: PowerDnsOptions): { api: string; key: string; dns: { host: string; port: number } } {
  if (!z.url({ protocol: /^https?$/ }).safeParse(url).success) throw wrong(`${NAME}_URL`, 'use an address such as http://127.0.0.1:8081');
  const address = new URL(url);
  if (address.username !== '' || address.password !== '') throw wrong(`${NAME}_URL`, 'it has credentials in it, where every log would show them');
  if (/[\r\n]/.test(apiKey)) throw wrong(`${NAME}_API_KEY`, 'it has more than one line');
  const [host = '', port = String(DNS_PORT), ...rest] = (dns ?? (address.hostname === 'localhost' ? '127.0.0.1' : address.hostname)).split(':');
  if (!isIPv4(host) || rest.length > 0 || !/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535) {
    throw wrong(`${NAME}_DNS`, 'use an IPv4 address and a port, such as 127.0.0.1:5300');
  }
  return { api: address.href.replace(/\/+$/, ''), key: apiKey, dns: { host, port: Number(port) } };
}

/** The same set with zones in PowerDNS: in the given one, else one of our own. `invalid_input` for options that are not right. */
export async function withPowerDns(
  set: DriverSet,
  { server, installation, dataDir, clock, log }: { server?: PowerDnsOptions; installation: string; dataDir: string; clock: Clock; log: Log },
): Promise<DriverSet> {
  const given = server === undefined ? undefined : addressOf(server);
  const { PowerDns } = await import('./drivers/powerdns/index.ts');
  const dns = new PowerDns({ installation, directory: join(dataDir, 'powerdns'), server: given, clock, log });
  return {
    name: set.name,
    drivers: { ...set.drivers, dns },
    close: async () => {
      try {
        await dns.close();
      } finally {
        await set.close();
      }
    },
  };
}
