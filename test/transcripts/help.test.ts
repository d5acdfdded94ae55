// Help texts as they are read. Those of the groups that show every kind of command are kept whole; the others are made by the same code from the
// contracts, and docs/cli.md shows what changes in them.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { buildTables } from '../../packages/cli/src/build/table.ts';
import { Cloud } from './cloud.ts';

let cloud: Cloud;
beforeAll(() => {
  cloud = new Cloud();
});
afterAll(() => cloud[Symbol.asyncDispose]());

const KEPT = /^(?:instance|daemon|config|context|tenant|ssh-key|completion)(?: |$)|^$/;

it('is there for every command, needs no daemon, and ends with 0', async () => {
  const { index, groups } = buildTables();
  const ids = [
    '',
    ...index.groups.map(({ name }) => name),
    ...Object.values(groups).flatMap(({ commands }) => commands.filter((one) => !one.hidden).map(({ id }) => id)),
  ];
  const texts = await Promise.all(
    ids.map(async (id) => {
      const { stdout, stderr, code } = await cloud.run([...id.split(' ').filter((word) => word !== ''), '--help']);
      expect([stderr, code]).toEqual(['', 0]);
      expect(stdout, id).toMatch(/\nUsage\n {2}cloud /);
      return `$ cloud ${id} --help\n${stdout}`;
    }),
  );
  await expect(texts.filter((_, index) => KEPT.test(ids[index] as string)).join('\n')).toMatchFileSnapshot('help.txt');
}, 120_000);

it('is found in every way that people ask for it', async () => {
  const [flag, short, word] = await Promise.all(
    [
      ['vpc', 'create', '--help'],
      ['vpc', 'create', '-h'],
      ['help', 'vpc', 'create'],
    ].map((args) => cloud.run(args)),
  );
  expect(short?.stdout).toBe(flag?.stdout);
  expect(word?.stdout).toBe(flag?.stdout);
  const [root, none, help] = await Promise.all([['--help'], [], ['help']].map((args) => cloud.run(args)));
  expect([none?.stdout, help?.stdout]).toEqual([root?.stdout, root?.stdout]);
  const [group, groupFlag] = await Promise.all([['instance'], ['instance', '--help']].map((args) => cloud.run(args)));
  expect(group?.stdout).toBe(groupFlag?.stdout);
});
