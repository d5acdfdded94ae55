// `cloud ssh-key create`: with --generate the pair is made here, and only its public half leaves this machine.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { Fault } from '@thecloud/core/contracts';
import { err } from '../base.ts';
import { expandHome, inputOf } from '../input.ts';
import { runOperation } from '../run.ts';
import { flag, isSet, type Words } from '../words.ts';

export async function run(words: Words): Promise<number> {
  if (!isSet(words, 'generate')) {
    if (words.flags.has('out')) throw new Fault('invalid_input', '--out says something only together with --generate');
    return runOperation(words);
  }
  if (words.flags.has('public-key')) throw new Fault('invalid_input', 'Give either --public-key or --generate, not both');
  const name = words.positionals[0];
  if (name === undefined) return runOperation(words); // says what is missing
  const path = expandHome(flag(words, 'out') ?? name);
  const pair = keyPair(`${userInfo().username}@${hostname()}`);
  const withKey: Words = { ...words, flags: new Map([...words.flags, ['public-key', [pair.publicKey]]]) };
  await inputOf(withKey); // what is wrong with the words is said before a file is made
  if (isSet(words, 'dry-run')) return runOperation(withKey);
  for (const file of [path, `${path}.pub`]) {
    if (existsSync(file))
      throw new Fault('conflict', `${file} is there already; it is not overwritten`, { hint: `cloud ssh-key create ${name} --generate --out <another file>` });
  }
  writeFileSync(path, pair.privateKey, { mode: 0o600, flag: 'wx' });
  try {
    writeFileSync(`${path}.pub`, `${pair.publicKey}\n`, { flag: 'wx' });
    const code = await runOperation(withKey);
    if (!isSet(words, 'quiet'))
      err(`The private key is in ${path}, the public one in ${path}.pub. To log in with it: cloud instance ssh <instance> --identity ${path}\n`);
    return code;
  } catch (error) {
    // A key that the cloud does not know is of no use to anyone.
    rmSync(path, { force: true });
    rmSync(`${path}.pub`, { force: true });
    throw error;
  }
}

/** An Ed25519 pair in the forms of OpenSSH (PROTOCOL.key): the `.pub` line, and the private key without passphrase. */
export function keyPair(comment: string): { publicKey: string; privateKey: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const open = Buffer.from(publicKey.export({ format: 'jwk' }).x as string, 'base64url');
  const secret = Buffer.from(privateKey.export({ format: 'jwk' }).d as string, 'base64url');
  const blob = Buffer.concat([text('ssh-ed25519'), text(open)]);
  const check = randomBytes(4);
  const inner = Buffer.concat([check, check, text('ssh-ed25519'), text(open), text(Buffer.concat([secret, open])), text(comment)]);
  const padding = Buffer.from(Array.from({ length: (8 - (inner.length % 8)) % 8 }, (_, index) => index + 1));
  const one = Buffer.alloc(4);
  one.writeUInt32BE(1);
  const file = Buffer.concat([Buffer.from('openssh-key-v1\0'), text('none'), text('none'), text(''), one, text(blob), text(Buffer.concat([inner, padding]))]);
  const lines = file.toString('base64').match(/.{1,70}/g) ?? [];
  return {
    publicKey: `ssh-ed25519 ${blob.toString('base64')} ${comment}`,
    privateKey: `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join('\n')}\n-----END OPENSSH PRIVATE KEY-----\n`,
  };
}

/** SSH's string: length, then bytes. */
function text(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value as string);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
