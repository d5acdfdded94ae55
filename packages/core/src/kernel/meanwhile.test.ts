// Between one look and the next: what was allowed for one row is not done to another, what is kept stays bounded, and what was opened with more rights ends with them.
import { expect, test } from 'vitest';
import { services } from '../services.ts';
import { bench, faultOf } from '../testing/bench.ts';
import { gadgetService, plainService } from '../testing/gadget.ts';
import { people } from '../testing/people.ts';

test('answers to questions without end do not pile up', async () => {
  await using b = await bench({ definitions: [...services, gadgetService(), plainService] });
  const list = async (label: string[]) => (await b.call({ service: 'plain', operation: 'list', input: { label } })).value;
  const first = await list(['k=first']);
  expect(await list(['k=first'])).toBe(first);
  for (let n = 0; n < 5_000; n++) await list([`k=${n}`]);
  expect(await list(['k=first'])).not.toBe(first);
  const long = Array.from({ length: 10 }, (_, n) => `k=${n}${'x'.repeat(100)}`);
  expect(await list(long)).not.toBe(await list(long));
});

test('what was opened as an administrator of the installation ends when one is none', async () => {
  await using b = await people();
  await b.person('root@example.com', 'viewer');
  await b.cloud.user.update('root@example.com', { administrator: true });
  const principal = await b.core.authenticate((await b.login('root@example.com')).accessToken, 'x');
  const invocation = { service: 'event', operation: 'watch', input: {}, principal };
  await b.core.check(invocation);
  await b.cloud.user.update('root@example.com', { administrator: false });
  expect(await faultOf(b.core.check(invocation))).toMatchObject({ code: 'forbidden' });
  const now = await b.core.authenticate((await b.login('root@example.com')).accessToken, 'x');
  await b.core.check({ ...invocation, principal: now });
});

/** Somebody who may do all with secrets of her team, and one of those. */
async function team() {
  const b = await people();
  await b.person('ann@example.com', 'developer');
  const Condition = { StringEquals: { 'cloud:ResourceLabel/team': 'a' } };
  const document = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 'secret:*', Resource: '*', Condition }] };
  await b.cloud.policy.create({ name: 'team', document });
  await b.cloud.policy.attach('team', { user: 'ann@example.com' });
  await b.cloud.secret.create({ name: 's', value: 'of a', labels: { team: 'a' } });
  const ann = await b.by((await b.login('ann@example.com')).accessToken);
  const replace = async () => {
    await b.cloud.secret.delete('s');
    await b.cloud.secret.create({ name: 's', value: 'of b', labels: { team: 'b' } });
  };
  return { b, ann, replace };
}

test('a write that was allowed is not done to what took the name meanwhile', async () => {
  const { b, ann, replace } = await team();
  await using _ = b;
  expect(await ann.secret.value('s')).toMatchObject({ value: 'of a' });
  const { store } = b;
  const transaction = store.transaction.bind(store);
  store.transaction = (async (...args: Parameters<typeof transaction>) => {
    store.transaction = transaction;
    await replace();
    return transaction(...args);
  }) as typeof transaction;
  expect(await faultOf(ann.secret.value('s'))).toMatchObject({ code: 'forbidden' });
});

test('a read that was allowed does not show what took the name meanwhile', async () => {
  const { b, ann, replace } = await team();
  await using _ = b;
  await ann.secret.get('s');
  const { store } = b;
  const read = store.read.bind(store);
  let reads = 0;
  store.read = (async (work: Parameters<typeof read>[0]) => {
    const found = await read(work);
    if (++reads === 1) {
      store.read = read;
      await replace();
    }
    return found;
  }) as typeof read;
  expect(await faultOf(ann.secret.get('s'))).toMatchObject({ code: 'forbidden' });
});

test('a name that nothing can have is refused before anything is asked about it', async () => {
  const { b, ann } = await team();
  await using _ = b;
  const long = 'a'.repeat(100_000);
  expect(await faultOf(ann.secret.value(long))).toMatchObject({ code: 'invalid_input' });
});
