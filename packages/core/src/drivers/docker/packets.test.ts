// Packets against the model: whatever rules, routes, peerings and elastic IPs there are, a packet does what `judge` says of it, and comes from whom it says.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { networkSpec } from '../../services/vpc/driver.conformance.ts';
import type { NetworkSpec, Plane, PlaneRoute, PlaneRule } from '../../services/vpc/driver.ts';
import { judge, type Packet } from '../../services/vpc/verdict.ts';
import { DockerNetwork } from './network.ts';
import { dockerMissing, type Instance, TestInstallation } from './testbench.ts';
import { run } from './tools.ts';

const signal = new AbortController().signal;
const missing = await dockerMissing();

/** Answers with its own name and the address that it was asked from. */
const SERVER = (name: string): string =>
  `mkdir -p /www/cgi-bin; printf '#!/bin/sh\\necho; echo ${name} $REMOTE_ADDR\\n' >/www/cgi-bin/who; chmod +x /www/cgi-bin/who; httpd -p 443 -h /www; exec httpd -f -p 80 -h /www`;

interface Box {
  name: string;
  networkId: string;
  address: string;
  instance: Instance;
}

describe.skipIf(missing !== undefined)(`packets on Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let installation: TestInstallation;
  let driver: DockerNetwork;
  const specs: NetworkSpec[] = [];
  const boxes: Box[] = [];
  let enforced = false;

  beforeAll(async () => {
    installation = await TestInstallation.create();
    driver = new DockerNetwork(installation.client);
    enforced = (await driver.report()).checks.find(({ name }) => name === 'packet filter')?.ok === true;
    for (const network of ['a', 'b', 'c']) {
      const spec = networkSpec(installation.freeCidr());
      await driver.ensure(spec, signal);
      specs.push(spec);
      // One in each half, which are the subnets.
      for (const last of [10, 200]) {
        const address = spec.cidr.replace('0/24', String(last));
        const name = `${network}${last}`;
        boxes.push({ name, networkId: spec.id, address, instance: await installation.run({ network: spec.id, address, script: SERVER(name) }) });
      }
    }
  }, 60_000);
  afterAll(async () => {
    for (const { instance } of boxes) await instance.remove();
    if (enforced) await driver.apply({ networks: [], endpoints: [], groups: [], peerings: [], publicAddresses: [], services: {} }, signal);
    for (const { id } of specs) await driver.remove(id, signal);
    await installation?.close();
  });

  /** `name source`, or nothing: of each address and port, all at once. */
  async function ask(from: Box, targets: readonly { address: string; port: number }[]): Promise<string[]> {
    const lines = targets.map(
      ({ address, port }, at) => `(printf 'GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n' | nc -w 1 ${address} ${port} 2>/dev/null | tail -n 1 >/tmp/${at}) &`,
    );
    const { output } = await from.instance.sh(`${lines.join('\n')}\nwait; for at in $(seq 0 ${targets.length - 1}); do echo "$at $(cat /tmp/$at)"; done`);
    return output
      .trimEnd()
      .split('\n')
      .map((line) =>
        line
          .split(' ')
          .slice(1)
          .join(' ')
          .replace(/\[::ffff:([\d.]+)\]/, '$1'),
      );
  }
  const ping = async (from: Box, address: string): Promise<boolean> => (await from.instance.sh(`ping -c 1 -W 1 ${address}`)).code === 0;

  const GROUPS = ['g1', 'g2', 'g3'];
  const ELASTIC = ['100.127.255.1', '100.127.255.2', '100.127.255.3'];

  function planes(): fc.Arbitrary<Plane> {
    const halves = specs.map(({ cidr }) => [cidr.replace('/24', '/25'), cidr.replace('0/24', '128/25')] as const);
    const cidr = fc.constantFrom(
      '0.0.0.0/0',
      ...specs.map(({ cidr: whole }) => whole),
      ...halves.flat(),
      ...boxes.map(({ address }) => `${address}/32`),
      `${ELASTIC[0]}/32`,
      '100.64.0.0/10',
    );
    const rule = fc
      .record({
        protocol: fc.constantFrom('tcp' as const, 'all' as const, 'icmp' as const, 'udp' as const),
        ports: fc.constantFrom(undefined, { from: 80, to: 80 }, { from: 443, to: 443 }, { from: 1, to: 442 }),
        peer: fc.oneof(
          cidr.map((value) => ({ cidr: value })),
          fc.constantFrom(...GROUPS).map((group) => ({ group })),
        ),
      })
      .map(
        ({ protocol, ports, peer }): PlaneRule => ({
          id: 'rule',
          protocol,
          peer,
          ...(ports === undefined || protocol === 'all' || protocol === 'icmp' ? {} : { ports }),
        }),
      );
    const everything: PlaneRule = { id: 'everything', protocol: 'all', peer: { cidr: '0.0.0.0/0' } };
    const rules = fc.oneof({ weight: 2, arbitrary: fc.constant([everything]) }, { weight: 3, arbitrary: fc.array(rule, { maxLength: 4 }) });
    const route = fc.oneof(
      fc.constant<PlaneRoute>({ destination: '0.0.0.0/0', target: 'internet' }),
      fc
        .constantFrom(undefined, ELASTIC[2] as string)
        .map((source): PlaneRoute => ({ destination: '0.0.0.0/0', target: 'nat', ...(source === undefined ? {} : { source }) })),
      cidr.map((destination): PlaneRoute => ({ destination, target: 'blackhole' })),
    );
    const routes = fc.uniqueArray(route, { maxLength: 2, selector: ({ destination }) => destination });
    return fc.record({
      networks: fc.tuple(
        ...specs.map(({ id, cidr: whole, gateway }, at) =>
          fc.record({
            id: fc.constant(id),
            cidr: fc.constant(whole),
            gateway: fc.constant(gateway),
            routes,
            subnets: fc
              .subarray([...(halves[at] as readonly string[])])
              .chain((chosen) => fc.tuple(...chosen.map((part) => routes.map((of) => ({ id: `sub-${part}`, cidr: part, routes: of }))))),
          }),
        ),
      ),
      endpoints: fc.tuple(
        ...boxes.map(({ name, networkId, address }) =>
          fc.subarray(GROUPS, { minLength: 1 }).map((groups) => ({ instanceId: name, networkId, address, groups, published: [] })),
        ),
      ),
      groups: fc.tuple(...GROUPS.map((id) => fc.record({ id: fc.constant(id), ingress: rules, egress: rules }))),
      peerings: fc.subarray([
        { id: 'ab', networks: [specs[0]?.id, specs[1]?.id] as [string, string] },
        { id: 'bc', networks: [specs[1]?.id, specs[2]?.id] as [string, string] },
      ]),
      publicAddresses: fc
        .shuffledSubarray(
          boxes.map(({ address }) => address),
          { minLength: 2, maxLength: 2 },
        )
        .chain(([one, two]) =>
          fc.constantFrom(
            [],
            ELASTIC.map((address) => ({ address })),
            [
              { address: ELASTIC[0] as string, endpoint: one as string },
              { address: ELASTIC[1] as string, endpoint: two as string },
              { address: ELASTIC[2] as string },
            ],
          ),
        ),
      services: fc.constant({}),
    }) as fc.Arbitrary<Plane>;
  }

  test('a packet does what the model says, whatever the rules', async ({ skip }) => {
    if (!enforced) skip('our packet filter is not available here');
    let passed = 0;
    let stopped = 0;
    await fc.assert(
      fc.asyncProperty(planes(), async (plane) => {
        await driver.apply(plane, signal);
        await Promise.all(
          boxes.map(async (from) => {
            const addresses = [
              ...boxes.filter(({ name }) => name !== from.name).map(({ address }) => address),
              ...plane.publicAddresses.map(({ address }) => address),
            ];
            const targets = addresses.flatMap((address) => [80, 443].map((port) => ({ address, port })));
            const seen = await ask(from, targets);
            for (const [at, { address, port }] of targets.entries()) {
              const packet: Packet = { from: from.address, to: address, protocol: 'tcp', port };
              const { passes, receiver, source, steps } = judge(plane, packet);
              const expected = passes ? `${receiver?.instanceId} ${source}` : '';
              expect(seen[at], `${JSON.stringify(packet)} ${JSON.stringify(steps)}`).toBe(expected);
              if (passes) passed++;
              else stopped++;
            }
            const [first] = boxes.filter(({ networkId }) => networkId !== from.networkId);
            const echo: Packet = { from: from.address, to: first?.address as string, protocol: 'icmp' };
            expect(await ping(from, echo.to), JSON.stringify(echo)).toBe(judge(plane, echo).passes);
          }),
        );
      }),
      { numRuns: Number(process.env.CLOUD_PACKET_RUNS ?? 10), endOnFailure: true },
    );
    // Rules that let everything or nothing pass would prove little.
    expect(passed).toBeGreaterThan(20);
    expect(stopped).toBeGreaterThan(20);
  }, 300_000);

  test('an open connection ends with the rule that let it pass, and with the peering', async ({ skip }) => {
    if (!enforced) skip('our packet filter is not available here');
    const [a, b, c] = [boxes[0] as Box, boxes[1] as Box, boxes[2] as Box];
    const plane = (ingress: PlaneRule[], peered: boolean): Plane => ({
      networks: specs.map(({ id, cidr, gateway }) => ({ id, cidr, gateway, subnets: [], routes: [] })),
      endpoints: boxes.map(({ name, networkId, address }) => ({ instanceId: name, networkId, address, groups: ['g'], published: [] })),
      groups: [{ id: 'g', ingress, egress: [{ id: 'out', protocol: 'all', peer: { cidr: '0.0.0.0/0' } }] }],
      peerings: peered ? [{ id: 'p', networks: [a.networkId, c.networkId] }] : [],
      publicAddresses: [],
      services: {},
    });
    const open: PlaneRule = { id: 'in', protocol: 'tcp', ports: { from: 5000, to: 5000 }, peer: { cidr: '0.0.0.0/0' } };
    /** Sends a line every tenth of a second; tells how many have arrived. */
    const stream = async (from: Box, to: Box): Promise<{ arrived(): Promise<number>; end(): Promise<void> }> => {
      await to.instance.sh('(tail -f /dev/null | nc -l -p 5000 >/tmp/lines) >/dev/null 2>&1 &');
      await from.instance.sh(`(while sleep 0.1; do echo line || exit; done | nc ${to.address} 5000) >/dev/null 2>&1 &`);
      return {
        arrived: async () => Number((await to.instance.sh('wc -l </tmp/lines')).output),
        end: async () => {
          for (const { instance } of [from, to]) await instance.sh('killall nc tail');
        },
      };
    };
    for (const [to, closed] of [
      [b, plane([], true)],
      [c, plane([open], false)],
    ] as const) {
      await driver.apply(plane([open], true), signal);
      const flow = await stream(a, to);
      await expect.poll(() => flow.arrived(), { timeout: 5_000 }).toBeGreaterThan(3);
      await driver.apply(closed, signal);
      const then = await flow.arrived();
      await new Promise((resolve) => setTimeout(resolve, 800));
      expect(await flow.arrived()).toBe(then);
      // Nothing was cut off for good: what may pass again goes on.
      await driver.apply(plane([open], true), signal);
      await expect.poll(() => flow.arrived(), { timeout: 15_000 }).toBeGreaterThan(then);
      await flow.end();
    }
  }, 60_000);

  test('what is sent under the address of another stays at the interface', async ({ skip }) => {
    if (!enforced) skip('our packet filter is not available here');
    const [one, two] = [boxes[0] as Box, boxes[1] as Box];
    const intruder = await installation.run({ network: one.networkId, address: one.address.replace(/\d+$/, '66'), host: { CapAdd: ['NET_ADMIN', 'NET_RAW'] } });
    const address = one.address.replace(/\d+$/, '66');
    try {
      await driver.apply(
        {
          networks: specs.map(({ id, cidr, gateway }) => ({ id, cidr, gateway, subnets: [], routes: [] })),
          endpoints: [
            ...boxes.map(({ name, networkId, address: at }) => ({ name, networkId, at })),
            { name: 'intruder', networkId: one.networkId, at: address },
          ].map(({ name, networkId, at }) => ({ instanceId: name, networkId, address: at, groups: ['g'], published: [] })),
          groups: [
            {
              id: 'g',
              ingress: [{ id: 'in', protocol: 'all', peer: { cidr: '0.0.0.0/0' } }],
              egress: [{ id: 'out', protocol: 'all', peer: { cidr: '0.0.0.0/0' } }],
            },
          ],
          peerings: [],
          publicAddresses: [],
          services: {},
        },
        signal,
      );
      const { State } = await installation.client.docker.getContainer(intruder.instanceId).inspect();
      await driver.bind({ pid: State.Pid, networkId: one.networkId, address }, signal);
      const answers = async (): Promise<boolean> => (await intruder.sh(`ping -c 1 -W 1 ${two.address}`)).code === 0;
      expect(await answers()).toBe(true);
      const was = (await intruder.sh('cat /sys/class/net/eth0/address')).output.trim();
      const theirs = (await one.instance.sh('cat /sys/class/net/eth0/address')).output.trim();
      // The address alone, then the hardware address with it.
      await intruder.sh(`ip addr add ${one.address}/24 dev eth0`);
      expect((await intruder.sh(`ping -c 1 -W 1 -I ${one.address} ${two.address}`)).code).not.toBe(0);
      await intruder.sh(
        `ip link set eth0 down; ip link set eth0 address ${theirs}; ip link set eth0 up; ip addr del ${address}/24 dev eth0; ip addr add ${one.address}/24 dev eth0`,
      );
      expect((await intruder.sh(`ping -c 1 -W 1 ${two.address}`)).code).not.toBe(0);
      expect((await two.instance.sh(`ping -c 1 -W 1 ${one.address}`)).code, 'who has the address by right is still there').toBe(0);
      await intruder.sh(
        `ip link set eth0 down; ip link set eth0 address ${was}; ip addr flush dev eth0; ip addr add ${address}/24 dev eth0; ip link set eth0 up`,
      );
      await expect.poll(answers, { timeout: 5_000 }).toBe(true);
    } finally {
      await intruder.remove();
    }
  }, 60_000);

  test('the host reaches an elastic IP as the rules allow, and nobody else an address that leads nowhere', async ({ skip }) => {
    if (!enforced) skip('our packet filter is not available here');
    const [one, , other] = [boxes[0] as Box, boxes[1] as Box, boxes[2] as Box];
    const plane = (endpoint: string | undefined, ingress: PlaneRule[]): Plane => ({
      networks: specs.map(({ id, cidr, gateway }) => ({ id, cidr, gateway, subnets: [], routes: [{ destination: '0.0.0.0/0', target: 'internet' }] })),
      endpoints: boxes.map(({ name, networkId, address }) => ({ instanceId: name, networkId, address, groups: ['g'], published: [] })),
      groups: [{ id: 'g', ingress, egress: [{ id: 'out', protocol: 'all', peer: { cidr: '0.0.0.0/0' } }] }],
      peerings: [],
      publicAddresses: [{ address: ELASTIC[0] as string, ...(endpoint === undefined ? {} : { endpoint }) }],
      services: {},
    });
    const open: PlaneRule = { id: 'in', protocol: 'tcp', ports: { from: 80, to: 80 }, peer: { cidr: '0.0.0.0/0' } };
    const fromHost = async (): Promise<string> => {
      const { stdout } = await run('curl', ['--silent', '--max-time', '1', `http://${ELASTIC[0]}/cgi-bin/who`], { signal, accept: [7, 28, 56] });
      return stdout.trim().split(' ')[0] ?? '';
    };
    await driver.apply(plane(one.address, [open]), signal);
    expect(await fromHost()).toBe(one.name);
    await driver.apply(plane(one.address, []), signal);
    expect(await fromHost()).toBe('');
    // Moved in one step.
    await driver.apply(plane(other.address, [open]), signal);
    expect(await fromHost()).toBe(other.name);
    await driver.apply(plane(undefined, [open]), signal);
    expect(await fromHost()).toBe('');
    expect(await ask(one, [{ address: ELASTIC[0] as string, port: 80 }])).toEqual(['']);
  }, 60_000);
});
