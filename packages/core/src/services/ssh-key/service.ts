// SSH keys: public halves, checked when they are given, so that an instance never gets a line that sshd ignores.
import { createHash } from 'node:crypto';
import { Fault } from '../../kernel/errors.ts';
import { service } from '../../kernel/service.ts';
import { sshKeys } from './contract.ts';

const TYPES = [
  'ssh-ed25519',
  'ssh-rsa',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'sk-ssh-ed25519@openssh.com',
  'sk-ecdsa-sha2-nistp256@openssh.com',
];

const wrong = (message: string): Fault =>
  new Fault('invalid_input', `publicKey: ${message}`, { details: [{ path: 'publicKey', message }], hint: 'ssh-keygen -t ed25519' });

/** RFC 4253 §6.6: the blob begins with the length and text of its own type. */
export function readPublicKey(text: string): { type: string; fingerprint: string } {
  if (/PRIVATE KEY/.test(text)) throw wrong('this is a private key; give the .pub file');
  if (text.includes('\n')) throw wrong('give one line, as in a .pub file');
  const [type = '', blob = ''] = text.split(/\s+/);
  if (!TYPES.includes(type)) throw wrong(`begin with the key type, one of ${TYPES.join(', ')}`);
  const bytes = Buffer.from(blob, 'base64');
  const length = bytes.length >= 4 ? bytes.readUInt32BE(0) : 0;
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(blob) || bytes.subarray(4, 4 + length).toString('latin1') !== type || bytes.length < 4 + length + 4) {
    throw wrong('the base64 part does not hold a key of that type; was the line cut?');
  }
  return { type, fingerprint: `SHA256:${createHash('sha256').update(bytes).digest('base64').replace(/=+$/, '')}` };
}

export const sshKeyService = service(sshKeys, () => ({
  handlers: {
    async create(call) {
      const { name, labels, publicKey } = call.input;
      const text = publicKey.trim();
      return call.rows.insert({ name, labels, spec: { publicKey: text }, status: readPublicKey(text) });
    },
  },
}));
