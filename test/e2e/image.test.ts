// Images of two tenants on one engine: what each of them runs under the same name, and that the host's own are as they were.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Cloud } from '../../packages/core/src/contracts.ts';
import { type TestRegistry, testRegistry } from '../../packages/core/src/drivers/docker/registry.testbench.ts';
import { dockerMissing, TestInstallation } from '../../packages/core/src/drivers/docker/testbench.ts';
import type { MemoryDriverSet } from '../../packages/core/src/drivers/memory/index.ts';
import { loadDrivers } from '../../packages/core/src/index.ts';
import { DEFAULT_TENANT, type Principal } from '../../packages/core/src/kernel/authorize.ts';
import { systemClock } from '../../packages/core/src/kernel/clock.ts';
import { silent } from '../../packages/core/src/kernel/log.ts';
import { type Bench, bench, faultOf } from '../../packages/core/src/testing/bench.ts';

const missing = await dockerMissing();
const member = (id: string, tenantId: string): Principal => ({ id, kind: 'user', tenantId, roles: { [tenantId]: ['admin'] } });

describe.skipIf(missing !== undefined)(`two tenants with Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let installation: TestInstallation;
  let registry: TestRegistry;
  let dataDir: string;
  let b: Bench;
  let ours: Cloud;
  let theirs: Cloud;
  const done = async (cloud: Cloud, answer: Promise<{ operation?: string | undefined }>) => {
    const { operation = '' } = await answer;
    return cloud.operation.wait(operation, { timeout: 60 });
  };

  const bring = async (cloud: Cloud, reference: string, archive: Buffer) => {
    const channel = await cloud.image.import({ reference });
    Readable.from([archive]).pipe(channel.input);
    return channel.result;
  };
  const create = (cloud: Cloud, name: string, image: string) =>
    done(cloud, cloud.instance.create({ name, image, type: 'nano', command: ['sleep', '1000'], stopTimeout: 0 }));
  const word = async (cloud: Cloud, name: string): Promise<string> => {
    const channel = await cloud.instance.exec(name, { command: ['cat', '/word'] });
    channel.input.end();
    const said = await text(channel.output);
    await channel.result;
    return said;
  };
  const named = async () =>
    (await installation.client.docker.listImages()).flatMap(({ RepoTags }) => RepoTags ?? []).filter((tag) => !tag.startsWith('thecloud-'));

  beforeAll(async () => {
    installation = await TestInstallation.create();
    registry = await testRegistry();
    dataDir = await mkdtemp(join(tmpdir(), 'thecloud-test-'));
    const { client } = installation;
    const set = await loadDrivers('docker', { installation: client.installation, dataDir: client.dataDir, log: silent, clock: systemClock });
    b = await bench({ drivers: set as unknown as MemoryDriverSet, dataDir });
    const other = await b.tenant('theirs');
    ours = b.as(member('usr-ours', DEFAULT_TENANT.id));
    theirs = b.as(member('usr-theirs', other));
  });
  afterAll(async () => {
    for (const cloud of [ours, theirs]) {
      for (const { id } of (await cloud.instance.list()).items) await done(cloud, cloud.instance.delete(id));
      for (const { id } of (await cloud.vpc.list()).items) await done(cloud, cloud.vpc.delete(id));
      for (const { id, source } of (await cloud.image.list()).items) if (source !== 'host') await done(cloud, cloud.image.delete(id));
    }
    const left = await installation.client.docker.listImages({ filters: { reference: [`thecloud-image/${installation.client.installation}/*`] } });
    await b.close();
    await rm(dataDir, { recursive: true, force: true });
    await registry.close();
    await installation.close();
    expect(left).toEqual([]);
  });

  test('one name, two contents, and each runs its own, also after the other’s is imported anew and deleted', { timeout: 120_000 }, async () => {
    const before = await named();
    await bring(ours, 'acme/app:1', await installation.rootWith('ours'));
    await bring(theirs, 'acme/app:1', await installation.rootWith('theirs'));
    expect(await create(ours, 'app', 'acme/app:1')).toMatchObject({ state: 'succeeded' });
    expect(await create(theirs, 'app', 'acme/app:1')).toMatchObject({ state: 'succeeded' });
    expect([await word(ours, 'app'), await word(theirs, 'app')]).toEqual(['ours', 'theirs']);
    await bring(theirs, 'acme/app:1', await installation.rootWith('theirs, again'));
    await create(theirs, 'next', 'acme/app:1');
    await create(ours, 'next', 'acme/app:1');
    expect([await word(theirs, 'app'), await word(theirs, 'next'), await word(ours, 'next')]).toEqual(['theirs', 'theirs, again', 'ours']);
    expect((await faultOf(theirs.image.delete('acme/app:1'))).message).toBe('The image acme/app:1 is in use by instance app, next');
    for (const name of ['app', 'next']) await done(theirs, theirs.instance.delete(name));
    expect(await done(theirs, theirs.image.delete('acme/app:1'))).toMatchObject({ state: 'succeeded' });
    // Its container removed behind its back, an instance is made anew from the same content.
    const { id } = await ours.instance.get('app');
    await installation.client.docker.getContainer(id).remove({ force: true });
    await b.until(async () => (await ours.event.list({ resource: 'instance/app' })).items.some(({ type }) => type === 'instance.recreated'));
    await b.until(async () => (await ours.instance.get('app')).state === 'running');
    expect(await word(ours, 'app')).toBe('ours');
    expect(await named()).toEqual(before);
  });

  test('what one has pulled the other has not, and the host has neither', { timeout: 60_000 }, async () => {
    const before = await named();
    const reference = `${registry.repository}:1`;
    const first = await registry.push('1', 'first');
    expect(await done(theirs, theirs.image.pull({ reference }))).toMatchObject({ state: 'succeeded' });
    expect((await faultOf(ours.image.get(reference))).code).toBe('not_found');
    const second = await registry.push('1', 'second');
    expect(await done(ours, ours.image.pull({ reference }))).toMatchObject({ state: 'succeeded' });
    expect(await done(theirs, theirs.image.pull({ reference }))).toMatchObject({ state: 'succeeded' });
    expect([(await theirs.image.get(reference)).digest, (await ours.image.get(reference)).digest]).toEqual([first, second]);
    await done(theirs, theirs.image.pull({ reference, always: true }));
    expect((await theirs.image.get(reference)).digest).toBe(second);
    await done(ours, ours.image.delete(reference));
    expect(await theirs.image.get(reference)).toMatchObject({ state: 'available', source: 'pulled' });
    expect(await named()).toEqual(before);
  });

  test('an archive that calls itself busybox does not become the host’s', { timeout: 60_000 }, async () => {
    const host = await ours.image.get('busybox');
    expect(host.source).toBe('host');
    await bring(theirs, 'busybox', await buffer((await installation.client.docker.getImage('debian:trixie').get()) as Readable));
    expect((await theirs.image.get('busybox')).source).toBe('imported');
    expect(await ours.image.get('busybox')).toEqual(host);
    expect((await faultOf(ours.image.delete('busybox'))).code).toBe('forbidden');
  });
});
