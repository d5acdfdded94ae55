// What every DNS driver promises. Run with `conformance(name, open)` from the driver's own test file.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { valueOf } from '../../kernel/dns/rdata.ts';
import { decode, encode, FLAGS, IN, nameOf, RCODES, rcodeName, TYPES, textOf, typeName } from '../../kernel/dns/wire.ts';
import type { DnsDriver, RecordSet, ZoneContent } from './driver.ts';

const signal = new AbortController().signal;
const zone = (name: string, records: RecordSet[], negativeTtl = 5): ZoneContent => ({
  name,
  negativeTtl,
  records: [...records, { name, type: 'NS', ttl: 60, values: [`ns.${name}`] }].sort((a, b) => (`${a.name} ${a.type}` < `${b.name} ${b.type}` ? -1 : 1)),
});
const a = (name: string, ...values: string[]): RecordSet => ({ name, type: 'A', ttl: 60, values });

export async function ask(driver: DnsDriver, name: string, type: keyof typeof TYPES = 'A') {
  const question = { name: nameOf(name), type: TYPES[type], class: IN };
  const edns = { size: 4096, version: 0, extended: 0 };
  const asked = encode({ id: 4711, flags: FLAGS.RD, rcode: RCODES.NOERROR, question, answers: [], authority: [], additional: [], edns });
  const message = decode(await driver.query(asked, signal));
  expect(message.id).toBe(4711);
  expect(message.flags & FLAGS.TC).toBe(0);
  return {
    status: rcodeName(message.rcode),
    answers: message.answers.map((record) => `${textOf(record.name)} ${record.ttl} ${typeName(record.type)} ${valueOf(record)}`).sort(),
    authority: message.authority.map((record) => `${textOf(record.name)} ${typeName(record.type)}`),
  };
}

export function conformance(name: string, open: () => Promise<{ driver: DnsDriver; close(): Promise<void> }>): void {
  describe(`${name}: a DNS driver`, () => {
    let driver: DnsDriver;
    let close: () => Promise<void>;
    beforeAll(async () => {
      ({ driver, close } = await open());
    }, 30_000);
    afterAll(() => close());
    let n = 0;
    const fresh = (): string => `z${n++}.internal.vpc-0000000000000000.`;

    test('a zone answers as soon as it is made, and knows what is not in it', async () => {
      const z = fresh();
      await driver.ensure(zone(z, [a(`www.${z}`, '10.0.0.1', '10.0.0.2')]), signal);
      expect(await ask(driver, `www.${z}`)).toMatchObject({ status: 'NOERROR', answers: [`www.${z} 60 A 10.0.0.1`, `www.${z} 60 A 10.0.0.2`] });
      expect(await ask(driver, `www.${z}`, 'AAAA')).toEqual({ status: 'NOERROR', answers: [], authority: [`${z} SOA`] });
      expect(await ask(driver, `nobody.${z}`)).toEqual({ status: 'NXDOMAIN', answers: [], authority: [`${z} SOA`] });
      expect((await ask(driver, 'www.elsewhere.')).status).toBe('REFUSED');
    });

    test('every type has its values', async () => {
      const z = fresh();
      const values: Record<string, string[]> = {
        A: ['10.0.0.1'],
        AAAA: ['fd00::9'],
        MX: [`10 mail.${z}`, `20 ${z}`],
        TXT: ['"v=spf1 -all"', '"two" "pieces"', '"a \\"quote\\" and \\\\"'],
        SRV: [`0 5 5060 sip.${z}`],
        CAA: ['0 issue "ca.example.net"'],
        PTR: [`www.${z}`],
      };
      await driver.ensure(
        zone(z, [
          ...Object.entries(values).map(([type, of]) => ({ name: `all.${z}`, type, ttl: 300, values: of })),
          { name: `alias.${z}`, type: 'CNAME', ttl: 300, values: [`all.${z}`] },
        ]),
        signal,
      );
      for (const [type, of] of Object.entries(values)) {
        expect((await ask(driver, `all.${z}`, type as 'A')).answers, type).toEqual(of.map((value) => `all.${z} 300 ${type} ${value}`).sort());
      }
      expect((await ask(driver, z, 'NS')).answers).toEqual([`${z} 60 NS ns.${z}`]);
      expect((await ask(driver, z, 'SOA')).answers).toHaveLength(1);
      expect((await ask(driver, `alias.${z}`)).answers).toEqual([`alias.${z} 300 CNAME all.${z}`, `all.${z} 300 A 10.0.0.1`]);
      expect((await ask(driver, `alias.${z}`, 'CNAME')).answers).toEqual([`alias.${z} 300 CNAME all.${z}`]);
    });

    test('a wildcard stands for names that are not there, and for nothing below those that are', async () => {
      const z = fresh();
      await driver.ensure(zone(z, [a(`*.${z}`, '10.0.0.9'), a(`www.${z}`, '10.0.0.1'), a(`deep.below.${z}`, '10.0.0.2')]), signal);
      expect((await ask(driver, `x.${z}`)).answers).toEqual([`x.${z} 60 A 10.0.0.9`]);
      expect((await ask(driver, `x.y.${z}`)).answers).toEqual([`x.y.${z} 60 A 10.0.0.9`]);
      expect((await ask(driver, `www.${z}`)).answers).toEqual([`www.${z} 60 A 10.0.0.1`]);
      expect((await ask(driver, `x.www.${z}`)).status).toBe('NXDOMAIN');
      expect(await ask(driver, `below.${z}`)).toMatchObject({ status: 'NOERROR', answers: [] });
    });

    test('an alias that leads out of the zones is answered by itself', async () => {
      const z = fresh();
      await driver.ensure(zone(z, [{ name: `out.${z}`, type: 'CNAME', ttl: 60, values: ['www.example.com.vpc-0000000000000000.'] }]), signal);
      expect((await ask(driver, `out.${z}`)).answers).toEqual([`out.${z} 60 CNAME www.example.com.vpc-0000000000000000.`]);
    });

    test('a change is answered at once, and what was not there before, too', async () => {
      const z = fresh();
      await driver.ensure(zone(z, [a(`www.${z}`, '10.0.0.1')]), signal);
      for (let value = 2; value < 8; value++) {
        expect((await ask(driver, `new-${value}.${z}`)).status).toBe('NXDOMAIN');
        await driver.ensure(zone(z, [a(`www.${z}`, `10.0.0.${value}`), a(`new-${value}.${z}`, '10.0.0.1')]), signal);
        expect((await ask(driver, `www.${z}`)).answers).toEqual([`www.${z} 60 A 10.0.0.${value}`]);
        expect((await ask(driver, `new-${value}.${z}`)).answers).toHaveLength(1);
      }
      expect((await ask(driver, `new-2.${z}`)).status).toBe('NXDOMAIN');
    });

    test('records become an alias, and an alias records', async () => {
      const z = fresh();
      const alias: RecordSet = { name: `www.${z}`, type: 'CNAME', ttl: 60, values: [`other.${z}`] };
      await driver.ensure(zone(z, [a(`www.${z}`, '10.0.0.1')]), signal);
      await driver.ensure(zone(z, [alias]), signal);
      expect((await ask(driver, `www.${z}`)).answers).toEqual([`www.${z} 60 CNAME other.${z}`]);
      await driver.ensure(zone(z, [a(`www.${z}`, '10.0.0.1')]), signal);
      expect((await ask(driver, `www.${z}`)).answers).toEqual([`www.${z} 60 A 10.0.0.1`]);
    });

    test('it tells what it has, and has what it was told', async () => {
      const z = fresh();
      const content = zone(z, [a(`www.${z}`, '10.0.0.1')], 7);
      expect(await driver.inspect(z, signal)).toBeUndefined();
      await driver.ensure(content, signal);
      expect(await driver.inspect(z, signal)).toEqual(content);
      await driver.ensure({ ...content, negativeTtl: 9 }, signal);
      expect(await driver.inspect(z, signal)).toEqual({ ...content, negativeTtl: 9 });
      expect((await driver.list()).map(({ id }) => id)).toContain(z);
      await driver.remove(z, signal);
      await driver.remove(z, signal);
      expect(await driver.inspect(z, signal)).toBeUndefined();
      expect((await driver.list()).map(({ id }) => id)).not.toContain(z);
      expect((await ask(driver, `www.${z}`)).status).toBe('REFUSED');
      await driver.ensure(content, signal);
      expect((await ask(driver, `www.${z}`)).answers).toHaveLength(1);
    });

    test('many changes of many zones at once', async () => {
      const zones = Array.from({ length: 20 }, fresh);
      await Promise.all(zones.flatMap((z) => [1, 2, 3].map((value) => driver.ensure(zone(z, [a(`www.${z}`, `10.0.0.${value}`)]), signal))));
      for (const z of zones) expect((await ask(driver, `www.${z}`)).answers).toEqual([`www.${z} 60 A 10.0.0.3`]);
    });

    test('an answer that no packet holds is whole', async () => {
      const z = fresh();
      const values = Array.from({ length: 400 }, (_, index) => `10.1.${Math.floor(index / 250)}.${index % 250}`);
      await driver.ensure(zone(z, [a(`many.${z}`, ...values)]), signal);
      expect((await ask(driver, `many.${z}`)).answers).toHaveLength(400);
    });

    test('answers find their questions', async () => {
      const z = fresh();
      const names = Array.from({ length: 200 }, (_, index) => `n${index}.${z}`);
      await driver.ensure(
        zone(
          z,
          names.map((name, index) => a(name, `10.2.0.${index}`)),
        ),
        signal,
      );
      const answers = await Promise.all(names.map((name) => ask(driver, name)));
      expect(answers.map(({ answers: [answer] }) => answer)).toEqual(names.map((name, index) => `${name} 60 A 10.2.0.${index}`));
    });
  });
}
