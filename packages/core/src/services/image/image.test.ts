// Images: the backend's store as it is, pulls that survive trouble, names as engines write them.
import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { memoryDrivers } from '../../drivers/memory/index.ts';
import { ManualClock } from '../../kernel/clock.ts';
import { DriverError } from '../../kernel/errors.ts';
import { bench, faultOf } from '../../testing/bench.ts';

test('pulled, listed, shown under every spelling of its name, deleted', async () => {
  await using b = await bench();
  const { image } = b.cloud;
  const pulled = await b.ready(image.pull({ reference: 'alpine' }));
  expect(pulled).toMatchObject({ name: 'alpine:latest', state: 'available', references: ['alpine:latest'] });
  expect((await image.list()).items).toMatchObject([{ name: 'alpine:latest', id: pulled.id }]);
  for (const name of ['alpine', 'alpine:latest', 'docker.io/library/alpine', pulled.id]) expect((await image.get(name)).digest, name).toBe(pulled.digest);
  expect((await b.ended(image.pull({ reference: 'alpine' }))).state).toBe('succeeded');
  expect((await b.ended(image.pull({ reference: 'alpine', always: true }))).state).toBe('succeeded');
  expect((await image.list()).items).toHaveLength(1);
  expect(await faultOf(image.get('alpin'))).toMatchObject({ code: 'not_found', details: { near: 'alpine' } });
  expect(await faultOf(image.get('no such image'))).toMatchObject({ code: 'not_found' });
  expect(await faultOf(image.delete('No Such'))).toMatchObject({ code: 'not_found' });
  await b.ended(image.delete('alpine'));
  expect((await image.list()).items).toEqual([]);
  expect((await faultOf(image.delete('alpine'))).code).toBe('not_found');
});

test('an image of the host’s, without a row: shown with an id that finds it, and deleted with an event', async () => {
  const drivers = memoryDrivers();
  drivers.world.hostImage('debian:trixie');
  await using b = await bench({ drivers });
  const [found] = (await b.cloud.image.list()).items;
  expect(found).toMatchObject({ name: 'debian:trixie', source: 'host', state: 'available' });
  expect(await b.cloud.image.get(found?.id ?? '')).toEqual(found);
  expect(await b.cloud.image.get(found?.id.slice(0, 10) ?? '')).toEqual(found);
  const deleted = await b.cloud.image.delete('debian:trixie');
  expect(deleted).toMatchObject({ name: 'debian:trixie', state: 'deleting', source: 'host' });
  expect((await b.ended({ operation: deleted.operation })).state).toBe('succeeded');
  expect((await b.cloud.image.list()).items).toEqual([]);
  expect((await b.cloud.event.list({ resource: 'image' })).items.at(-1)).toMatchObject({ type: 'image.deleted', name: 'debian:trixie' });
});

test('what the host has is pulled without its registry, and stays what it was', async () => {
  const drivers = memoryDrivers();
  const before = drivers.world.hostImage('debian:trixie', 'before');
  await using b = await bench({ drivers });
  drivers.faults.fail('image.pull', 100, new DriverError('unavailable', 'There is no network'));
  expect(await b.ready(b.cloud.image.pull({ reference: 'debian:trixie' }))).toMatchObject({ source: 'pulled', digest: before.digest });
  drivers.world.hostImage('debian:trixie', 'after');
  expect(await b.ended(b.cloud.image.pull({ reference: 'debian:trixie' }))).toMatchObject({ state: 'succeeded' });
  expect((await b.cloud.image.list()).items).toMatchObject([{ source: 'pulled', digest: before.digest }]);
  expect(drivers.world.contentOf(before.content)).toBeDefined();
  await b.ended(b.cloud.image.delete('debian:trixie'));
  expect((await b.cloud.image.list()).items).toMatchObject([{ source: 'host', name: 'debian:trixie' }]);
  expect(drivers.world.contentOf(before.content)).toBeUndefined();
});

test('on a generation that has passed nothing is deleted, whatever spelling it is asked by', async () => {
  await using b = await bench();
  await b.ended(b.cloud.image.pull({ reference: 'alpine' }));
  for (const target of ['alpine', 'alpine:latest', 'docker.io/library/alpine']) {
    expect((await faultOf(b.cloud.image.delete(target, {}, { ifMatch: 4711 }))).code).toBe('stale');
  }
  expect((await b.cloud.image.list()).items).toHaveLength(1);
  expect(b.world.keptImages.size).toBe(1);
});

test('unknown to its registry: failed with the reason, and a later pull tries again', async () => {
  const clock = new ManualClock(1_000_000);
  const drivers = memoryDrivers({ clock });
  await using b = await bench({ clock, drivers });
  drivers.faults.fail('image.pull', 1, new DriverError('bad_spec', 'There is no image acme/app:9 in its registry'));
  expect(await b.ended(b.cloud.image.pull({ reference: 'acme/app:9' }))).toMatchObject({
    state: 'failed',
    error: { message: 'There is no image acme/app:9 in its registry' },
  });
  expect(await b.cloud.image.get('acme/app:9')).toMatchObject({ state: 'error', reason: expect.stringContaining('registry') });
  await clock.advance(600_000);
  expect(await b.cloud.image.get('acme/app:9')).toMatchObject({ state: 'error' });
  expect(await b.ready(b.cloud.image.pull({ reference: 'acme/app:9' }))).toMatchObject({ state: 'available' });
});

test('a misspelt image is told beside the one that is here', async () => {
  const clock = new ManualClock(1_000_000);
  const drivers = memoryDrivers({ clock });
  await using b = await bench({ clock, drivers });
  await b.ended(b.cloud.image.pull({ reference: 'busybox' }));
  drivers.faults.fail('image.pull', 1, new DriverError('bad_spec', 'The registry knows no busyboks:latest'));
  expect(await b.ended(b.cloud.instance.create({ name: 'web', image: 'busyboks' }))).toMatchObject({
    state: 'failed',
    error: { message: 'The registry knows no busyboks:latest; did you mean busybox?' },
  });
});

test("what was sent and is no image is the sender's mistake", async () => {
  const drivers = memoryDrivers();
  await using b = await bench({ drivers });
  drivers.faults.fail('image.import', 1, new DriverError('bad_spec', 'The archive is not a tar'));
  const channel = await b.cloud.image.import({ reference: 'acme/app:1', command: 'httpd -f' });
  channel.input.end('junk');
  expect(await faultOf(channel.result)).toMatchObject({ code: 'invalid_input', message: 'The archive is not a tar' });
});

test('a pull under way is shown alike by get and list', async () => {
  const clock = new ManualClock(1_000_000);
  const drivers = memoryDrivers({ clock });
  await using b = await bench({ clock, drivers });
  await b.ended(b.cloud.image.pull({ reference: 'alpine' }));
  drivers.faults.fail('image.pull', 2);
  const again = await b.cloud.image.pull({ reference: 'alpine', always: true });
  const shown = await b.cloud.image.get('alpine');
  expect((await b.cloud.image.list()).items).toMatchObject([{ name: 'alpine:latest', state: shown.state }]);
  await b.until(async () => (await b.cloud.operation.get(again.operation ?? '')).state === 'succeeded');
});

test('an image in use stays, and it is said by what', async () => {
  await using b = await bench();
  await b.ready(b.cloud.instance.create({ name: 'web', image: 'busybox' }));
  expect(await faultOf(b.cloud.image.delete('busybox'))).toMatchObject({
    code: 'conflict',
    message: 'The image busybox:latest is in use by instance web',
    hint: 'cloud instance delete web',
  });
});

test('import takes an archive and answers with the image', async () => {
  await using b = await bench();
  const channel = await b.cloud.image.import({ reference: 'acme/base:1' });
  Readable.from([Buffer.from('archive')]).pipe(channel.input);
  expect(await channel.result).toMatchObject({ name: 'acme/base:1', sizeBytes: 7 });
  const given = await b.cloud.image.import({ reference: 'acme/other:1' });
  given.close();
  await expect(given.result).rejects.toThrow();
  expect((await b.cloud.image.list()).items.map(({ name }) => name)).toEqual(['acme/base:1']);
});
