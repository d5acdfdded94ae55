// What the compiler must refuse and know. The calls are never made: this file is checked by `tsc`, and by its mere presence in the build.
import { describe, expectTypeOf, it } from 'vitest';
import type { Channel, Cloud } from './index.ts';

/** Compiled, not run. */
const compiled = (_: (cloud: Cloud) => unknown): void => {};

describe('the client’s types', () => {
  it('know what each call takes', () => {
    compiled((cloud) => [
      cloud.vpc.create({ name: 'prod' }),
      cloud.vpc.create({ name: 'prod', cidr: '10.0.0.0/16', labels: { a: 'b' } }, { wait: true, timeout: 1000 }),
      cloud.instance.create({ name: 'web', image: 'busybox', ports: ['8080:80', { instancePort: 81 }], command: ['sleep', '1'] }),
      cloud.vpc.update('prod', { description: null }),
      cloud.vpc.list(),
      cloud.sshKey.get('laptop'),
      // @ts-expect-error a name is needed
      cloud.vpc.create({}),
      // @ts-expect-error a misspelt field
      cloud.vpc.create({ name: 'prod', cdir: '10.0.0.0/16' }),
      // @ts-expect-error another type
      cloud.vpc.create({ name: 'prod', cidr: 16 }),
      // @ts-expect-error the target is needed
      cloud.vpc.get(),
      // @ts-expect-error one of the known words
      cloud.instance.create({ name: 'web', image: 'busybox', restartPolicy: 'sometimes' }),
      // @ts-expect-error no such operation
      cloud.instanceType.create({ name: 'huge' }),
      // @ts-expect-error no such service
      cloud.vpcs.list(),
      // @ts-expect-error a program is needed
      cloud.instance.exec('web', {}),
      // @ts-expect-error set at creation and never changed
      cloud.vpc.update('prod', { cidr: '10.0.0.0/16' }),
      // @ts-expect-error no more than that may be changed
      cloud.instance.update('web', { image: 'debian:trixie' }),
      // @ts-expect-error no such option
      cloud.vpc.list({}, { ifmatch: 3 }),
    ]);
  });

  it('know what each call gives', () => {
    expectTypeOf<Awaited<ReturnType<Cloud['vpc']['get']>>['cidr']>().toEqualTypeOf<string>();
    expectTypeOf<Awaited<ReturnType<Cloud['vpc']['list']>>['items'][number]['generation']>().toEqualTypeOf<number>();
    expectTypeOf<Awaited<ReturnType<Cloud['instance']['get']>>['address']>().toEqualTypeOf<string | undefined>();
    expectTypeOf<ReturnType<Cloud['instance']['exec']>>().toEqualTypeOf<Promise<Channel<{ exitCode: number }>>>();
    expectTypeOf<ReturnType<Cloud['instance']['logs']>>().toExtend<AsyncIterable<{ text: string; stream: 'stdout' | 'stderr' }>>();
  });
});
