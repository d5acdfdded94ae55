// The engine on a core of its own, with nothing but buckets on top: what its tests have in common.

import { type Clock, systemClock } from '../../../kernel/clock.ts';
import type { ServiceContext } from '../../../kernel/service.ts';
import { service } from '../../../kernel/service.ts';
import type { Unit } from '../../../kernel/store.ts';
import { Table } from '../../../kernel/table.ts';
import { services } from '../../../services.ts';
import { type Bench, type BenchOptions, bench } from '../../../testing/bench.ts';
import { buckets } from '../contract.ts';
import { migrations } from '../tables.ts';
import { claimName, releaseName } from './buckets.ts';
import { type EngineOptions, engineOf, type ObjectEngine } from './objects.ts';
import { all } from './sql.ts';
import { type Actor, type Bucket, type ObjectAttributes, ObjectError, type PutOptions } from './types.ts';

/** A clock that is set, and does not wake those who sleep: nothing of a core has to run for a day that passes. */
export class SetClock implements Clock {
  at: number;
  constructor(at: number) {
    this.at = at;
  }
  now(): number {
    return this.at;
  }
  sleep(ms: number, until?: AbortSignal): Promise<void> {
    return systemClock.sleep(ms, until);
  }
}

const TENANT = 'tnt-0000000000000000';

export interface EngineBench extends AsyncDisposable {
  readonly engine: ObjectEngine;
  readonly context: ServiceContext;
  readonly bench: Bench;
  bucket(name: string, spec?: Record<string, unknown>): Promise<Bucket>;
  /** As it is now. */
  again(bucket: Bucket): Promise<Bucket>;
  update(bucket: Bucket, spec: Record<string, unknown>): Promise<Bucket>;
  drop(bucket: Bucket): Promise<void>;
  put(bucket: Bucket, key: string, text: string | Buffer, more?: Partial<PutOptions>): ReturnType<ObjectEngine['put']>;
  text(bucket: Bucket, key: string, version?: string): Promise<string>;
  /** Ids of the blobs that the object store has, once what was deleted has gone. */
  blobs(): Promise<string[]>;
  /** What a statement gives, behind the engine's back. */
  rows<T>(text: string, ...values: (string | number)[]): Promise<T[]>;
  /** As kill -9. */
  kill(): void;
}

export const actor: Actor = { principal: 'usr-test', principalName: 'test', tenantId: TENANT, credential: undefined, source: 'test', requestId: 'req' };
export const attributes = (more: Partial<ObjectAttributes> = {}): ObjectAttributes => ({ headers: {}, metadata: {}, owner: TENANT, ...more });

export async function* bytes(...pieces: (string | Buffer)[]): AsyncGenerator<Buffer> {
  for (const piece of pieces) yield Buffer.from(piece);
}

export async function read(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of body) pieces.push(piece);
  return Buffer.concat(pieces);
}

export const signal: AbortSignal = new AbortController().signal;

/** The problem that something is refused with. */
export async function problemOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof ObjectError) return error.problem;
    throw error;
  }
  throw new Error('nothing was refused');
}

export async function engineBench(options: BenchOptions & { engine?: EngineOptions } = {}): Promise<EngineBench> {
  let context: ServiceContext | undefined;
  const definition = service(buckets, (given) => {
    context = given;
    // First of all who ask, so that these options count.
    engineOf(given, { leastPart: 10, ...options.engine });
    return { migrations };
  });
  const made = await bench({ ...options, definitions: [definition, ...services.filter(({ contract }) => contract.resource.name !== 'bucket')] });
  const given = context as unknown as ServiceContext;
  const engine = engineOf(given);
  const change = <T>(work: (unit: Unit) => Promise<T>): Promise<T> => made.store.transaction({ tenantId: TENANT, principal: 'test' }, work);
  const find = async (name: string): Promise<Bucket> => (await engine.find(name)) as Bucket;
  return {
    engine,
    context: given,
    bench: made,
    async bucket(name, spec = {}) {
      await change(async (unit) => {
        const row = await new Table(buckets, TENANT, unit).insert({ name, spec });
        await claimName(unit.tx, { name, bucketId: row.id, tenantId: TENANT });
      });
      return find(name);
    },
    again: ({ name }) => find(name),
    async update({ id, name }, spec) {
      await change(async (unit) => {
        const table = new Table(buckets, TENANT, unit);
        const row = await table.byId(id);
        if (row !== undefined) await table.update(row, { spec });
      });
      return find(name);
    },
    drop: ({ id, name }) =>
      change(async (unit) => {
        await releaseName(unit.tx, { id, name, tenantId: TENANT, now: unit.now });
        const table = new Table(buckets, TENANT, unit);
        const row = await table.byId(id);
        if (row !== undefined) await table.remove(row);
      }),
    put: (bucket, key, text, more = {}) => engine.put(bucket, key, bytes(text), { attributes: attributes(), expected: {}, actor, signal, ...more }),
    async text(bucket, key, version) {
      return (await read((await engine.get(bucket, key, { version, signal })).body)).toString();
    },
    async blobs() {
      await new Promise((resolve) => setTimeout(resolve, 40));
      await engine.settled();
      const ids: string[] = [];
      for (let last: string | undefined; ; last = ids.at(-1)) {
        const page = await made.drivers.drivers['object-store'].list(last, 1000);
        if (page.length === 0) return ids;
        ids.push(...page.map(({ id }) => id));
      }
    },
    rows: (text, ...values) => all(made.db, text, ...values),
    kill: () => made.kill(),
    async [Symbol.asyncDispose]() {
      await engine.close();
      await made.close();
    },
  };
}
