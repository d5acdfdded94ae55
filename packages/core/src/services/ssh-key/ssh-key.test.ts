// SSH keys: what sshd would ignore is refused when it is given.
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { bench, faultOf } from '../../testing/bench.ts';
import { readPublicKey } from './service.ts';

const part = (bytes: Buffer): Buffer => Buffer.concat([Buffer.from([0, 0, bytes.length >> 8, bytes.length & 255]), bytes]);
const line = (type: string, ...parts: Buffer[]): string => `${type} ${Buffer.concat([part(Buffer.from(type)), ...parts.map(part)]).toString('base64')}`;
const ed25519 = line('ssh-ed25519', randomBytes(32));

test('every kind that sshd takes, with and without a comment', () => {
  for (const type of [
    'ssh-ed25519',
    'ssh-rsa',
    'ecdsa-sha2-nistp256',
    'ecdsa-sha2-nistp384',
    'ecdsa-sha2-nistp521',
    'sk-ssh-ed25519@openssh.com',
    'sk-ecdsa-sha2-nistp256@openssh.com',
  ]) {
    const key = line(type, randomBytes(32));
    const fingerprint = `SHA256:${createHash('sha256')
      .update(Buffer.from(key.split(' ')[1] as string, 'base64'))
      .digest('base64')
      .replace(/=+$/, '')}`;
    expect(readPublicKey(key)).toEqual({ type, fingerprint });
    expect(readPublicKey(`${key} somebody@some where`)).toEqual({ type, fingerprint });
  }
});

test('anything else names what is wrong', async () => {
  await using b = await bench();
  const { privateKey } = generateKeyPairSync('ed25519');
  const told = async (publicKey: string) => {
    const fault = await faultOf(b.cloud.sshKey.create({ name: 'k', publicKey }));
    expect(fault).toMatchObject({ code: 'invalid_input', details: [{ path: 'publicKey' }] });
    return fault.message;
  };
  expect(await told(privateKey.export({ type: 'pkcs8', format: 'pem' }).toString())).toContain('private key; give the .pub file');
  expect(await told(`${ed25519}\n${ed25519}`)).toContain('one line');
  expect(await told(`from="10.0.0.1" ${ed25519}`)).toContain('begin with the key type');
  expect(await told('ssh-dss AAAA')).toContain('begin with the key type');
  expect(await told(ed25519.slice(0, 40))).toContain('was the line cut?');
  expect(await told(`ssh-rsa ${ed25519.split(' ')[1]}`)).toContain('does not hold a key of that type');
  expect(await told('ssh-ed25519')).toContain('was the line cut?');
  expect(await told('')).toContain('publicKey');
  const made = await b.cloud.sshKey.create({ name: 'k', publicKey: `  ${ed25519} me\n` });
  expect(made.publicKey).toBe(`${ed25519} me`);
});

test('a key that instances were made with may go', async () => {
  await using b = await bench();
  await b.cloud.sshKey.create({ name: 'laptop', publicKey: ed25519 });
  await b.ready(b.cloud.instance.create({ name: 'web', image: 'busybox', sshKeys: ['laptop'] }));
  await b.cloud.sshKey.delete('laptop');
  expect((await b.cloud.instance.get('web')).state).toBe('running');
  expect((await b.ended(b.cloud.instance.restart('web'))).state).toBe('succeeded');
});
