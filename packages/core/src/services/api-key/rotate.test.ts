// What a key has opened ends with its secret.
import { expect, test } from 'vitest';
import { faultOf } from '../../testing/bench.ts';
import { people, SOURCE } from '../../testing/people.ts';

test('what was opened by a key ends when the key gets another secret', async () => {
  await using b = await people();
  await b.person('ann@example.com', 'developer');
  const ann = await b.by((await b.login('ann@example.com')).accessToken);
  const { key } = await ann.apiKey.create({ name: 'k' });
  const invocation = { service: 'event', operation: 'watch', input: {}, principal: await b.core.authenticate(key, SOURCE) };
  await b.core.check(invocation);
  await ann.apiKey.rotate('k');
  expect(await faultOf(b.core.authenticate(key, SOURCE))).toMatchObject({ code: 'unauthenticated' });
  expect(await faultOf(b.core.check(invocation))).toMatchObject({ code: 'unauthenticated' });
});
