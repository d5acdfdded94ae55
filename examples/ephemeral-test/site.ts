// What is tested: code of one's own that makes things in a cloud. It takes the client and does not care what carries it.
import type { Cloud } from '@thecloud/sdk';

/** A network with `count` web servers in it, each with a volume; answers with their addresses. Throws what the cloud throws. */
export async function makeSite(cloud: Cloud, name: string, count: number): Promise<string[]> {
  await cloud.vpc.create({ name }, { wait: true });
  const numbers = Array.from({ length: count }, (_, index) => index + 1);
  return Promise.all(
    numbers.map(async (number) => {
      const volume = await cloud.volume.create({ name: `${name}-${number}`, size: 1 }, { wait: true });
      const web = await cloud.instance.create(
        { name: `${name}-${number}`, image: 'busybox', vpc: name, volumes: [`${volume.name}:/data`], labels: { site: name } },
        { wait: true },
      );
      if (web.address === undefined) throw new Error(`${web.name} has no address`);
      return web.address;
    }),
  );
}
