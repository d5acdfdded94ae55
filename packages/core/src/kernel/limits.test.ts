// Input that is too much, or made to be misread: a sentence each, and soon.
import { expect, test } from 'vitest';
import { type Bench, bench, faultOf } from '../testing/bench.ts';
import { localAdministrator } from './authorize.ts';

const refused = async (b: Bench, service: string, operation: string, input: unknown) => {
  const fault = await faultOf(b.call({ service, operation, input }));
  expect(fault.code).toBe('invalid_input');
  return fault;
};
const pathsOf = (fault: { details: unknown }) => (fault.details as { path: string }[]).map(({ path }) => path);

test('as many label selectors as a database takes, and no more', async () => {
  await using b = await bench();
  const label = (count: number) => ({ label: Array.from({ length: count }, (_, n) => `key-${n}!=value`) });
  expect((await b.call({ service: 'vpc', operation: 'list', input: label(64) })).value).toEqual({ items: [] });
  expect(pathsOf(await refused(b, 'vpc', 'list', label(5000)))).toEqual(['label']);
  await refused(b, 'vpc', 'list', { label: [`a=${'x'.repeat(1000)}`] });
  await refused(b, 'vpc', 'list', { cursor: 'x'.repeat(5000) });
});

test('a hundred problems are enough, whatever was sent', async () => {
  await using b = await bench();
  const many = Object.fromEntries(Array.from({ length: 50_000 }, (_, n) => [`_${n}`, 'x']));
  const base = { name: 'web', image: 'busybox' };
  for (const input of [
    { ...base, ...many },
    { ...base, labels: many },
  ]) {
    const fault = await refused(b, 'instance', 'create', input);
    expect(pathsOf(fault).length).toBeLessThanOrEqual(100);
    expect(fault.message).toMatch(/\(and \d{2,5} more\)$/);
    expect(JSON.stringify(fault).length).toBeLessThan(100_000);
  }
});

test('keys that mean something to JavaScript are keys, or refused; never lost', async () => {
  await using b = await bench();
  const given = JSON.parse('{"constructor":"a","toString":"b","hasOwnProperty":"c"}') as Record<string, string>;
  const made = await b.cloud.instance.create({ name: 'web', image: 'busybox', metadata: given, env: given, labels: given });
  expect(made).toMatchObject({ metadata: given, env: given, labels: given });
  expect((await b.cloud.instance.list({ label: ['constructor=a', 'toString'] })).items.map(({ name }) => name)).toEqual(['web']);
  expect((await b.cloud.instance.list({ label: ['valueOf'] })).items).toEqual([]);
  for (const field of ['metadata', 'env', 'labels']) {
    const fault = await refused(b, 'instance', 'create', JSON.parse(`{"name":"x","image":"busybox","${field}":{"__proto__":"x"}}`));
    expect(pathsOf(fault)).toContain(`${field}.__proto__`);
  }
  expect(pathsOf(await refused(b, 'instance', 'create', JSON.parse('{"name":"x","image":"busybox","__proto__":{"polluted":true}}')))).toEqual(['__proto__']);
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});

test('what no program can be given is refused where it is asked for', async () => {
  await using b = await bench();
  const base = { name: 'web', image: 'busybox' };
  expect(pathsOf(await refused(b, 'instance', 'create', { ...base, env: { A: 'a\0b' } }))).toEqual(['env.A']);
  expect(pathsOf(await refused(b, 'instance', 'create', { ...base, env: { A: 'ü'.repeat(70_000) } }))).toEqual(['env.A']);
  expect(pathsOf(await refused(b, 'instance', 'create', { ...base, command: ['a', '\0'] }))).toEqual(['command.1']);
  await b.ready(b.cloud.instance.create(base));
  for (const input of [{ command: ['\0'] }, { command: ['a'], user: '\0' }, { command: ['a'], workdir: '/\0' }, { command: ['a'], env: { A: '\0' } }])
    expect((await faultOf(b.core.channel({ service: 'instance', operation: 'exec', target: 'web', input, principal: localAdministrator }))).code).toBe(
      'invalid_input',
    );
});
