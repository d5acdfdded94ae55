// Zones and records through the client: what is written is what is answered, in its VPC and nowhere else.
import { expect, test } from 'vitest';
import { memoryDrivers } from '../../drivers/memory/index.ts';
import { DriverError } from '../../kernel/errors.ts';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';

const values = async (b: Bench, name: string, vpc: string, type?: string) =>
  (await b.cloud.dns.dig({ name, vpc, ...(type === undefined ? {} : { type }) })).answers.map(({ value }) => value);
const status = async (b: Bench, name: string, vpc: string) => (await b.cloud.dns.dig({ name, vpc })).status;

async function withZone(): Promise<Bench> {
  const b = await bench();
  await b.ready(b.cloud.vpc.create({ name: 'prod', cidr: '10.20.0.0/20' }));
  await b.ready(b.cloud.zone.create({ name: 'prod.internal', vpc: 'prod' }));
  return b;
}

test('a record is answered, changed and gone', async () => {
  await using b = await withZone();
  const made = await b.cloud.record.create({ name: 'www', zone: 'prod.internal', type: 'A', values: ['10.20.0.9', '10.20.0.10'] });
  expect(made).toMatchObject({
    name: 'www.prod.internal/A',
    host: 'www',
    fqdn: 'www.prod.internal',
    values: ['10.20.0.9', '10.20.0.10'],
    zone: 'prod.internal',
  });
  await b.until(async () => (await values(b, 'www.prod.internal', 'prod')).length === 2);
  await b.cloud.record.update('www.prod.internal/A', { values: ['10.20.0.11'], ttl: 5 });
  await b.until(async () => (await values(b, 'WWW.prod.internal.', 'prod')).join() === '10.20.0.11');
  expect((await b.cloud.dns.dig({ name: 'www.prod.internal', vpc: 'prod' })).answers).toEqual([
    { name: 'www.prod.internal.', ttl: 5, type: 'A', value: '10.20.0.11' },
  ]);
  await b.cloud.record.delete('www.prod.internal/A');
  await b.until(async () => (await status(b, 'www.prod.internal', 'prod')) === 'NXDOMAIN');
});

test('running instances register themselves with their address, and are gone when they are', async () => {
  await using b = await withZone();
  const web = await b.ready(b.cloud.instance.create({ name: 'web', image: 'busybox', vpc: 'prod' }));
  await b.until(async () => (await values(b, 'web.prod.internal', 'prod')).join() === web.address);
  expect(await values(b, web.address as string, 'prod')).toEqual(['web.prod.internal.']);
  expect(await b.cloud.zone.get('prod.internal')).toMatchObject({ registered: 1, records: 0, domain: 'prod.internal' });
  await b.ended(b.cloud.instance.stop('web'));
  await b.until(async () => (await status(b, 'web.prod.internal', 'prod')) === 'NXDOMAIN');
  expect(await values(b, web.address as string, 'prod')).toEqual([]);
  await b.ended(b.cloud.instance.start('web'));
  await b.until(async () => (await values(b, 'web.prod.internal', 'prod')).length === 1);
  await b.ended(b.cloud.instance.delete('web'));
  await b.until(async () => (await status(b, 'web.prod.internal', 'prod')) === 'NXDOMAIN');
});

test('a record of one’s own wins over a registration, which the zone tells', async () => {
  await using b = await withZone();
  await b.ready(b.cloud.instance.create({ name: 'web', image: 'busybox', vpc: 'prod' }));
  await b.cloud.record.create({ name: 'web', zone: 'prod.internal', type: 'A', values: ['10.20.0.99'] });
  await b.until(async () => (await values(b, 'web.prod.internal', 'prod')).join() === '10.20.0.99');
  expect(await b.cloud.zone.get('prod.internal')).toMatchObject({ registered: 0, records: 1, shadowed: ['web'] });
  await b.cloud.record.delete('web.prod.internal/A');
  await b.until(async () => (await values(b, 'web.prod.internal', 'prod')).join() !== '10.20.0.99');
  expect((await b.cloud.zone.get('prod.internal')).shadowed).toBeUndefined();
  await b.ended(b.cloud.zone.update('prod.internal', { autoRegister: false }));
  await b.until(async () => (await status(b, 'web.prod.internal', 'prod')) === 'NXDOMAIN');
});

test('zones of the same domain in two VPCs, and two tenants, do not meet', async () => {
  await using b = await withZone();
  await b.tenant('other');
  await b.ready(b.cloud.vpc.create({ name: 'staging', cidr: '10.21.0.0/20' }));
  const other = { tenant: 'other' };
  const vpc = await b.cloud.vpc.create({ name: 'prod', cidr: '10.22.0.0/20' }, other);
  expect(vpc.name).toBe('prod');
  const taken = await faultOf(b.cloud.zone.create({ name: 'prod.internal', vpc: 'staging' }));
  expect(taken).toMatchObject({ code: 'conflict', hint: 'cloud zone create prod.internal@staging --vpc staging' });
  await b.ready(b.cloud.zone.create({ name: 'prod.internal@staging', vpc: 'staging' }));
  await b.cloud.zone.create({ name: 'prod.internal', vpc: 'prod' }, other);
  await b.cloud.record.create({ name: 'db', zone: 'prod.internal', type: 'A', values: ['10.20.0.1'] });
  await b.cloud.record.create({ name: 'db', zone: 'prod.internal@staging', type: 'A', values: ['10.21.0.1'] });
  await b.cloud.record.create({ name: 'only', zone: 'prod.internal@staging', type: 'TXT', values: ['here'] });
  await b.cloud.record.create({ name: 'db', zone: 'prod.internal', type: 'A', values: ['10.22.0.1'] }, other);
  await b.until(async () => (await b.cloud.dns.dig({ name: 'db.prod.internal', vpc: 'prod' }, other)).answers.length === 1);
  expect(await values(b, 'db.prod.internal', 'prod')).toEqual(['10.20.0.1']);
  expect(await values(b, 'db.prod.internal', 'staging')).toEqual(['10.21.0.1']);
  expect((await b.cloud.dns.dig({ name: 'db.prod.internal', vpc: 'prod' }, other)).answers.map(({ value }) => value)).toEqual(['10.22.0.1']);
  expect(await status(b, 'only.prod.internal', 'prod')).toBe('NXDOMAIN');
  expect(await faultOf(b.cloud.dns.dig({ name: 'db.prod.internal', vpc: 'staging' }, other))).toMatchObject({ code: 'not_found' });
  // Not even by the name that it has in the server.
  for (const { id } of (await b.cloud.vpc.list()).items) expect(await status(b, `db.prod.internal.${id}`, 'prod')).not.toBe('NOERROR');
});

test('what a value may be, and what would be right', async () => {
  await using b = await withZone();
  const refused = async (type: string, value: string, name = 'x') =>
    (await faultOf(b.cloud.record.create({ name, zone: 'prod.internal', type: type as 'A', values: [value] }))).message;
  expect(await refused('A', '10.20.0')).toBe('values: "10.20.0" is no IPv4 address such as 10.20.0.9');
  expect(await refused('A', 'fd00::1')).toBe('values: fd00::1 is an IPv6 address; use type AAAA');
  expect(await refused('AAAA', '10.0.0.1')).toBe('values: 10.0.0.1 is an IPv4 address; use type A');
  expect(await refused('CNAME', '10.0.0.1')).toContain('make an A record for 10.0.0.1');
  expect(await refused('CNAME', 'www.prod.internal')).toContain('write www.prod.internal. for the whole name');
  expect(await refused('MX', 'mail')).toBe('values: write it as a preference and a name: 10 mail');
  expect(await refused('MX', '70000 mail')).toBe('values: the preference is a number from 0 to 65535');
  expect(await refused('SRV', '0 5 sip')).toContain('0 5 5060 sip');
  expect(await refused('CAA', 'ca.example.net')).toContain('0 issue "ca.example.net"');
  expect(await refused('TXT', '"open')).toContain('a quote is not closed');
  expect(await refused('CNAME', 'www', '@')).toContain('the zone itself cannot be an alias');
  expect(await refused('CNAME', `${'a'.repeat(64)}.example.`)).toContain('is no name');
  expect((await faultOf(b.cloud.record.create({ name: 'WWW', zone: 'prod.internal', type: 'A', values: ['10.0.0.1'] }))).message).toContain('in lower case');
  expect((await b.cloud.record.list({ zone: 'prod.internal' })).items).toEqual([]);
  const text = await b.cloud.record.create({ name: 'text', zone: 'prod.internal', type: 'TXT', values: ['v=spf1 -all', 'x'.repeat(300)] });
  expect(text.values).toEqual(['"v=spf1 -all"', `"${'x'.repeat(255)}" "${'x'.repeat(45)}"`]);
  expect((await b.cloud.record.create({ name: '@', zone: 'prod.internal', type: 'MX', values: ['10 mail'] })).values).toEqual(['10 mail.prod.internal.']);
  expect((await b.cloud.record.create({ name: 'six', zone: 'prod.internal', type: 'AAAA', values: ['FD00:0:0::0001'] })).values).toEqual(['fd00::1']);
});

test('an alias stands alone', async () => {
  await using b = await withZone();
  await b.cloud.record.create({ name: 'www', zone: 'prod.internal', type: 'A', values: ['10.20.0.9'] });
  expect(await faultOf(b.cloud.record.create({ name: 'www', zone: 'prod.internal', type: 'CNAME', values: ['other'] }))).toMatchObject({
    code: 'conflict',
    hint: 'cloud record delete www.prod.internal/A',
  });
  await b.cloud.record.create({ name: 'alias', zone: 'prod.internal', type: 'CNAME', values: ['www'] });
  expect((await faultOf(b.cloud.record.create({ name: 'alias', zone: 'prod.internal', type: 'TXT', values: ['x'] }))).code).toBe('conflict');
  expect((await faultOf(b.cloud.record.create({ name: 'alias', zone: 'prod.internal', type: 'CNAME', values: ['x'] }))).code).toBe('conflict');
  await b.until(async () => (await values(b, 'alias.prod.internal', 'prod')).join() === 'www.prod.internal.,10.20.0.9');
});

test('a zone with records stays unless it is forced; a VPC with a zone stays', async () => {
  await using b = await withZone();
  await b.cloud.record.create({ name: 'www', zone: 'prod.internal', type: 'A', values: ['10.20.0.9'] });
  expect(await faultOf(b.cloud.zone.delete('prod.internal'))).toMatchObject({
    code: 'conflict',
    message: 'The zone prod.internal has records: www.prod.internal/A',
    hint: 'cloud zone delete prod.internal --force',
  });
  expect((await faultOf(b.cloud.vpc.delete('prod'))).message).toContain('in use by zone prod.internal');
  await b.ended(b.cloud.zone.delete('prod.internal', { force: true }));
  expect((await b.cloud.record.list()).items).toEqual([]);
  expect((await b.drivers.drivers.dns.list()).map(({ id }) => id)).toEqual([]);
  await b.ended(b.cloud.vpc.delete('prod'));
});

test('zone files go out and come in again', async () => {
  await using b = await withZone();
  const file = `$TTL 1h
@   IN SOA ns.example. me.example. ( 1 ; serial
        2 3 4 5 )
    IN MX 10 mail
www 300 IN A 10.20.0.9
    300 IN A 10.20.0.10
    TXT "a; b" two ; a comment
*.dev CNAME www
_sip._tcp SRV 0 5 5060 www.example.com.
$ORIGIN deep.prod.internal.
host A 10.20.0.11
`;
  expect(await b.cloud.zone.import('prod.internal', { content: file })).toEqual({ created: 6, updated: 0, unchanged: 0, deleted: 0 });
  expect(await b.cloud.zone.import('prod.internal', { content: file })).toEqual({ created: 0, updated: 0, unchanged: 6, deleted: 0 });
  await b.cloud.record.create({ name: 'plain', zone: 'prod.internal', type: 'A', values: ['10.20.0.12'] });
  const { content } = await b.cloud.zone.export('prod.internal');
  expect(content).toContain('host.deep 3600 IN A     10.20.0.11');
  expect(await b.cloud.zone.import('prod.internal', { content, replace: true })).toEqual({ created: 0, updated: 0, unchanged: 7, deleted: 0 });
  expect(await b.cloud.zone.import('prod.internal', { content: 'www A 10.20.0.1', replace: true })).toEqual({
    created: 0,
    updated: 1,
    unchanged: 0,
    deleted: 6,
  });
  expect(await faultOf(b.cloud.zone.import('prod.internal', { content: 'a A 10.0.0.1\nb A nonsense' }))).toMatchObject({
    code: 'invalid_input',
    message: expect.stringContaining('line 2: "nonsense" is no IPv4 address'),
  });
  expect((await b.cloud.record.list({ zone: 'prod.internal' })).items.map(({ name }) => name)).toEqual(['www.prod.internal/A']);
  for (const [text, message] of [
    ['a TLSA 0 0 0 00', 'no records of type TLSA'],
    ['$GENERATE 1-2 a A 10.0.0.$', '$GENERATE is not understood'],
    ['www.example.com. A 10.0.0.1', 'is not in prod.internal'],
    [' A 10.0.0.1', 'the first record has no name'],
    ['a IN A ( 10.0.0.1', 'a parenthesis is not closed'],
  ] as const)
    expect((await faultOf(b.cloud.zone.import('prod.internal', { content: text }))).message).toContain(message);
});

test('a server that is away: the zone says so, and is brought up to date when it is back', async () => {
  const drivers = memoryDrivers();
  await using b = await bench({ drivers });
  await b.ready(b.cloud.vpc.create({ name: 'prod' }));
  await b.ready(b.cloud.zone.create({ name: 'prod.internal', vpc: 'prod' }));
  drivers.faults.fail('dns.ensure', 3, new DriverError('unavailable', 'PowerDNS went for a walk'));
  await b.cloud.record.create({ name: 'www', zone: 'prod.internal', type: 'A', values: ['10.20.0.9'] });
  await b.until(async () => (await b.cloud.zone.get('prod.internal')).reason === 'PowerDNS went for a walk');
  await b.until(async () => (await values(b, 'www.prod.internal', 'prod')).length === 1);
  await b.until(async () => (await b.cloud.zone.get('prod.internal')).reason === undefined);
  drivers.faults.fail('dns.ping', 1, new DriverError('unavailable', 'PowerDNS is not installed', { hint: 'sudo apt-get install pdns-server' }));
  expect(await faultOf(b.cloud.zone.create({ name: 'more.internal', vpc: 'prod' }))).toMatchObject({
    code: 'unavailable',
    hint: 'sudo apt-get install pdns-server',
  });
});

test('two hundred instances at once lose none', async () => {
  await using b = await withZone();
  const names = Array.from({ length: 200 }, (_, n) => `i-${n}`);
  const made = await Promise.all(names.map((name) => b.ready(b.cloud.instance.create({ name, image: 'busybox', vpc: 'prod' }))));
  await b.until(async () => (await b.cloud.zone.get('prod.internal')).registered === 200);
  await b.until(async () => (await values(b, 'i-199.prod.internal', 'prod')).length === 1);
  for (const { name, address } of made) {
    expect(await values(b, `${name}.prod.internal`, 'prod')).toEqual([address]);
    expect(await values(b, address as string, 'prod')).toEqual([`${name}.prod.internal.`]);
  }
}, 60_000);

test('a tenant that goes takes its zones and records along', async () => {
  await using b = await withZone();
  await b.tenant('other');
  const there = { tenant: 'other' };
  await b.cloud.vpc.create({ name: 'theirs' }, there);
  await b.cloud.zone.create({ name: 'prod.internal', vpc: 'theirs' }, there);
  await b.cloud.record.create({ name: 'www', zone: 'prod.internal', type: 'A', values: ['10.30.0.9'] }, there);
  await b.until(async () => (await b.drivers.drivers.dns.list()).length === 2);
  await b.ended(b.cloud.tenant.delete('other', { cascade: true }));
  await b.until(async () => (await b.drivers.drivers.dns.list()).length === 1);
  expect(await b.cloud.zone.get('prod.internal')).toMatchObject({ vpc: 'prod' });
});
