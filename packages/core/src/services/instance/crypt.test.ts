import { expect, test } from 'vitest';
import { randomSalt, sha512crypt } from './crypt.ts';

// Made by `openssl passwd -6 -salt <salt> <password>`.
test.each([
  ['Hello world!', 'saltstring', '$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1'],
  ['a', 'x', '$6$x$6Zqbz8j5rMHIeJ1ujjjFXuZXSa/VORj.fVUEQcJc.rjR9.wCKlhZuymRQLtIEzcxNmqwX/fRNvM45BbvFayY51'],
  [
    'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx',
    './09AZaz',
    '$6$./09AZaz$4fFzCQNv9K8uT6.amPAK9CYt8zhZPZw6YWQitNptQitI3OXX5LwV9LVxEq6gEhPru.NTzVfYj2gezzM/NskS91',
  ],
  [
    'ünïcödé £ pässword that is longer than one block of sixty-four bytes, by far',
    '0123456789abcdef',
    '$6$0123456789abcdef$7S2FL0.27nVtUFy3v/LYbjEqznikS5ktOYNSqFTe/OZb.EvqJN0yx6DhETR97P6/Tmo.XxwujXe3K28yNr4sR.',
  ],
])('%s with salt %s', (password, salt, hash) => {
  expect(sha512crypt(password, salt)).toBe(hash);
});

test('a salt is sixteen characters, another with every call', () => {
  const salts = Array.from({ length: 100 }, randomSalt);
  expect(new Set(salts).size).toBe(100);
  for (const salt of salts) expect(salt).toMatch(/^[./0-9A-Za-z]{16}$/);
});
