// A change of an object and the line that tells of it: one transaction, also for calls, which end in another one.
import { sql } from 'kysely';
import { expect, test } from 'vitest';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';

async function put(b: Bench, name: string): Promise<void> {
  const channel = await b.cloud.object.put(name, {});
  channel.input.end('x');
  await channel.result;
}
const linesOf = async (b: Bench, about: string): Promise<string[]> =>
  (await b.cloud.audit.list({ limit: 200 })).items
    .filter(({ target, permission }) => target === about && permission !== 'object:put')
    .map(({ permission, outcome }) => `${permission} ${outcome}`)
    .toReversed();
const exists = (b: Bench, name: string): Promise<boolean> =>
  b.cloud.object.head(name).then(
    () => true,
    () => false,
  );

/** The end of every call that keeps its answer fails, as if the process had ended there. */
const cutOff = (b: Bench) => sql`create trigger cut before insert on idempotency begin select raise(abort, 'cut'); end`.execute(b.db);
const mend = (b: Bench) => sql`drop trigger cut`.execute(b.db);

test('what was done stands with its line when the call does not come to its end', async () => {
  await using b = await bench();
  await b.cloud.bucket.create({ name: 'photos', versioning: 'enabled' });
  for (const key of ['gone', 'copied', 'moved', 'tagged', 'back', 'twice']) await put(b, `photos/${key}`);
  await b.cloud.object.delete('photos/back');
  await cutOff(b);
  const key = (name: string) => ({ idempotencyKey: name });
  const { object } = b.cloud;
  for (const cut of [
    () => object.delete('photos/gone', {}, key('a')),
    () => object.copy('photos/copied', { to: 'photos/copy' }, key('b')),
    () => object.move('photos/moved', { to: 'photos/elsewhere' }, key('c')),
    () => object.setTags('photos/tagged', { tags: { a: '1' } }, key('d')),
    () => object.restore('photos/back', {}, key('e')),
    () => object.uploadStart('photos/large', {}, key('f')),
  ])
    expect((await faultOf(cut())).code).toBe('internal');
  await mend(b);
  expect(await Promise.all(['gone', 'copy', 'elsewhere', 'moved', 'back'].map((name) => exists(b, `photos/${name}`)))).toEqual([
    false,
    true,
    true,
    false,
    true,
  ]);
  expect(await linesOf(b, 'photos/gone')).toEqual(['object:delete ok', 'object:delete internal']);
  expect(await linesOf(b, 'photos/copied')).toEqual(['object:copy ok', 'object:copy internal']);
  expect(await linesOf(b, 'photos/moved')).toEqual(['object:move ok', 'object:move internal']);
  expect(await linesOf(b, 'photos/tagged')).toEqual(['object:setTags ok', 'object:setTags internal']);
  expect(await linesOf(b, 'photos/back')).toEqual(['object:delete ok', 'object:restore ok', 'object:restore internal']);
  expect(await linesOf(b, 'photos/large')).toEqual(['object:uploadStart ok', 'object:uploadStart internal']);
});

test('a call that ends well has one line, whatever it took', async () => {
  await using b = await bench();
  await b.cloud.bucket.create({ name: 'photos', versioning: 'enabled' });
  await put(b, 'photos/a');
  await b.cloud.object.move('photos/a', { to: 'photos/b' });
  expect(await linesOf(b, 'photos/a')).toEqual(['object:move ok']);
  for (let count = 0; count < 2; count++) await b.cloud.object.delete('photos/b');
  await b.cloud.object.restore('photos/b');
  expect(await linesOf(b, 'photos/b')).toEqual(['object:delete ok', 'object:delete ok', 'object:restore ok']);
  expect((await b.cloud.audit.list({ limit: 1 })).items[0]).toMatchObject({ decision: expect.stringMatching(/./), requestId: expect.stringMatching(/./) });
});

test('a line that cannot be written lets nothing happen, and leaves the call its own', async () => {
  await using b = await bench();
  await b.cloud.bucket.create({ name: 'photos' });
  await put(b, 'photos/a');
  await sql`create trigger cut before insert on audit when new.outcome = 'ok' begin select raise(abort, 'cut'); end`.execute(b.db);
  expect((await faultOf(b.cloud.object.delete('photos/a'))).code).toBe('internal');
  await mend(b);
  expect(await exists(b, 'photos/a')).toBe(true);
  expect(await linesOf(b, 'photos/a')).toEqual(['object:delete internal']);
  await b.cloud.object.delete('photos/a');
  expect(await linesOf(b, 'photos/a')).toEqual(['object:delete internal', 'object:delete ok']);
});

test('bytes are taken only after the line of whoever brings them', async () => {
  await using b = await bench();
  await b.cloud.bucket.create({ name: 'photos' });
  await sql`create trigger cut before insert on audit when new.outcome = 'ok' begin select raise(abort, 'cut'); end`.execute(b.db);
  expect((await faultOf(b.cloud.object.put('photos/a', {}))).code).toBe('internal');
  await mend(b);
  expect(await exists(b, 'photos/a')).toBe(false);
});

test('a bucket that is emptied by force and not deleted says so', async () => {
  await using b = await bench();
  await b.cloud.bucket.create({ name: 'photos' });
  await put(b, 'photos/a');
  await cutOff(b);
  expect((await faultOf(b.cloud.bucket.delete('photos', { force: true }, { idempotencyKey: 'a' }))).code).toBe('internal');
  await mend(b);
  expect(await exists(b, 'photos/a')).toBe(false);
  expect(await linesOf(b, 'photos')).toEqual(['bucket:create ok', 'bucket:delete ok', 'bucket:delete internal']);
  await b.cloud.bucket.delete('photos');
  expect((await linesOf(b, 'photos')).at(-1)).toBe('bucket:delete ok');
});
