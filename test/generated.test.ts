// Generated files are committed, so that a change of a contract shows in review as what its users will see.
import { expect, it } from 'vitest';
import { outdated } from '../scripts/generate.ts';

it('finds every generated file up to date', async () => {
  expect(await outdated(), 'npm run generate').toEqual([]);
});
