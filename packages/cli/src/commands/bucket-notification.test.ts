import { Fault } from '@thecloud/core/contracts';
import { expect, it } from 'vitest';
import { parse } from '../words.ts';
import { ofFlags, ruleOf } from './bucket-notification.ts';

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

it('what is wrong with the one rule is said of its flags', () => {
  const details = [{ path: 'rules.0.events.0', message: 'use a name of S3' }];
  expect(ofFlags(new Fault('invalid_input', 'rules.0.events.0: use a name of S3', { details }))).toMatchObject({
    code: 'invalid_input',
    message: '--event: use a name of S3',
    details: [{ path: 'event', message: 'use a name of S3' }],
  });
  expect(ofFlags(new Fault('not_found', 'rules.0.queue: there is no queue "nope"', { hint: 'cloud queue create nope' }))).toMatchObject({
    message: '--queue: there is no queue "nope"',
    hint: 'cloud queue create nope',
  });
  expect(ofFlags(new Fault('not_found', 'There is no bucket "b"'))).toMatchObject({ message: 'There is no bucket "b"' });
});
