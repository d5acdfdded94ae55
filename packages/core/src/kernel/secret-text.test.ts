// Secrets that are shown once: what is kept of them, and what is taken for them.
import { expect, test } from 'vitest';
import { isSecret, randomSecret, secretDigest } from './secret-text.ts';

test('each is another one, of 256 bits', () => {
  const many = Array.from({ length: 1000 }, randomSecret);
  expect(new Set(many).size).toBe(1000);
  for (const one of many) expect(Buffer.from(one, 'base64url')).toHaveLength(32);
});

test('only the text itself fits its hash, and nothing fits where there is none', () => {
  const text = randomSecret();
  const hash = secretDigest(text);
  expect(isSecret(text, hash)).toBe(true);
  for (const other of ['', ` ${text}`, `${text}\n`, text.toLowerCase() === text ? text.toUpperCase() : text.toLowerCase(), hash])
    expect(isSecret(other, hash)).toBe(false);
  for (const none of [undefined, null]) for (const other of ['', text, 'nothing is like this', 'undefined', 'null']) expect(isSecret(other, none)).toBe(false);
});
