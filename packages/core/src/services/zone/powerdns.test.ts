// The service with a real PowerDNS behind it: a crowd of instances, and tenants who ask for each other's names in every way there is.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { memoryDrivers } from '../../drivers/memory/index.ts';
import { PowerDns } from '../../drivers/powerdns/index.ts';
import { findProgram } from '../../drivers/powerdns/server.ts';
import { type Bench, bench } from '../../testing/bench.ts';

async function withPowerDns(): Promise<Bench & { dns: PowerDns }> {
  const drivers = memoryDrivers();
  const { mkdtempSync, rmSync } = await import('node:fs');
  const { tmpdir } = await import('node:os');
  const folder = mkdtempSync(join(tmpdir(), 'cloud-dns-'));
  const dns = new PowerDns({ installation: 'cloud-test', directory: join(folder, 'powerdns') });
  const b = await bench({ drivers: { ...drivers, drivers: { ...drivers.drivers, dns: dns as never } } });
  const close = async (): Promise<void> => {
    await b.close();
    await dns.close();
    rmSync(folder, { recursive: true, force: true });
  };
  return { ...b, dns, close, [Symbol.asyncDispose]: close };
}
const valuesOf = async (b: Bench, name: string, vpc: string, tenant?: string) =>
  (await b.cloud.dns.dig({ name, vpc }, tenant === undefined ? {} : { tenant })).answers.map(({ value }) => value);

describe.skipIf(findProgram('pdns_server') === undefined)('zones in PowerDNS', () => {
  test('two hundred instances at once lose none, also when the server is killed meanwhile', async () => {
    await using b = await withPowerDns();
    await b.ready(b.cloud.vpc.create({ name: 'prod', cidr: '10.20.0.0/20' }));
    await b.ready(b.cloud.zone.create({ name: 'prod.internal', vpc: 'prod' }));
    const names = Array.from({ length: 200 }, (_, n) => `i-${n}`);
    const coming = Promise.all(names.map((name) => b.ready(b.cloud.instance.create({ name, image: 'busybox', vpc: 'prod' }))));
    await b.until(async () => (await b.cloud.zone.get('prod.internal')).registered > 20);
    process.kill(b.dns.pid as number, 'SIGKILL');
    const made = await coming;
    await b.until(async () => (await valuesOf(b, 'i-199.prod.internal', 'prod')).length === 1);
    for (const { name, address } of made) {
      await b.until(async () => (await valuesOf(b, `${name}.prod.internal`, 'prod')).join() === address);
      await b.until(async () => (await valuesOf(b, address as string, 'prod')).join() === `${name}.prod.internal.`);
    }
    await Promise.all(names.slice(0, 100).map((name) => b.ended(b.cloud.instance.delete(name))));
    await b.until(async () => (await b.cloud.zone.get('prod.internal')).registered === 100);
    await b.until(async () => (await valuesOf(b, 'i-99.prod.internal', 'prod')).length === 0);
    for (const [n, name] of names.entries()) expect(await valuesOf(b, `${name}.prod.internal`, 'prod'), name).toHaveLength(n < 100 ? 0 : 1);
  }, 90_000);

  test('no name of one VPC is answered in another, in whatever way it is spelt', async () => {
    await using b = await withPowerDns();
    await b.tenant('other');
    const ids: string[] = [];
    for (const [index, [vpc, tenant]] of (
      [
        ['red', undefined],
        ['blue', undefined],
        ['red', 'other'],
      ] as const
    ).entries()) {
      const of = tenant === undefined ? {} : { tenant };
      ids.push((await b.cloud.vpc.create({ name: vpc, cidr: `10.${index}.0.0/20` }, of)).id);
      const name = vpc === 'blue' ? 'prod.internal@blue' : 'prod.internal';
      await b.cloud.zone.create({ name, vpc }, of);
      await b.cloud.record.create({ name: `only-${index}`, zone: name, type: 'A', values: [`10.${index}.0.9`] }, of);
      await b.cloud.record.create({ name: 'same', zone: name, type: 'A', values: [`10.${index}.0.8`] }, of);
      await b.cloud.record.create({ name: '*', zone: name, type: 'TXT', values: [`wildcard ${index}`] }, of);
    }
    await b.cloud.zone.create({ name: ids[2] as string, vpc: 'red' });
    await b.cloud.record.create({ name: 'alias', zone: 'prod.internal', type: 'CNAME', values: [`only-2.prod.internal.${ids[2]}.`] });
    await b.until(async () => (await valuesOf(b, 'same.prod.internal', 'red', 'other')).length === 1);
    const views = [
      ['red', undefined],
      ['blue', undefined],
      ['red', 'other'],
    ] as const;
    for (const [mine, [vpc, tenant]] of views.entries()) {
      expect(await valuesOf(b, 'same.prod.internal', vpc, tenant)).toEqual([`10.${mine}.0.8`]);
      for (const theirs of [0, 1, 2]) {
        if (theirs === mine) continue;
        for (const name of [
          `only-${theirs}.prod.internal`,
          `only-${theirs}.prod.internal.${ids[theirs]}`,
          `only-${theirs}.prod.internal.${ids[theirs]}.${ids[mine]}`,
          `9.0.${theirs}.10.in-addr.arpa`,
        ])
          expect(await valuesOf(b, name, vpc, tenant), `${name} in ${vpc}`).toEqual([]);
      }
    }
    expect(await valuesOf(b, 'alias.prod.internal', 'red')).toEqual([`only-2.prod.internal.${ids[2]}.`]);
  });
});
