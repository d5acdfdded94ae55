// The one way in: stored answers, roll-back, audit, and the messages of refused input.
import { expect, test } from 'vitest';
import { services } from '../services.ts';
import { type Bench, bench, faultOf } from '../testing/bench.ts';
import { gadgetService, plainService, testContracts } from '../testing/gadget.ts';
import { newId } from './ids.ts';
import { nearest } from './near.ts';

const open = () => bench({ definitions: [...services, gadgetService(), plainService] });
const lines = (b: Bench) => b.db.selectFrom('audit').select(['principal', 'tenant', 'permission', 'target', 'outcome', 'source']).orderBy('id').execute();
/** `path: message` of every problem. */
async function problems(promise: Promise<unknown>): Promise<string[]> {
  const fault = await faultOf(promise);
  expect(fault.code).toBe('invalid_input');
  return (fault.details as { path: string; message: string }[]).map(({ path, message }) => `${path}: ${message}`);
}

test('one key, two calls at once: one is done, both get its answer', async () => {
  await using b = await open();
  const call = () => b.call({ service: 'plain', operation: 'create', input: { name: 'p' }, idempotencyKey: 'k' });
  const answers = await Promise.all(Array.from({ length: 5 }, call));
  expect(new Set(answers.map(({ value }) => JSON.stringify(value))).size).toBe(1);
  expect(answers.filter(({ replayed }) => replayed !== true)).toHaveLength(1);
  expect(await lines(b)).toHaveLength(1);
  expect((await b.cloud.event.list()).items).toHaveLength(1);
});

test('a key belongs to a principal, a tenant, and one call; a refused call leaves it free', async () => {
  await using b = await open();
  const base = { service: 'plain', operation: 'create', idempotencyKey: 'k' };
  const first = await b.call({ ...base, input: { name: 'p' } });
  expect(await faultOf(b.call({ ...base, input: { name: 'q' } }))).toMatchObject({ code: 'conflict', message: expect.stringContaining('idempotency key') });
  expect((await faultOf(b.call({ ...base, operation: 'delete', target: 'p', input: {} }))).code).toBe('conflict');
  const other = { id: 'other', kind: 'user', tenantId: 'tnt-0000000000000000', roles: { '*': ['admin'] } } as const;
  await b.call({ ...base, input: { name: 'q' }, principal: other });
  const tenant = await b.tenant('second');
  const there = await b.call({ ...base, input: { name: 'p' }, tenant });
  expect(there.replayed).toBeUndefined();
  expect((there.value as { id: string }).id).not.toBe((first.value as { id: string }).id);
  const again = { service: 'plain', operation: 'create', idempotencyKey: 'second', input: { name: 'p' } };
  expect((await faultOf(b.call(again))).code).toBe('conflict');
  await b.call({ service: 'plain', operation: 'delete', target: 'p', input: {} });
  expect((await b.call(again)).replayed).toBeUndefined();
});

test('a replayed answer is the first one, though the world has moved on', async () => {
  await using b = await open();
  const call = { service: 'gadget', operation: 'create', input: { name: 'g' }, idempotencyKey: 'k' };
  const first = await b.call(call);
  await b.ended({ operation: first.operation });
  const replay = await b.call(call);
  expect(replay).toEqual({ ...JSON.parse(JSON.stringify(first)), replayed: true });
  await b.ended(b.clientOf(testContracts).gadget.delete('g'));
  expect((await b.call(call)).replayed).toBe(true);
});

test('a handler that fails half-way leaves nothing but its audit line', async () => {
  await using b = await open();
  const { gadget } = b.clientOf(testContracts);
  await b.ready(gadget.create({ name: 'g', size: 3 }));
  const before = { view: await gadget.get('g'), events: await b.cloud.event.list(), operations: await b.cloud.operation.list() };
  const fault = await faultOf(gadget.poke('g', { spoil: true }));
  expect(fault).toMatchObject({ code: 'internal', hint: 'cloud daemon logs' });
  expect(fault.message).not.toContain('spoilt');
  expect(fault.requestId).toBeTruthy();
  expect({ view: await gadget.get('g'), events: await b.cloud.event.list(), operations: await b.cloud.operation.list() }).toEqual(before);
  expect((await lines(b)).at(-1)).toMatchObject({ permission: 'gadget:poke', target: 'g', outcome: 'internal' });
});

test('refusals are audited in the tenant that was meant, with who, what and from where', async () => {
  await using b = await open();
  const second = await b.tenant('second');
  const viewer = { id: 'vera', kind: 'user', tenantId: 'tnt-0000000000000000', roles: { [second]: ['viewer'] } } as const;
  await faultOf(b.call({ service: 'plain', operation: 'create', input: { name: 'x' }, principal: viewer, tenant: 'second', source: '10.0.0.9' }));
  await faultOf(b.call({ service: 'plain', operation: 'create', input: { name: 'y' }, principal: undefined }));
  await faultOf(b.call({ service: 'plain', operation: 'create', input: { name: 'z' }, principal: viewer }));
  await faultOf(b.call({ service: 'plain', operation: 'get', target: 'nothing', input: {} }));
  expect((await lines(b)).filter(({ permission }) => permission !== 'tenant:create')).toEqual([
    { principal: 'vera', tenant: second, permission: 'plain:create', target: 'x', outcome: 'forbidden', source: '10.0.0.9' },
    { principal: 'anonymous', tenant: '', permission: 'plain:create', target: 'y', outcome: 'unauthenticated', source: 'test' },
    { principal: 'vera', tenant: 'tnt-0000000000000000', permission: 'plain:create', target: 'z', outcome: 'forbidden', source: 'test' },
  ]);
});

test('unknown services and operations: not_found with the near one; internal ones are not there', async () => {
  await using b = await open();
  expect((await faultOf(b.call({ service: 'instanc', operation: 'list', input: {} }))).message).toContain('did you mean instance?');
  expect((await faultOf(b.call({ service: 'instance', operation: 'crate', input: {} }))).message).toContain('did you mean create?');
  expect((await faultOf(b.call({ service: 'volume', operation: 'claim', target: 'x', input: {} }))).code).toBe('not_found');
  expect((await faultOf(b.call({ service: 'volume', operation: 'claims', target: 'x', input: {} }))).message).not.toContain('claim?');
  for (const service of ['__proto__', 'constructor', 'toString'])
    expect((await faultOf(b.call({ service, operation: 'list', input: {} }))).code).toBe('not_found');
  expect((await faultOf(b.call({ service: 'vpc', operation: 'constructor', input: {} }))).code).toBe('not_found');
});

test('problems in words, each with its path', async () => {
  await using b = await open();
  const { instance, vpc, plain } = { ...b.cloud, ...b.clientOf(testContracts) };
  const create = (input: Record<string, unknown>) => problems(instance.create({ name: 'w', image: 'busybox', ...input } as never));
  expect(await problems(instance.create({} as never))).toEqual(['name: give a string; it is required', 'image: give a string; it is required']);
  expect(await create({ imgae: 'x', evn: {} })).toEqual([
    'imgae: there is no such field; did you mean image?',
    'evn: there is no such field; did you mean env?',
  ]);
  expect(await problems(vpc.update('x', { cidr: '10.0.0.0/16', nmae: 'y' } as never))).toEqual([
    'cidr: it is set when the VPC is created; update cannot change it',
    'nmae: there is no such field',
  ]);
  expect(await create({ stopTimeout: '10' })).toEqual(['stopTimeout: give a number']);
  expect(await create({ stopTimeout: 1.5 })).toEqual(['stopTimeout: give an integer']);
  expect(await create({ stopTimeout: 99_999 })).toEqual(['stopTimeout: give 3600 or less']);
  expect(await create({ stopTimeout: -1 })).toEqual(['stopTimeout: give 0 or more']);
  expect(await create({ restartPolicy: 'alway' })).toEqual(['restartPolicy: use always, on-failure, never; did you mean always?']);
  expect(await create({ env: { '1X': 'y' } })).toEqual(['env.1X: a variable name has letters, digits and _ and does not begin with a digit']);
  expect(await create({ env: { X: 1 } })).toEqual(['env.X: give a string']);
  expect(await create({ env: [] })).toEqual(['env: give an object']);
  expect(await create({ ports: ['80', 'nonsense'] })).toEqual([
    'ports.1: "nonsense" is not [address:][hostPort:]port[/udp], for example 8080:80 or 127.0.0.1:8080:80',
  ]);
  expect(await create({ ports: ['70000:80'] })).toEqual(['ports.0.hostPort: give 65535 or less']);
  expect(await create({ ports: [{ instancePort: 'x' }] })).toEqual(['ports.0.instancePort: give a number']);
  expect(await create({ ports: [{ instancePort: 80, hostPrt: 1 }] })).toEqual(['ports.0.hostPrt: there is no such field; did you mean hostPort?']);
  expect(await create({ ports: [{}] })).toEqual(['ports.0.instancePort: give a number; it is required']);
  expect(await create({ ports: [true] })).toEqual(['ports.0: give a string or an object']);
  expect(await create({ ports: '80' })).toEqual(['ports: give an array']);
  expect(await create({ volumes: [{ volume: 'd', path: 'data' }] })).toEqual(['volumes.0.path: use an absolute path other than /, without a trailing slash']);
  expect(await create({ command: 'sleep "1' })).toEqual(['command: a " is not closed']);
  expect(await create({ command: ['a', 1] })).toEqual(['command.1: give a string']);
  expect(await create({ command: '' })).toEqual(['command: give at least 1 item']);
  expect(await create({ labels: { '-x': 'y' } })).toEqual(['labels.-x: a label key has 1 to 63 letters, digits, and . _ / - inside']);
  expect(await problems(vpc.create({ name: 'Web', cidr: '10.0.0.0' }))).toEqual([
    'name: use 1 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends',
    'cidr: use an IPv4 network such as 10.20.0.0/16',
  ]);
  for (const input of [[], 'x', 7, true]) expect(await problems(plain.create(input as never)), String(input)).toEqual([': give an object']);
  expect(await problems(plain.create(JSON.parse('{"name":"p","__proto__":{"a":1}}')))).toEqual(['__proto__: there is no such field']);
  expect((await faultOf(instance.get(''))).details).toEqual([{ path: 'instance', message: 'give its name or id' }]);
  expect((await b.cloud.instance.list()).items).toEqual([]);
});

test('near matches: swaps and case count little, far words are no match', () => {
  const known = ['instance', 'image', 'volume', 'vpc', 'ssh-key'];
  expect(nearest('isntance', known)).toBe('instance');
  expect(nearest('Image', known)).toBe('image');
  expect(nearest('instances', known)).toBe('instance');
  expect(nearest('sshkey', known)).toBe('ssh-key');
  expect(nearest('database', known)).toBeUndefined();
  expect(nearest('x', [])).toBeUndefined();
  expect(nearest('vcp', known)).toBe('vpc');
});

test('ids: prefix and 80 bits that people can read out, no two alike', () => {
  const ids = new Set(Array.from({ length: 20_000 }, () => newId('vol')));
  expect(ids.size).toBe(20_000);
  for (const id of ids) expect(id).toMatch(/^vol-[0-9a-hjkmnp-tv-z]{16}$/);
});

test('events are in the order of the changes, and an operation ends after the event of its state', async () => {
  await using b = await open();
  const { gadget } = b.clientOf(testContracts);
  await b.ready(gadget.create({ name: 'g' }));
  await b.ready(gadget.update('g', { size: 4 }));
  await b.ended(gadget.delete('g'));
  const { items } = await b.cloud.event.list();
  expect(items.map(({ type }) => type)).toEqual(['gadget.created', 'gadget.ready', 'gadget.updated', 'gadget.deleting', 'gadget.deleted']);
  expect(items.map(({ principal }) => principal)).toEqual(['local', 'system', 'local', 'local', 'system']);
  expect(items.map(({ id }) => id)).toEqual(items.map(({ id }) => id).toSorted((one, two) => one - two));
});

test('lists are answered anew after every change, and only then', async () => {
  await using b = await open();
  const list = () => b.call({ service: 'plain', operation: 'list', input: {} });
  const empty = await list();
  expect((await list()).value).toBe(empty.value);
  const { plain } = b.clientOf(testContracts);
  await plain.create({ name: 'p' });
  const one = await list();
  expect(one.value).toMatchObject({ items: [{ name: 'p' }] });
  await plain.update('p', { note: 'hello' });
  expect((await list()).value).toMatchObject({ items: [{ note: 'hello' }] });
  await plain.delete('p');
  expect((await list()).value).toEqual({ items: [] });
});

test('a get is answered anew after every change, and only then, and never by what had the name before', async () => {
  await using b = await open();
  const { plain } = b.clientOf(testContracts);
  const get = () => b.call({ service: 'plain', operation: 'get', target: 'p', input: {} });
  expect((await faultOf(get())).code).toBe('not_found');
  const first = await plain.create({ name: 'p' });
  const one = await get();
  expect((await get()).value).toBe(one.value);
  expect(one.generation).toBe(1);
  await plain.update('p', { note: 'hello' });
  expect(await get()).toMatchObject({ generation: 2, value: { note: 'hello' } });
  await plain.delete('p');
  expect((await faultOf(get())).code).toBe('not_found');
  await plain.create({ name: 'p' });
  expect((await get()).value).not.toMatchObject({ id: first.id });
  expect((await get()).value).not.toHaveProperty('note');
});

test('metrics count outcomes, and names that nobody knows together', async () => {
  await using b = await open();
  const { plain } = b.clientOf(testContracts);
  await plain.create({ name: 'p' });
  await faultOf(plain.create({ name: 'p' }));
  for (let n = 0; n < 5; n++) await faultOf(b.call({ service: `s${n}`, operation: 'x', input: {} }));
  const { calls } = b.core.metrics();
  expect(calls.find(({ service, outcome }) => service === 'plain' && outcome === 'ok')).toMatchObject({ operation: 'create', count: 1 });
  expect(calls.find(({ service, outcome }) => service === 'plain' && outcome === 'conflict')).toMatchObject({ count: 1 });
  expect(calls.filter(({ service }) => service === 'unknown')).toMatchObject([{ outcome: 'not_found', count: 5 }]);
});
