// When keys were used, as it is told afterwards.
import { expect, test } from 'vitest';
import { people, SOURCE } from '../../testing/people.ts';

const ANN = 'ann@example.com';
const time = (at: number): string => new Date(at).toISOString();

test('when a key was used is told to the minute, though another was the last to be written down', async () => {
  await using b = await people();
  await b.person(ANN, 'developer');
  const ann = await b.by((await b.login(ANN)).accessToken);
  const [first, second] = [await ann.apiKey.create({ name: 'first' }), await ann.apiKey.create({ name: 'second' })];
  const start = b.clock.now();
  await b.core.authenticate(first.key, '192.0.2.7');
  b.clock.jump(20_000);
  await b.core.authenticate(second.key, '192.0.2.8');
  expect(await ann.apiKey.get('second')).not.toHaveProperty('lastUsedAt');
  await b.clock.advance(60_000);
  await b.until(async () => (await ann.apiKey.get('second')).lastUsedAt !== undefined, 0);
  expect(await ann.apiKey.get('first')).toMatchObject({ lastUsedAt: time(start), lastUsedFrom: '192.0.2.7' });
  expect(await ann.apiKey.get('second')).toMatchObject({ lastUsedAt: time(start + 20_000), lastUsedFrom: '192.0.2.8' });
});

test('a core that is closed does not wait for the minute', async () => {
  const b = await people();
  await b.person(ANN, 'developer');
  const { key } = await (await b.by((await b.login(ANN)).accessToken)).apiKey.create({ name: 'k' });
  await b.core.authenticate(key, SOURCE);
  b.clock.jump(1000);
  await b.core.authenticate(key, SOURCE);
  await b.close();
});
