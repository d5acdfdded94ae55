import { access } from 'node:fs/promises';
import { DEFAULT_TENANT } from '@thecloud/core';
import { describe, expect, it } from 'vitest';
import { embed } from './embed.ts';
import { isFault } from './index.ts';
import { ephemeral } from './testing.ts';

const gone = (path: string) =>
  access(path).then(
    () => false,
    () => true,
  );

describe('ephemeral', () => {
  it('is a whole cloud, and leaves nothing', async () => {
    let dataDir: string;
    {
      await using cloud = await ephemeral();
      dataDir = cloud.dataDir;
      await cloud.vpc.create({ name: 'prod' });
      await cloud.volume.create({ name: 'data', size: 1 });
      const web = await cloud.instance.create({ name: 'web', image: 'busybox', vpc: 'prod', volumes: ['data:/data'] }, { wait: true });
      expect(web.state).toBe('running');
      await cloud.volume.snapshot('data', { name: 'copy' });
      expect(await gone(dataDir)).toBe(false);
    }
    expect(await gone(dataDir)).toBe(true);
  });

  it('leaves nothing of a test that failed', async () => {
    let dataDir = '';
    const failing = async () => {
      await using cloud = await ephemeral();
      dataDir = cloud.dataDir;
      await cloud.instance.create({ name: 'web', image: 'busybox' });
      throw new Error('as tests do');
    };
    await expect(failing()).rejects.toThrow('as tests do');
    expect(await gone(dataDir)).toBe(true);
  });

  it('is there for those whom the test makes, in the tenants that it makes', async () => {
    let dataDir: string;
    {
      await using cloud = await ephemeral();
      dataDir = cloud.dataDir;
      await cloud.tenant.create({ name: 'acme' }, { wait: true });
      await cloud.user.create({ name: 'ann@example.com' });
      await cloud.tenantMember.add({ name: 'ann@example.com', roles: ['developer'] }, { tenant: 'acme' });
      const ann = cloud.as('Ann@example.com');
      await ann.instance.create({ name: 'web', image: 'busybox' }, { wait: true });
      expect((await cloud.instance.list()).items).toEqual([]);
      await expect(cloud.as('ann@example.com', { tenant: 'default' }).vpc.list()).rejects.toMatchObject({ code: 'not_found' });
      await expect(ann.user.list()).rejects.toMatchObject({ code: 'forbidden' });
    }
    expect(await gone(dataDir)).toBe(true);
    const viewer = { id: 'usr-viewer', kind: 'user', tenantId: DEFAULT_TENANT.id, roles: { [DEFAULT_TENANT.id]: ['viewer'] } } as const;
    await using cloud = await ephemeral({ as: viewer });
    expect((await cloud.vpc.list()).items).toEqual(expect.any(Array));
    await expect(cloud.vpc.create({ name: 'x' })).rejects.toMatchObject({ code: 'forbidden' });
  });

  it('can be many at once, which do not see each other', async () => {
    const clouds = await Promise.all([ephemeral(), ephemeral(), ephemeral()]);
    await Promise.all(clouds.map((cloud) => cloud.vpc.create({ name: 'same', cidr: '10.1.0.0/16' }, { wait: true })));
    for (const cloud of clouds) expect((await cloud.vpc.list()).items).toHaveLength(1);
    await Promise.all(clouds.map((cloud) => cloud.close()));
    expect(await Promise.all(clouds.map(({ dataDir }) => gone(dataDir)))).toEqual([true, true, true]);
  });

  it('is over once, and refuses calls then', async () => {
    const cloud = await ephemeral();
    await Promise.all([cloud.close(), cloud.close()]);
    const late = await cloud.vpc.list().catch((error: unknown) => error);
    expect(isFault(late, 'unavailable'), String(late)).toBe(true);
  });
});

describe('embed', () => {
  it('holds its data directory alone, and finds its rows again', async () => {
    await using outer = await ephemeral();
    const dataDir = `${outer.dataDir}/inner`;
    {
      await using cloud = await embed({ dataDir, driver: 'memory', durable: false });
      await cloud.vpc.create({ name: 'kept' }, { wait: true });
      await expect(embed({ dataDir, driver: 'memory' })).rejects.toMatchObject({ code: 'conflict' });
    }
    await using again = await embed({ dataDir });
    expect((await again.vpc.list()).items).toMatchObject([{ name: 'kept' }]);
  });
});
