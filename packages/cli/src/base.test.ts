// How an error is told.
import { Fault } from '@thecloud/core/contracts';
import { afterEach, expect, it, vi } from 'vitest';
import { tell } from './base.ts';

afterEach(() => vi.restoreAllMocks());

it('has nothing in it that a terminal would obey, whoever wrote its text', () => {
  let said = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    said += String(text);
    return true;
  });
  const title = '\u001b]0;owned\u0007';
  expect(tell(new Fault('conflict', `exec: ${title}: not found`, { hint: `cloud ${title}` }), { json: false })).toBe(5);
  expect(said).toBe('Error: exec: \\x1b]0;owned\\x07: not found\nHint: cloud \\x1b]0;owned\\x07\n');
});
