// DNS: how long after a change it is answered, and how many questions a second our resolver answers beside PowerDNS alone. Both are asked by dnsperf, on this machine.
import { execFile } from 'node:child_process';
import { Resolver as Client } from 'node:dns/promises';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { PowerDns } from '../packages/core/src/drivers/powerdns/index.ts';
import { zonesOf } from '../packages/core/src/services/zone/content.ts';
import { Door } from '../packages/core/src/services/zone/door.ts';
import { zoneInside } from '../packages/core/src/services/zone/names.ts';
import { Resolver, viewOf } from '../packages/core/src/services/zone/resolver.ts';
import type { VpcFacts } from '../packages/core/src/services/zone/rows.ts';
import { type Bench, type Case, inTurns } from './case.ts';
import { temporary } from './daemon.ts';

const RECORDS = 1000;
const SECONDS = 3;
const ALONE = 'PowerDNS alone';

const visible: Case = {
  name: 'dns: a change of one of 1,000 records until it is answered',
  unit: 'ms',
  subjects: ['resolver of a VPC'],
  goals: [{ most: 1000 }],
};
const answering: Case = { name: 'dns: questions answered', unit: '/s', subjects: ['resolver of a VPC', ALONE], goals: [] };

const execute = promisify(execFile);
const silent = { debug() {}, info() {}, warn() {}, error() {} };

const facts = (first: string): VpcFacts => ({
  id: 'vpc-0000000000000000',
  tenantId: 'tnt-0000000000000000',
  cidr: '127.0.0.0/16',
  gateway: '127.0.0.1',
  ready: true,
  internet: false,
  instances: [],
  zones: [
    {
      id: 'zone-0000000000000000',
      domain: 'prod.internal',
      ttl: 60,
      autoRegister: false,
      createdAt: 0,
      records: Array.from({ length: RECORDS }, (_, n) => ({
        fqdn: `n${n}.prod.internal`,
        type: 'A' as const,
        values: [n === 0 ? first : `10.20.${n >> 8}.${n & 255}`],
      })),
    },
  ],
});

export const bench: Bench = {
  name: 'dns',
  cases: [visible, answering],
  obstacle: async () => (existsSync('/usr/sbin/pdns_server') && existsSync('/usr/bin/dnsperf') ? undefined : 'PowerDNS or dnsperf is not installed'),
  open: async (stack) => {
    const directory = await temporary(stack);
    const driver = new PowerDns({ installation: 'cloud-bench', directory: join(directory, 'powerdns') });
    stack.defer(() => driver.close());
    const { signal } = new AbortController();
    const publish = async (first: string): Promise<void> => {
      for (const zone of zonesOf(facts(first))) await driver.ensure(zoneInside(zone, facts(first).id), signal);
    };
    await publish('10.20.0.0');
    const resolver = new Resolver({ driver, upstream: { ask: () => Promise.reject(new Error('nothing is asked outside')) }, log: silent });
    const door = new Door(
      viewOf(facts('10.20.0.0')),
      (...of) => resolver.answer(...of),
      () => undefined,
    );
    await door.open('127.0.0.1', 0);
    stack.defer(() => door.close());
    const client = new Client({ timeout: 1000 });
    client.setServers([`127.0.0.1:${door.port}`]);

    const questions = async (name: string, suffix: string): Promise<string> => {
      const file = join(directory, name);
      await writeFile(file, Array.from({ length: RECORDS }, (_, n) => `n${n}.prod.internal${suffix} A`).join('\n'));
      return file;
    };
    const ours = await questions('ours', '');
    const theirs = await questions('theirs', `.${facts('').id}`);
    const perSecond = async (port: number, file: string) => {
      const { stdout } = await execute('dnsperf', ['-s', '127.0.0.1', '-p', String(port), '-d', file, '-l', String(SECONDS), '-c', '4', '-q', '100']);
      const number = (pattern: RegExp): number => Number(pattern.exec(stdout)?.[1] ?? Number.NaN);
      if (number(/Queries lost:\s+(\d+)/) > 0) throw new Error(`questions were lost: ${stdout}`);
      return { value: number(/Queries per second:\s+([\d.]+)/) };
    };

    let change = 0;
    return async (take, round) => {
      for (let n = 0; n < 10; n++) {
        const address = `10.99.${change >> 8}.${change++ & 255}`;
        const begun = performance.now();
        await publish(address);
        while ((await client.resolve4('n0.prod.internal'))[0] !== address);
        take(visible)('resolver of a VPC', { value: performance.now() - begun });
      }
      await inTurns(round, [
        async () => take(answering)('resolver of a VPC', await perSecond(door.port, ours)),
        async () => take(answering)(ALONE, await perSecond(driver.address?.dns.port ?? 0, theirs)),
      ]);
    };
  },
};
