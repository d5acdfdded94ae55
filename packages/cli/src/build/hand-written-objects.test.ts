import { expect, test } from 'vitest';
import { stepsOfOthers } from './hand-written-objects.ts';
import { buildTables } from './table.ts';

test('steps of `object put` work and are not shown; what a user does with an open upload is', () => {
  const commands = buildTables().groups['object']?.commands ?? [];
  expect(commands.filter(({ hidden }) => hidden).map(({ id }) => id)).toEqual(['object upload-start', 'object upload-part', 'object upload-complete']);
  expect(commands.map(({ id }) => id)).toEqual(expect.arrayContaining([...stepsOfOthers, 'object uploads', 'object upload-parts', 'object upload-abort']));
});
