// A small cloud in which every operation of every contract has something to work on, and an input for each, made from the contract's own examples.

import { z } from 'zod';
import { contracts, fieldMeta, inputShape, type Operation, unwrap } from '../../packages/core/src/contracts.ts';
import { type Bench, bench } from '../../packages/core/src/testing/bench.ts';

export interface Case {
  service: string;
  name: string;
  operation: Operation;
  stored: boolean;
}

export const cases: Case[] = Object.values(contracts).flatMap(({ resource, operations }) =>
  Object.entries(operations as Readonly<Record<string, Operation>>)
    .filter(([, operation]) => !operation.internal)
    .map(([name, operation]) => ({ service: resource.name, name, operation, stored: resource.stored })),
);
export const titleOf = ({ service, name }: Case): string => `${service} ${name}`;

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8q0u8FzSGDLg8mXAnA8mVq1T9bD3Vbl0Fvq4vJ2m0Q me@example';

/** What a name in a field stands for, by resource. */
const NAMES: Readonly<Record<string, string>> = {
  vpc: 'prod',
  volume: 'data',
  instance: 'web',
  snapshot: 'nightly',
  'ssh-key': 'laptop',
  image: 'busybox',
  'instance-type': 'small',
};

/** Where the resource's usual one will not do, or an example cannot be known from the field alone. */
const SPECIAL: Readonly<Record<string, { target?: string; input?: Record<string, unknown> }>> = {
  'vpc delete': { target: 'lonely' },
  // Without one the VPC `default` is made, which is a change besides.
  'instance create': { input: { vpc: 'prod', ports: ['80'] } },
  'instance update': { input: { ports: ['81'], allowRestart: true } },
  'instance start': { target: 'idle' },
  'instance resume': { target: 'frozen' },
  'volume attach': { input: { allowRestart: true } },
  'volume detach': { target: 'disk', input: { allowRestart: true } },
  'image delete': { target: 'alpine:3.20' },
  'instance connect': { input: { port: 80 } },
  'instance upload': { input: { path: '/tmp' } },
  'instance download': { input: { path: '/tmp' } },
  'instance stats': { input: { samples: 1 } },
};

const nameOf = (resource: string): string => NAMES[resource] ?? 'sample';

/** A valid input: the examples of the fields, and for references what the fixture has. */
export function inputOf(of: Pick<Case, 'service' | 'name' | 'operation'>): Record<string, unknown> {
  const input: Record<string, unknown> = {};
  for (const [key, schema] of Object.entries(inputShape(of.operation))) {
    const meta = fieldMeta(schema);
    const required = !schema.safeParse(undefined).success;
    const many = unwrap(schema) instanceof z.ZodArray;
    if (key === 'name') input[key] = 'fresh';
    else if (meta.ref !== undefined && required) input[key] = many ? [nameOf(meta.ref)] : nameOf(meta.ref);
    else if (meta.example !== undefined) input[key] = meta.example;
    else if (required && unwrap(schema) instanceof z.ZodString) input[key] = 'x';
  }
  if (of.operation.standard === 'update') input['labels'] = { changed: 'yes' };
  return { ...input, ...SPECIAL[`${of.service} ${of.name}`]?.input };
}

export interface Fixture extends Bench {
  targetOf(of: Case): string | undefined;
  /** What only this fixture knows of an input, by title. */
  known: Readonly<Record<string, Record<string, unknown>>>;
}

export async function fixture(): Promise<Fixture> {
  const b = await bench();
  const { cloud } = b;
  await b.ready(cloud.vpc.create({ name: 'prod' }));
  await b.ready(cloud.vpc.create({ name: 'lonely' }));
  await b.ready(cloud.volume.create({ name: 'data' }));
  await b.ready(cloud.volume.create({ name: 'disk' }));
  await cloud.sshKey.create({ name: 'laptop', publicKey: KEY });
  await b.ended(cloud.snapshot.create({ name: 'nightly', volume: 'data' }));
  await b.ended(cloud.image.pull({ reference: 'alpine:3.20' }));
  const last = await b.ready(cloud.instance.create({ name: 'web', image: 'busybox', vpc: 'prod', volumes: ['disk:/disk'] }));
  for (const name of ['idle', 'frozen']) await b.ready(cloud.instance.create({ name, image: 'busybox', vpc: 'prod' }));
  await b.ended(cloud.instance.stop('idle'));
  await b.ended(cloud.instance.pause('frozen'));
  // Services that are not named here get one resource called `sample`, if the examples suffice to make it.
  for (const { resource, operations } of Object.values(contracts)) {
    const create = (operations as Readonly<Record<string, Operation>>)['create'];
    if (create === undefined || !resource.stored || NAMES[resource.name] !== undefined) continue;
    const input = { ...inputOf({ service: resource.name, name: 'create', operation: create }), name: 'sample' };
    const { operation } = await b.call({ service: resource.name, operation: 'create', input });
    if (operation !== undefined) await b.ended({ operation });
  }
  await cloud.secret.rotate('sample', { value: 'another' });
  await cloud.queue.send('sample', { body: 'hello', delay: 0 });
  const { items } = await cloud.queue.receive('sample');
  const receipt = items[0]?.receipt;
  return {
    ...b,
    known: { 'queue ack': { receipt }, 'queue release': { receipt }, 'queue extend': { receipt } },
    targetOf: (of) => {
      if (!of.operation.target) return undefined;
      return of.service === 'operation' ? last.operation : (SPECIAL[titleOf(of)]?.target ?? nameOf(of.service));
    },
    [Symbol.asyncDispose]: () => b.close(),
  };
}
