import { expect, test } from 'vitest';
import { doing, done } from './progress.ts';

test.each([
  ['create', 'Creating', 'created'],
  ['delete-version', 'Deleting version', 'version deleted'],
  ['sign-out', 'Signing out', 'signed out'],
  ['rule-add', 'Adding a rule to', 'rule added'],
  ['route-remove', 'Removing a route from', 'route removed'],
])('%s', (verb, now, then) => {
  expect(doing(verb)).toBe(now);
  expect(done(verb)).toBe(then);
});
