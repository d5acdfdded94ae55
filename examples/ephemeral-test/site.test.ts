// Each test has a cloud of its own: a temporary data directory and the memory driver. Nothing has to run before, nothing is left after.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ephemeral } from '@thecloud/sdk/testing';
import { makeSite } from './site.ts';

test('every server has an address of its own', async () => {
  await using cloud = await ephemeral();
  const addresses = await makeSite(cloud, 'shop', 3);
  assert.equal(new Set(addresses).size, 3);
  const { items } = await cloud.instance.list({ label: ['site=shop'] });
  assert.deepEqual(
    items.map(({ state }) => state),
    ['running', 'running', 'running'],
  );
});

test('a site of that name is refused', async () => {
  await using cloud = await ephemeral();
  await makeSite(cloud, 'shop', 1);
  await assert.rejects(makeSite(cloud, 'shop', 1), { code: 'conflict' });
});
