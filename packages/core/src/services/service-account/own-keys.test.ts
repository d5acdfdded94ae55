// Keys that a service account made for itself.
import { expect, test } from 'vitest';
import { faultOf } from '../../testing/bench.ts';
import { people } from '../../testing/people.ts';

const ANN = 'ann@example.com';

test('a service account stays while a key that it made for itself does', async () => {
  await using b = await people();
  const { id } = await b.cloud.serviceAccount.create({ name: 'ci', roles: ['developer'] });
  const { clientSecret } = await b.cloud.serviceAccount.rotateSecret('ci');
  const { accessToken } = (await b.open('clientToken', { clientId: id, clientSecret })) as { accessToken: string };
  await (await b.by(accessToken)).apiKey.create({ name: 'own' });
  await b.person(ANN, 'developer');
  await (await b.by((await b.login(ANN)).accessToken)).apiKey.create({ name: 'hers' });
  expect(await faultOf(b.cloud.serviceAccount.delete('ci'))).toMatchObject({ code: 'conflict', hint: 'cloud api-key revoke own' });
  await b.cloud.apiKey.revoke('own');
  await b.cloud.serviceAccount.delete('ci');
  expect((await b.cloud.apiKey.list()).items).toMatchObject([{ name: 'hers' }]);
});
