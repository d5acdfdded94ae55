// Networks on a real engine: the common suite, and packets between instances of three VPCs of two installations.
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { networkConformance, networkSpec, refused } from '../../services/vpc/driver.conformance.ts';
import type { NetworkSpec, Plane, PlaneEndpoint } from '../../services/vpc/driver.ts';
import { tableOf } from './filter.ts';
import { DockerNetwork } from './network.ts';
import { dockerMissing, type Instance, TestInstallation } from './testbench.ts';
import { run } from './tools.ts';

const signal = new AbortController().signal;
const missing = await dockerMissing();

describe.skipIf(missing !== undefined)(`with Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  networkConformance('docker', async () => {
    const installation = await TestInstallation.create();
    return {
      driver: new DockerNetwork(installation.client),
      freeCidr: () => installation.freeCidr(),
      occupy: (networkId) => installation.run({ network: networkId }),
      close: () => installation.close(),
    };
  });

  describe('on the host', () => {
    let installation: TestInstallation;
    let driver: DockerNetwork;
    beforeAll(async () => {
      installation = await TestInstallation.create();
      driver = new DockerNetwork(installation.client);
    });
    afterAll(() => installation.close());

    test('a range of the host is refused, and what has it stays untold', async () => {
      const bridge = await installation.client.docker.getNetwork('bridge').inspect();
      const cidr = bridge.IPAM?.Config?.[0]?.Subnet ?? expect.fail('the default bridge has no range');
      const error = await refused(driver.ensure({ ...networkSpec(cidr), gateway: cidr.replace(/0\/\d+$/, '1') }, signal), 'bad_spec');
      expect(error.message).toBe(`${cidr} overlaps with a network that this host already uses`);
      expect(await driver.reserved()).toContain(cidr);
    });

    test("another installation's network is reserved and not ours", async () => {
      const other = await TestInstallation.create();
      const theirs = new DockerNetwork(other.client);
      const spec = networkSpec(other.freeCidr());
      await theirs.ensure(spec, signal);
      try {
        expect(await driver.reserved()).toContain(spec.cidr);
        expect(await driver.inspect(spec.id)).toBeUndefined();
        expect((await driver.list()).map(({ id }) => id)).not.toContain(spec.id);
        await driver.remove(spec.id, signal);
        expect(await theirs.inspect(spec.id)).toEqual(spec);
        await refused(driver.ensure({ ...spec, cidr: installation.freeCidr(), gateway: spec.gateway }, signal), 'bad_spec');
      } finally {
        await theirs.remove(spec.id, signal);
        await other.close();
      }
    });

    test('each network has its own bridge, whose name fits an interface', async () => {
      const spec = networkSpec(installation.freeCidr());
      await driver.ensure(spec, signal);
      const bridge = driver.bridgeOf(spec.id);
      expect(bridge).toMatch(/^cl[0-9a-z]{13}$/);
      expect(bridge).not.toBe(driver.bridgeOf(`${spec.id}x`));
      expect(existsSync(`/sys/class/net/${bridge}`)).toBe(true);
      await driver.remove(spec.id, signal);
      expect(existsSync(`/sys/class/net/${bridge}`)).toBe(false);
    });

    test('two networks of one name, left by creates that met, become one', async () => {
      const spec = networkSpec(installation.freeCidr());
      await driver.ensure(spec, signal);
      const extra = installation.freeCidr();
      await installation.client.docker.createNetwork({
        Name: spec.id,
        CheckDuplicate: false,
        Driver: 'bridge',
        IPAM: { Driver: 'default', Config: [{ Subnet: extra }] },
        Labels: installation.client.labels(spec.id),
      });
      await driver.ensure(spec, signal);
      expect((await driver.list()).filter(({ id }) => id === spec.id)).toHaveLength(1);
      expect(await driver.inspect(spec.id)).toEqual(spec);
      await driver.remove(spec.id, signal);
      expect(await driver.reserved()).not.toContain(extra);
    });

    test('rules that something flushed are missed, and back with the next apply', async ({ skip }) => {
      if (!(await ownRules(driver))) skip('our packet filter is not available here');
      const spec = networkSpec(installation.freeCidr());
      const plane = planeOf([spec], []);
      await driver.apply(plane, signal);
      expect(await driver.inForce(signal)).toBe(true);
      const table = tableOf(installation.client.installation);
      await run('nft', ['delete', 'chain', 'ip', table, 'verdict']);
      expect(await driver.inForce(signal)).toBe(false);
      await driver.apply(plane, signal);
      expect(await driver.inForce(signal)).toBe(true);
      expect((await run('nft', ['list', 'table', 'ip', table])).stdout).toContain(driver.bridgeOf(spec.id));
      await driver.apply(planeOf([], []), signal);
      expect((await run('nft', ['list', 'ruleset'])).stdout).not.toContain(table);
    });

    test('rules that an installation left when it went make way for whoever gets its range; those of a living one stay', async ({ skip }) => {
      if (!(await ownRules(driver))) skip('our packet filter is not available here');
      const [gone, alive] = [await TestInstallation.create(), await TestInstallation.create()];
      const [theirs, others] = [new DockerNetwork(gone.client), new DockerNetwork(alive.client)];
      const spec = networkSpec(gone.freeCidr());
      const living = networkSpec(alive.freeCidr());
      const listed = async () => (await run('nft', ['list', 'tables'])).stdout;
      try {
        await theirs.apply(planeOf([spec], []), signal);
        await others.ensure(living, signal);
        await others.apply(planeOf([living], []), signal);
        await driver.apply(planeOf([{ ...networkSpec(spec.cidr) }, networkSpec(living.cidr)], []), signal);
        expect(await listed()).not.toContain(tableOf(gone.client.installation));
        expect(await listed()).toContain(`table ip ${tableOf(alive.client.installation)}`);
        expect(await listed()).toContain(`table bridge ${tableOf(alive.client.installation)}`);
      } finally {
        for (const each of [driver, others, theirs]) await each.apply(planeOf([], []), signal);
        await others.remove(living.id, signal);
        await Promise.all([gone.close(), alive.close()]);
      }
    });
  });

  describe('packets', () => {
    // Made in the order a, b, c, so that each pair is tried from the elder to the younger and back; c belongs to another installation.
    const names = ['a', 'b', 'c'] as const;
    type Name = (typeof names)[number];
    interface Vpc {
      spec: NetworkSpec;
      address: string;
      publishedAnywhere: number;
      publishedOnLoopback: number;
      server: Instance;
      /** Has NET_ADMIN and NET_RAW: it may change its own routes and addresses. */
      attacker: Instance;
    }
    const vpcs = {} as Record<Name, Vpc>;
    const installations: TestInstallation[] = [];
    const drivers: DockerNetwork[] = [];

    beforeAll(async () => {
      installations.push(await TestInstallation.create(), await TestInstallation.create());
      drivers.push(...installations.map(({ client }) => new DockerNetwork(client)));
      for (const name of names) {
        const installation = installations[name === 'c' ? 1 : 0] as TestInstallation;
        const spec = networkSpec(installation.freeCidr());
        await driverOf(name).ensure(spec, signal);
        const address = spec.cidr.replace('0/24', '10');
        const server = await installation.run({
          network: spec.id,
          address,
          script: `mkdir /www; echo ${name} >/www/index.html; httpd -p 81 -h /www; exec httpd -f -p 80 -h /www`,
          ports: ['80/tcp', '81/tcp'],
          host: { PortBindings: { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '0' }], '81/tcp': [{ HostIp: '127.0.0.1', HostPort: '0' }] } },
        });
        const { Ports } = (await installation.client.docker.getContainer(server.instanceId).inspect()).NetworkSettings;
        vpcs[name] = {
          spec,
          address,
          publishedAnywhere: Number(Ports['80/tcp']?.[0]?.HostPort),
          publishedOnLoopback: Number(Ports['81/tcp']?.[0]?.HostPort),
          server,
          attacker: await installation.run({ network: spec.id, address: spec.cidr.replace('0/24', '20'), host: { CapAdd: ['NET_ADMIN', 'NET_RAW'] } }),
        };
      }
      await inForce(['a', 'b']);
      await inForce(['c']);
    });

    const inForce = async (of: Name[]): Promise<void> => {
      const endpoints = of.flatMap((name) => {
        const { spec, address, publishedAnywhere, publishedOnLoopback } = vpcs[name];
        const at = (endpoint: string): PlaneEndpoint => ({
          instanceId: `${name} ${endpoint}`,
          networkId: spec.id,
          address: endpoint,
          groups: [spec.id],
          published: [],
        });
        const published = [
          { protocol: 'tcp' as const, instancePort: 80, hostAddress: '0.0.0.0', hostPort: publishedAnywhere },
          { protocol: 'tcp' as const, instancePort: 81, hostAddress: '127.0.0.1', hostPort: publishedOnLoopback },
        ];
        return [{ ...at(address), published }, at(spec.cidr.replace('0/24', '20'))];
      });
      const driver = driverOf(of[0] as Name);
      if (await ownRules(driver))
        await driver.apply(
          planeOf(
            of.map((name) => vpcs[name].spec),
            endpoints,
          ),
          signal,
        );
    };

    afterAll(async () => {
      for (const { server, attacker } of Object.values(vpcs)) {
        await server.remove();
        await attacker.remove();
      }
      for (const name of names) if (vpcs[name] !== undefined) await driverOf(name).remove(vpcs[name].spec.id, signal);
      for (const driver of drivers) if (await ownRules(driver)) await driver.apply(planeOf([], []), signal);
      for (const installation of installations) await installation.close();
    });

    const driverOf = (name: Name): DockerNetwork => drivers[name === 'c' ? 1 : 0] as DockerNetwork;

    const ping = async (from: Instance, address: string): Promise<boolean> => (await from.sh(`ping -c 1 -W 1 ${address}`)).code === 0;
    const tcp = async (from: Instance, address: string, port: number): Promise<string> =>
      (await from.sh(`printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w 1 ${address} ${port} 2>/dev/null | tail -n 1`)).output.trim();
    /** How many UDP packets arrive at the server when the other asks it for a name. */
    const udp = async (from: Instance, server: Instance, address: string): Promise<number> => {
      const before = await udpArrived(server);
      await from.sh(`timeout 1 nslookup x ${address}`);
      return (await udpArrived(server)) - before;
    };

    const pairs = names.flatMap((from) => names.filter((to) => to !== from).map((to) => [from, to] as const));

    test.each(names)('inside VPC %s everything arrives', async (name) => {
      const { attacker, address, spec } = vpcs[name];
      expect(await ping(attacker, address)).toBe(true);
      expect(await ping(attacker, spec.gateway)).toBe(true);
      expect(await tcp(attacker, address, 80)).toBe(name);
      expect(await udp(attacker, vpcs[name].server, address)).toBeGreaterThan(0);
      expect(await tcp(attacker, vpcs[name].server.instanceId, 81), 'by name').toBe(name);
    });

    test.each(pairs)('from %s nothing reaches the private addresses of %s, on ports published or not', async (from, to) => {
      const { attacker } = vpcs[from];
      const { address, server } = vpcs[to];
      const attempts = [ping(attacker, address), tcp(attacker, address, 80), tcp(attacker, address, 81), tcp(attacker, server.instanceId, 80)];
      expect(await Promise.all([...attempts, udp(attacker, server, address)])).toEqual([false, '', '', '', 0]);
    });

    test.each(pairs)('from %s no route and no borrowed address of %s gets through', async (from, to) => {
      const { attacker, spec: own } = vpcs[from];
      const { server, spec, address } = vpcs[to];
      const borrowed = spec.cidr.replace('0/24', '30');
      await attacker.sh(`ip route add ${spec.cidr} via ${own.gateway}; ip addr add ${borrowed}/32 dev eth0`);
      const echoes = await echoReplies(server);
      try {
        expect(await tcp(attacker, address, 80)).toBe('');
        expect(await udp(attacker, server, address)).toBe(0);
        await attacker.sh(`ip route del ${spec.cidr}; ip route add ${spec.cidr} via ${own.gateway} src ${borrowed}`);
        expect(await udp(attacker, server, address), 'with a forged source').toBe(0);
        // Bounced off the host: the answer to a forged question goes to whom it names.
        await attacker.sh(`ip addr add ${address}/32 dev eth0; ping -c 2 -i 0.2 -W 1 -I ${address} ${own.gateway}`);
        if (await ownRules(driverOf(from))) expect(await echoReplies(server)).toBe(echoes);
      } finally {
        await attacker.sh(`ip route del ${spec.cidr}; ip addr del ${borrowed}/32 dev eth0; ip addr del ${address}/32 dev eth0`);
      }
    });

    test.for(pairs)('from %s the gateway address of %s does not answer, and no port that is published behind it', async ([from, to], { skip }) => {
      if (!(await ownRules(driverOf(from)))) skip('our packet filter is not available here');
      const { attacker } = vpcs[from];
      const { spec, publishedAnywhere, publishedOnLoopback } = vpcs[to];
      const attempts = [ping(attacker, spec.gateway), tcp(attacker, spec.gateway, publishedAnywhere), tcp(attacker, spec.gateway, publishedOnLoopback)];
      expect(await Promise.all(attempts)).toEqual([false, '', '']);
    });

    test.each(pairs)("from %s a port of %s is reached only where it was published: on the host's own addresses", async (from, to) => {
      const { attacker, spec } = vpcs[from];
      const { publishedAnywhere, publishedOnLoopback } = vpcs[to];
      // What another installation publishes is to instances a program of the host like any other.
      const foreign = driverOf(from) !== driverOf(to) && (await ownRules(driverOf(from)));
      expect(await tcp(attacker, spec.gateway, publishedAnywhere)).toBe(foreign ? '' : to);
      expect(await tcp(attacker, spec.gateway, publishedOnLoopback)).toBe('');
      for (const port of [publishedAnywhere, publishedOnLoopback]) {
        expect((await (await fetch(`http://127.0.0.1:${port}/index.html`, { signal: AbortSignal.timeout(2_000) })).text()).trim()).toBe(to);
      }
    });

    test('an instance that no rule knows reaches nobody, and nobody it', async () => {
      const installation = installations[0] as TestInstallation;
      const spec = networkSpec(installation.freeCidr());
      const driver = driverOf('a');
      await driver.ensure(spec, signal);
      const instance = await installation.run({ network: spec.id });
      expect(await ping(instance, vpcs.a.address)).toBe(false);
      expect(await ping(vpcs.a.attacker, spec.cidr.replace('0/24', '2'))).toBe(false);
      await instance.remove();
      await driver.remove(spec.id, signal);
      expect(await ping(vpcs.b.attacker, vpcs.a.address)).toBe(false);
    });
  });
});

/** VPCs as they are without anybody's wish: a way out, and a group of all. */
const planeOf = (specs: readonly NetworkSpec[], endpoints: PlaneEndpoint[]): Plane => ({
  networks: specs.map(({ id, cidr, gateway }) => ({ id, cidr, gateway, subnets: [], routes: [{ destination: '0.0.0.0/0', target: 'internet' }] })),
  endpoints,
  groups: specs.map(({ id }) => ({
    id,
    ingress: [{ id: 'in', protocol: 'all', peer: { group: id } }],
    egress: [{ id: 'out', protocol: 'all', peer: { cidr: '0.0.0.0/0' } }],
  })),
  peerings: [],
  publicAddresses: [],
  services: {},
});

/** Whether our own packet filter stands beside Docker's. */
async function ownRules(driver: DockerNetwork): Promise<boolean> {
  const check = (await driver.report()).checks.find(({ name }) => name === 'packet filter');
  return check?.ok === true;
}

/** A counter of the instance's own network stack. */
async function counter(instance: Instance, protocol: string, name: string): Promise<number> {
  const [names, values] = (await instance.sh(`grep ^${protocol}: /proc/net/snmp`)).output
    .trim()
    .split('\n')
    .map((line) => line.split(' '));
  return Number(values?.[names?.indexOf(name) ?? -1]);
}

/** Answers to pings, asked for or not. */
const echoReplies = (instance: Instance): Promise<number> => counter(instance, 'Icmp', 'InEchoReps');

/** Packets with and without a listener. */
const udpArrived = async (instance: Instance): Promise<number> => (await counter(instance, 'Udp', 'InDatagrams')) + (await counter(instance, 'Udp', 'NoPorts'));
