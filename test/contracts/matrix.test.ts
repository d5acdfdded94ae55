// What holds for every operation of every contract, however little its author thought of it. Exceptions are lists with reasons, and may only shrink.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { contracts, fieldMeta, inputShape, unwrap } from '../../packages/core/src/contracts.ts';
import type { Answer } from '../../packages/core/src/kernel/core.ts';
import { validate } from '../../packages/core/src/kernel/validate.ts';
import { faultOf } from '../../packages/core/src/testing/bench.ts';
import { attempt, type Case, cases, type Fixture, fixture, inputOf, principal, titleOf } from './fixture.ts';

const TENANT = 'tnt-0000000000000000';
const viewer = principal('viewer', { [TENANT]: ['viewer'] });
const nobody = principal('nobody', {});
const oddRole = principal('odd', { [TENANT]: ['constructor', 'owner'] });

/** Work on messages, which are no resources: thousands of events would drown those that somebody wants to see. The audit has them all. */
const NO_EVENT = new Set([
  // Of tokens, which come and go by the hour; a login makes one.
  'auth refresh',
  'auth clientToken',
  'auth logout',
  // Of settings and limits, which are no resources: the audit has them.
  'audit configure',
  'quota set',
  'quota unset',
  // Small values that were sealed or opened: nothing changed, and the audit has them.
  'kms-key encrypt',
  'kms-key decrypt',
  // Objects tell of themselves by notifications.
  'object delete',
  'object copy',
  'object move',
  'object restore',
  'object setTags',
  'object setLock',
  'object uploadStart',
  'object uploadComplete',
  'object uploadAbort',
  'queue send',
  'queue receive',
  'queue ack',
  'queue release',
  'queue extend',
]);
/** Takes any JSON: it is there to say what is wrong with it. */
const FREE_FORM = new Set(['policy lint document']);
/** Fields that say everything by their name and type. Only to shrink. */
const UNDESCRIBED = new Set<string>([]);

/** Everything that a refused call must leave as it is. */
async function written(f: Fixture): Promise<string> {
  const tables: Record<string, unknown> = {};
  for (const { resource } of Object.values(contracts)) {
    if (!resource.stored) continue;
    const table = `r_${resource.name.replaceAll('-', '_')}` as const;
    tables[table] = await f.db.selectFrom(table).select(['id', 'tenant', 'revision']).orderBy('id').execute();
  }
  for (const table of ['quota_usage', 'reference', 'label'] as const) tables[table] = await f.db.selectFrom(table).selectAll().execute();
  for (const table of ['event', 'operation', 'idempotency'] as const) tables[table] = (await f.db.selectFrom(table).selectAll().execute()).length;
  return JSON.stringify(tables);
}
/** Lines of people; what controllers do for a change is written down under `system`. */
const audited = (f: Fixture) => f.db.selectFrom('audit').selectAll().where('principal', '!=', 'system').orderBy('id').execute();

/** Belongs to tenants. */
const theirs_ = (service: string): boolean => Object.values(contracts).some(({ resource }) => resource.name === service && resource.scope === 'tenant');

describe('refused', () => {
  let f: Fixture;
  let before: string;
  const theirs: Record<string, { id: string; name: string }> = {};

  beforeAll(async () => {
    f = await fixture();
    // Another tenant has one of everything, under names of its own.
    await f.tenant('other');
    const there = { tenant: 'other' };
    const { cloud } = f;
    const keep = async (resource: string, made: Promise<{ id: string; name: string; operation?: string }>) => {
      const view = await made;
      theirs[resource] = view;
      // The operation is the other tenant's, so its row is looked at instead.
      const table = `r_${resource.replaceAll('-', '_')}` as const;
      await f.until(async () => {
        const row = await f.db.selectFrom(table).select(['observed', 'generation']).where('id', '=', view.id).executeTakeFirstOrThrow();
        return row.observed >= row.generation;
      });
    };
    await keep('vpc', cloud.vpc.create({ name: 'their-vpc', cidr: '10.30.0.0/16' }, there));
    await keep('subnet', cloud.subnet.create({ name: 'their-subnet', vpc: 'their-vpc', cidr: '10.30.1.0/24' }, there));
    await cloud.vpc.create({ name: 'their-second', cidr: '10.31.0.0/16' }, there);
    await keep('peering', cloud.peering.create({ name: 'their-peering', vpc: 'their-vpc', peerVpc: 'their-second' }, there));
    await keep('internet-gateway', cloud.internetGateway.create({ name: 'their-internet-gateway', vpc: 'their-vpc' }, there));
    await keep('route-table', cloud.routeTable.create({ name: 'their-route-table', vpc: 'their-vpc' }, there));
    await keep('nat-gateway', cloud.natGateway.create({ name: 'their-nat-gateway', subnet: 'their-subnet' }, there));
    await keep('elastic-ip', cloud.elasticIp.allocate({ name: 'their-elastic-ip' }, there));
    await keep('security-group', cloud.securityGroup.create({ name: 'their-security-group', vpc: 'their-vpc' }, there));
    await keep('volume', cloud.volume.create({ name: 'their-volume' }, there));
    await keep('image', cloud.image.pull({ reference: 'their-image:1' }, there));
    await keep('snapshot', cloud.snapshot.create({ name: 'their-snapshot', volume: 'their-volume' }, there));
    await keep('instance', cloud.instance.create({ name: 'their-instance', image: 'busybox', vpc: 'their-vpc' }, there));
    await keep(
      'ssh-key',
      cloud.sshKey.create(
        { name: 'their-key', publicKey: inputOf(cases.find((of) => titleOf(of) === 'ssh-key create') as Case)['publicKey'] as string },
        there,
      ),
    );
    await keep('zone', cloud.zone.create({ name: 'their.internal', vpc: 'their-vpc' }, there));
    await keep('record', cloud.record.create({ name: 'www', zone: 'their.internal', type: 'A', values: ['10.30.0.9'] }, there));
    await keep('service-account', cloud.serviceAccount.create({ name: 'their-robot' }, there));
    await keep('api-key', cloud.apiKey.create({ name: 'their-key', serviceAccount: 'their-robot' }, there));
    await cloud.s3Key.create({ name: 'their-s3-key' }, there);
    await keep('s3-key', cloud.s3Key.get('their-s3-key', {}, there));
    const LATER = new Set(['role', 'policy', 'tenant-member']);
    for (const { resource, operations } of Object.values(contracts)) {
      if (!resource.stored || theirs[resource.name] !== undefined || !theirs_(resource.name) || LATER.has(resource.name)) continue;
      const create = (operations as Record<string, Case['operation']>)['create'];
      if (create === undefined) continue;
      const input = { ...inputOf({ service: resource.name, name: 'create', operation: create }), name: `their-${resource.name}` };
      const { value } = await f.call({ service: resource.name, operation: 'create', input, tenant: 'other' });
      theirs[resource.name] = value as { id: string; name: string };
    }
    await keep('role', cloud.role.create({ name: 'their-role', permissions: ['vpc:list'] }, there));
    await keep(
      'policy',
      cloud.policy.create({ name: 'their-policy', document: inputOf(cases.find((of) => titleOf(of) === 'policy create') as Case)['document'] as never }, there),
    );
    await keep('tenant-member', cloud.tenantMember.add({ name: 'spare@example.com', roles: ['viewer'] }, there));
    before = await written(f);
  });
  afterAll(async () => {
    const after = await written(f);
    await f.close();
    expect(after).toBe(before);
  });

  const known = cases.filter(({ operation }) => operation.access !== 'anonymous');
  const decided = known.filter(({ operation }) => operation.access !== 'authenticated');
  test.each(known)('$service $name: without credentials', async (of) => {
    expect((await faultOf(attempt(f, of, { principal: undefined }))).code).toBe('unauthenticated');
  });

  test.each(known)('$service $name: in a tenant that is not there, or not one’s own', async (of) => {
    for (const tenant of ['nowhere', 'other', 'tnt-%']) expect((await faultOf(attempt(f, of, { principal: viewer, tenant }))).code, tenant).toBe('not_found');
  });

  test.each(decided)('$service $name: without a role, or with one that means nothing', async (of) => {
    expect((await faultOf(attempt(f, of, { principal: nobody }))).code).toBe('forbidden');
    expect((await faultOf(attempt(f, of, { principal: oddRole }))).code).toBe('forbidden');
  });

  test.each(decided.filter(({ operation: { onlyReads } }) => !onlyReads))('$service $name: a viewer may not, and that is written down', async (of) => {
    const count = (await audited(f)).length;
    const fault = await faultOf(attempt(f, of, { principal: viewer }));
    expect(fault).toMatchObject({ code: 'forbidden', details: { permission: `${of.service}:${of.name}` } });
    const lines = (await audited(f)).slice(count);
    const tenant = theirs_(of.service) ? TENANT : '';
    expect(lines).toMatchObject([{ principal: 'viewer', tenant, permission: `${of.service}:${of.name}`, outcome: 'forbidden', source: 'test' }]);
  });

  test.each(cases.filter(({ operation, service, stored }) => operation.target && stored && theirs_(service)))(
    '$service $name: another tenant’s, by name, id and the beginning of the id',
    async (of) => {
      const { id, name } = theirs[of.service] as { id: string; name: string };
      for (const target of [name, id, id.slice(0, -2)]) expect((await faultOf(attempt(f, of, { target }))).code, target).toBe('not_found');
    },
  );

  const refs = cases.flatMap((of) =>
    Object.entries(inputShape(of.operation)).flatMap(([field, schema]) => {
      const { ref } = fieldMeta(schema);
      return ref === undefined || !theirs_(ref) ? [] : [{ ...of, field, ref, many: unwrap(schema) instanceof z.ZodArray }];
    }),
  );
  test.each(refs)('$service $name: another tenant’s $ref as $field', async ({ field, ref, many, ...of }) => {
    for (const target of [theirs[ref]?.name, theirs[ref]?.id]) {
      const fault = await faultOf(attempt(f, of, { input: { ...inputOf(of), [field]: many ? [target] : target } }));
      expect(fault).toMatchObject({ code: 'not_found', details: [{ path: many ? `${field}.0` : field }] });
    }
  });

  test.each(cases)('$service $name: an unknown field, and a wrong type in each', async (of) => {
    const input = inputOf(of);
    const unknown = await faultOf(attempt(f, of, { input: { ...input, nonsense: 1 } }));
    expect(unknown).toMatchObject({ code: 'invalid_input', details: [{ path: 'nonsense' }] });
    for (const field of Object.keys(inputShape(of.operation))) {
      // A symbol's worth of nonsense: no field takes a function of JSON shape like this one.
      if (FREE_FORM.has(`${titleOf(of)} ${field}`)) continue;
      const fault = await faultOf(attempt(f, of, { input: { ...input, [field]: { $: [] } } }));
      const paths = (fault.details as { path: string }[]).map(({ path }) => path);
      expect(fault.code, field).toBe('invalid_input');
      for (const path of paths) expect(path.split('.')[0]).toBe(field);
    }
  });

  test.each(cases)('$service $name: each required field left out', async (of) => {
    const input = inputOf(of);
    for (const [field, schema] of Object.entries(inputShape(of.operation))) {
      if (schema.safeParse(undefined).success) continue;
      const { [field]: _, ...rest } = input;
      const fault = await faultOf(attempt(f, of, { input: rest }));
      expect(fault.code).toBe('invalid_input');
      expect(fault.details).toEqual([{ path: field, message: expect.stringContaining('required') }]);
    }
  });

  test.each(cases)('$service $name: each field over its limits', async (of) => {
    const input = inputOf(of);
    for (const [field, schema] of Object.entries(inputShape(of.operation))) {
      for (const value of beyond(schema)) {
        const fault = await faultOf(attempt(f, of, { input: { ...input, [field]: value } }));
        const [first] = fault.details as { path: string }[];
        expect(fault.code, `${field} = ${JSON.stringify(value).slice(0, 40)}`).toBe('invalid_input');
        expect(first?.path.split('.')[0]).toBe(field);
      }
    }
  });

  test.each(cases.filter(({ operation, stored }) => operation.target && operation.kind === 'write' && stored))(
    '$service $name: on a generation that has passed',
    async (of) => {
      expect((await faultOf(attempt(f, of, { ifMatch: 4711 }))).code).toBe('stale');
    },
  );
});

/** Values just outside of what the schema says about length, size and count. */
function beyond(schema: z.ZodType): unknown[] {
  const json = z.toJSONSchema(unwrap(schema), { io: 'input', unrepresentable: 'any' }) as Record<string, unknown>;
  const values: unknown[] = [];
  const { maxLength, minLength, maximum, minimum, maxItems, minItems } = json as Record<string, number | undefined>;
  if (maxLength !== undefined) values.push('x'.repeat(maxLength + 1));
  if (minLength !== undefined && minLength > 0) values.push('');
  if (maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER) values.push(maximum + 1);
  if (minimum !== undefined && minimum > Number.MIN_SAFE_INTEGER) values.push(minimum - 1);
  if (maxItems !== undefined) values.push(Array.from({ length: maxItems + 1 }, () => 'x'));
  if (minItems !== undefined && minItems > 0) values.push([]);
  return values;
}

/** What the role viewer may look at; the rest is looked at by an administrator. Of keys everybody sees their own. */
const viewable = ({ service, operation }: Case): boolean =>
  operation.access !== 'administrator' &&
  service !== 'api-key' &&
  service !== 's3-key' &&
  !Object.values(contracts).some(({ resource }) => resource.name === service && resource.restricted === 'all' && operation.access === 'role');

/** A change of the input that makes it another call, still valid. */
function differently(of: Case): Record<string, unknown> {
  const changed: Readonly<Record<string, Record<string, unknown>>> = {
    'auth configure': { registration: 'open' },
    'auth rotateKeys': { revoke: true },
    'audit configure': { retentionDays: 7 },
  };
  const { name } = inputOf(of);
  if (changed[titleOf(of)] !== undefined) return changed[titleOf(of)] as Record<string, unknown>;
  if (typeof name !== 'string') return { reference: 'another' };
  return { name: name.includes('@') ? 'another@example.com' : 'another' };
}

describe('allowed', () => {
  test.each(cases.filter(({ operation }) => operation.kind === 'write'))(
    '$service $name: done once, written down once, and shown as its contract says',
    async (of) => {
      await using f = await fixture();
      const counts = async () => ({ audit: (await audited(f)).length, events: (await f.db.selectFrom('event').select('id').execute()).length });
      const start = await counts();
      const answer = (await attempt(f, of, { idempotencyKey: 'key' })) as Answer;
      of.operation.output.parse(answer.value);
      if (answer.operation !== undefined)
        expect(await f.ended({ operation: answer.operation })).toMatchObject({ state: 'succeeded', kind: `${of.service}.${of.name}` });
      else expect(of.operation.async).toBe(false);
      const done = await counts();
      expect(done.audit).toBe(start.audit + 1);
      expect((await audited(f)).at(-1)).toMatchObject({
        permission: `${of.service}:${of.name}`,
        outcome: 'ok',
        principal: f.callers[titleOf(of)]?.id ?? 'admin',
      });
      if (NO_EVENT.has(titleOf(of))) expect(done.events).toBe(start.events);
      else expect(done.events).toBeGreaterThan(start.events);

      const settled = await written(f);
      if (of.operation.answerKept === 0) {
        // What was done once may be refused the second time; it is never answered from memory.
        const again = await attempt(f, of, { idempotencyKey: 'key' }).catch((error: unknown) => error);
        expect(again).not.toHaveProperty('replayed');
        return;
      }
      const again = (await attempt(f, of, { idempotencyKey: 'key' })) as Answer;
      expect(again).toEqual({ ...JSON.parse(JSON.stringify(answer)), replayed: true });
      // What takes nothing cannot be another call.
      if (!of.operation.target && Object.keys(inputShape(of.operation)).length === 0) return;
      const other = of.operation.target ? { target: 'another' } : { input: { ...inputOf(of), ...f.known[titleOf(of)], ...differently(of) } };
      expect((await faultOf(attempt(f, of, { idempotencyKey: 'key', ...other }))).code).toBe('conflict');
      expect(await written(f)).toBe(settled);
    },
  );

  describe('reading', () => {
    let f: Fixture;
    beforeAll(async () => {
      f = await fixture();
    });
    afterAll(() => f.close());
    test.each(cases.filter(({ operation }) => operation.kind === 'read'))('$service $name: a viewer may, and it is shown as its contract says', async (of) => {
      const before = await written(f);
      const answer = (await attempt(f, of, viewable(of) ? { principal: viewer } : {})) as Answer;
      of.operation.output.parse(answer.value);
      expect(await written(f)).toBe(before);
    });
    test.each(cases.filter(({ operation }) => operation.kind === 'stream'))('$service $name: a viewer may', async (of) => {
      await attempt(f, of, viewable(of) ? { principal: viewer } : {});
    });
    test.each(cases.filter(({ operation }) => operation.standard === 'list'))('$service list: label, limit and cursor count', async (of) => {
      const list = async (input: object) =>
        (await attempt(f, of, { input, ...(viewable(of) ? { principal: viewer } : {}) }))?.value as { items: { name: string }[]; cursor?: string };
      const all = await list({});
      expect(all.items.length).toBeGreaterThan(0);
      expect((await list({ label: ['surely=not'] })).items).toEqual([]);
      expect((await list({ label: ['surely!=not'] })).items).toHaveLength(all.items.length);
      const seen: string[] = [];
      let page = await list({ limit: 1 });
      for (;;) {
        expect(page.items).toHaveLength(1);
        seen.push(...page.items.map(({ name }) => name));
        if (page.cursor === undefined) break;
        page = await list({ limit: 1, cursor: page.cursor });
      }
      expect(seen).toEqual(all.items.map(({ name }) => name));
    });
  });
});

describe('said', () => {
  test.each(cases)('$service $name: has a summary and examples, and the examples of its fields are valid', (of) => {
    expect(of.operation.summary.length).toBeGreaterThan(5);
    // Uploads and downloads are `cloud instance cp` and `cloud object put`, which have examples of their own.
    if (!['instance upload', 'instance download', 'object uploadPart'].includes(titleOf(of))) expect(of.operation.examples.length).toBeGreaterThan(0);
    for (const [command] of of.operation.examples) expect(command.startsWith(`${of.service} `) && !command.startsWith('cloud')).toBe(true);
    for (const [field, schema] of Object.entries(inputShape(of.operation))) {
      const { example } = fieldMeta(schema);
      if (example !== undefined) expect(() => validate(of.operation, { ...inputOf(of), [field]: example }), field).not.toThrow();
    }
  });

  test('every field is described', () => {
    const missing = new Set<string>();
    for (const of of cases) {
      for (const [field, schema] of Object.entries(inputShape(of.operation))) if (!fieldMeta(schema).description) missing.add(`${titleOf(of)} ${field}`);
    }
    for (const { resource } of Object.values(contracts)) {
      for (const [field, schema] of Object.entries({ ...resource.spec, ...resource.status } as Record<string, z.ZodType>))
        if (!fieldMeta(schema).description) missing.add(`${resource.name}.${field}`);
    }
    expect([...missing].filter((field) => !UNDESCRIBED.has(field))).toEqual([]);
    expect([...UNDESCRIBED].filter((field) => !missing.has(field))).toEqual([]);
  });
});
