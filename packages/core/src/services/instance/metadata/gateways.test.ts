// Servers at gateways that come, go, and find their port taken.
import { expect, test } from 'vitest';
import { ManualClock } from '../../../kernel/clock.ts';
import { silent } from '../../../kernel/log.ts';
import { type Gateway, Gateways } from './gateways.ts';

function open() {
  const clock = new ManualClock();
  const vpcs = new Map<string, Gateway>();
  /** Addresses that the host has. */
  const bridges = new Set<string>();
  const taken = new Set<number>();
  const listening = new Map<string, number>();
  const led: number[] = [];
  const trouble = { lead: 0 };
  const gateways = new Gateways({
    clock,
    log: silent,
    ports: [1000, 1001, 1002],
    gateways: async () => [...vpcs.values()],
    serverFor: (vpcId) => ({
      async listen(host, port) {
        if (!bridges.has(host)) throw Object.assign(new Error('no address'), { code: 'EADDRNOTAVAIL' });
        if (taken.has(port)) throw Object.assign(new Error('in use'), { code: 'EADDRINUSE' });
        listening.set(vpcId, port);
      },
      close: async () => void listening.delete(vpcId),
    }),
    async lead(port) {
      if (trouble.lead-- > 0) throw new Error('not now');
      led.push(port);
    },
  });
  const add = (vpcId: string, address: string) => {
    vpcs.set(vpcId, { vpcId, tenantId: 't', address });
    gateways.wake();
  };
  /** Long enough for several tries, each of which begins to wait only in the turn after it. */
  const settle = async () => {
    for (let turn = 0; turn < 8; turn++) await clock.advance(5_000);
  };
  return { gateways, vpcs, bridges, taken, listening, led, trouble, add, settle, clock };
}

test('each gateway has a server from when its bridge is there until its VPC is gone', async () => {
  const { gateways, vpcs, bridges, listening, led, add, settle } = open();
  gateways.start();
  await settle();
  expect(led).toEqual([]);
  add('a', '10.0.0.1');
  await settle();
  expect([...listening]).toEqual([]);
  bridges.add('10.0.0.1').add('10.1.0.1');
  await settle();
  expect([...listening]).toEqual([['a', 1000]]);
  expect(led).toEqual([1000]);
  add('b', '10.1.0.1');
  await settle();
  expect([...listening].sort(([one], [other]) => (one < other ? -1 : 1))).toEqual([
    ['a', 1000],
    ['b', 1000],
  ]);
  expect(led).toEqual([1000]);
  vpcs.delete('a');
  gateways.wake();
  await settle();
  expect([...listening]).toEqual([['b', 1000]]);
  await gateways.close();
  expect([...listening]).toEqual([]);
});

test('all move together when one finds the port taken, and the rules follow', async () => {
  const { gateways, bridges, taken, listening, led, add, settle } = open();
  bridges.add('10.0.0.1').add('10.1.0.1');
  add('a', '10.0.0.1');
  gateways.start();
  await settle();
  taken.add(1000);
  add('b', '10.1.0.1');
  await settle();
  expect([...listening].sort(([one], [other]) => (one < other ? -1 : 1))).toEqual([
    ['a', 1001],
    ['b', 1001],
  ]);
  expect(led).toEqual([1000, 1001]);
  await gateways.close();
});

test('what fails is tried again', async () => {
  const { gateways, bridges, led, trouble, add, settle } = open();
  bridges.add('10.0.0.1');
  trouble.lead = 3;
  add('a', '10.0.0.1');
  gateways.start();
  await settle();
  expect(led).toEqual([1000]);
  await gateways.close();
});

test('closing does not wait for a bridge that never comes', async () => {
  const { gateways, add } = open();
  add('a', '10.0.0.1');
  gateways.start();
  await gateways.close();
});
