// A plane of a thousand rules put in force, beside as many rules of iptables restored in one transaction, which decide about nothing.
import { tmpdir } from 'node:os';
import { DockerClient } from '../packages/core/src/drivers/docker/client.ts';
import { DockerNetwork } from '../packages/core/src/drivers/docker/network.ts';
import { run } from '../packages/core/src/drivers/docker/tools.ts';
import { silent } from '../packages/core/src/kernel/log.ts';
import type { Plane, PlaneRule } from '../packages/core/src/services/vpc/driver.ts';
import { type Bench, type Case, inTurns } from './case.ts';
import { dockerObstacle } from './docker.ts';

const RESTORE = 'iptables-restore';
const RULES = 1000;
const GROUPS = 20;
const INSTANCES = 200;

const applying: Case = {
  name: `${RULES} rules of ${GROUPS} groups, ${INSTANCES} instances: in force`,
  unit: 'ms',
  subjects: ['apply', RESTORE],
  goals: [{ most: 1000 }],
};

/** No two rules have equal ports and peers, so that none can be left out. `turn` makes each plane another one. */
function plane(turn: number): Plane {
  const network = {
    id: 'vpc-bench',
    cidr: '10.254.0.0/16',
    gateway: '10.254.0.1',
    subnets: [],
    routes: [{ destination: '0.0.0.0/0', target: 'internet' as const }],
  };
  const rule = (at: number): PlaneRule => ({
    id: `rule-${at}`,
    protocol: at % 2 === 0 ? 'tcp' : 'udp',
    ports: { from: 1000 + at, to: 1000 + at + (turn % 2) },
    peer: { cidr: `172.16.${at % 256}.0/24` },
  });
  return {
    networks: [network],
    endpoints: Array.from({ length: INSTANCES }, (_, at) => ({
      instanceId: `inst-${at}`,
      networkId: network.id,
      address: `10.254.1.${at + 4}`,
      groups: [`sg-${at % GROUPS}`, `sg-${(at + 1) % GROUPS}`],
      published: [],
    })),
    groups: Array.from({ length: GROUPS }, (_, group) => ({
      id: `sg-${group}`,
      ingress: Array.from({ length: RULES / GROUPS }, (__, at) => rule(group * (RULES / GROUPS) + at)),
      egress: [{ id: 'out', protocol: 'all', peer: { cidr: '0.0.0.0/0' } }],
    })),
    peerings: [],
    publicAddresses: [],
    services: {},
  };
}

export const bench: Bench = {
  name: 'network',
  cases: [applying],
  obstacle: async () => (await dockerObstacle()) ?? (process.getuid?.() === 0 ? undefined : 'only root may change the packet filter'),
  open: async (stack) => {
    const signal = new AbortController().signal;
    const driver = new DockerNetwork(new DockerClient({ installation: `bench-${process.pid}`, dataDir: tmpdir(), log: silent }));
    const chain = `BENCH-${process.pid}`;
    stack.defer(async () => {
      await driver.apply({ networks: [], endpoints: [], groups: [], peerings: [], publicAddresses: [], services: {} }, signal);
      await run('iptables', ['--wait', '--flush', chain], { accept: [1] });
      await run('iptables', ['--wait', '--delete-chain', chain], { accept: [1] });
    });
    let turn = 0;
    const took = async (work: () => Promise<unknown>): Promise<number> => {
      const before = performance.now();
      await work();
      return performance.now() - before;
    };
    return async (take, round) => {
      await inTurns(round, [
        async () => {
          const next = plane(turn++);
          take(applying)('apply', { value: await took(() => driver.apply(next, signal)) });
        },
        async () => {
          const rules = Array.from(
            { length: RULES },
            (_, at) => `-A ${chain} -p ${at % 2 === 0 ? 'tcp' : 'udp'} -s 172.16.${at % 256}.0/24 --dport ${1000 + at} -j ACCEPT`,
          );
          const input = `*filter\n:${chain} - [0:0]\n${rules.join('\n')}\nCOMMIT\n`;
          take(applying)(RESTORE, { value: await took(() => run('iptables-restore', ['--wait', '--noflush'], { input })) });
        },
      ]);
    };
  },
};
