// Keys through the client: what they seal opens with them alone, also after they and the master key were rotated, and never again once they are deleted.
import { expect, test } from 'vitest';
import { bench, faultOf } from '../../testing/bench.ts';

const base64 = (value: string): string => Buffer.from(value).toString('base64');

test('what a key sealed opens again, also after rotations, of it and of the master key', async () => {
  await using b = await bench();
  const { kmsKey } = b.cloud;
  await kmsKey.create({ name: 'photos' });
  const first = await kmsKey.encrypt('photos', { plaintext: base64('hello') });
  expect(first).toMatchObject({ key: 'photos', version: 1 });
  expect((await kmsKey.encrypt('photos', { plaintext: base64('hello') })).ciphertext).not.toBe(first.ciphertext);
  expect(await kmsKey.rotate('photos')).toMatchObject({ currentVersion: 2 });
  const second = await kmsKey.encrypt('photos', { plaintext: base64('again') });
  expect(second.version).toBe(2);
  await b.cloud.secret.create({ name: 'other', value: 'x' });
  for (const [{ ciphertext }, plaintext] of [
    [first, 'hello'],
    [second, 'again'],
  ] as const) {
    expect((await kmsKey.decrypt('photos', { ciphertext })).plaintext).toBe(base64(plaintext));
  }
});

test('nothing else opens it: another key, another version, one letter changed, a key that was deleted and made anew', async () => {
  await using b = await bench();
  const { kmsKey } = b.cloud;
  for (const name of ['photos', 'others']) await kmsKey.create({ name });
  const { ciphertext } = await kmsKey.encrypt('photos', { plaintext: base64('hello') });
  const changed = `${ciphertext.slice(0, -3)}${ciphertext.at(-3) === 'A' ? 'B' : 'A'}${ciphertext.slice(-2)}`;
  await kmsKey.rotate('photos');
  for (const [key, text] of [
    ['others', ciphertext],
    ['photos', changed],
    ['photos', ciphertext.replace('kms1.1.', 'kms1.2.')],
  ] as const) {
    expect(await faultOf(kmsKey.decrypt(key, { ciphertext: text }))).toMatchObject({ code: 'invalid_input' });
  }
  expect(await faultOf(kmsKey.decrypt('photos', { ciphertext: ciphertext.replace('kms1.1.', 'kms1.9.') }))).toMatchObject({ code: 'not_found' });
  await kmsKey.delete('photos');
  await kmsKey.create({ name: 'photos' });
  expect(await faultOf(kmsKey.decrypt('photos', { ciphertext }))).toMatchObject({ code: 'invalid_input' });
});
