import { expect, it } from 'vitest';
import { parse } from '../words.ts';
import { ruleOf } from './bucket-notification.ts';

const words = (...argv: string[]) => {
  const flags = ['queue', 'webhook', 'prefix', 'suffix', 'id'].map((name) => ({ name, type: 'string' as const }));
  const event = { name: 'event', type: 'string' as const, many: true as const };
  const parsed = parse({ id: 'bucket notification', group: 'bucket', summary: '', positionals: [], flags: [...flags, event], examples: [], common: [] }, argv);
  if (parsed === undefined) throw new Error('these flags are not understood');
  return parsed;
};

it('a rule is made of flags', () => {
  expect(ruleOf(words('--queue', 'q'))).toEqual({ queue: 'q' });
  expect(ruleOf(words('--webhook', 'https://e.example', '--event', 'ObjectCreated:*,s3:ObjectRemoved:Delete', '--prefix', 'a/', '--suffix', '.jpg'))).toEqual({
    webhook: 'https://e.example',
    events: ['s3:ObjectCreated:*', 's3:ObjectRemoved:Delete'],
    prefix: 'a/',
    suffix: '.jpg',
  });
  expect(() => ruleOf(words('--prefix', 'a'))).toThrow('--queue or --webhook');
  expect(() => ruleOf(words('--queue', 'q', '--webhook', 'w'))).toThrow('--queue or --webhook');
});
