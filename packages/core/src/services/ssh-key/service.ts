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

/** The length-prefixed parts of a key (RFC 4251 §5), or undefined when the last one is cut. */
function partsOf(bytes: Buffer): Buffer[] | undefined {
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 4 > bytes.length ? Number.POSITIVE_INFINITY : at + 4 + bytes.readUInt32BE(at);
    if (end > bytes.length) return undefined;
    parts.push(bytes.subarray(at + 4, end));
    at = end;
  }
  return parts;
}

/** RFC 4253 §6.6: the first part of the blob is its own type. */
export function readPublicKey(text: string): { type: string; fingerprint: string } {
  if (/PRIVATE KEY/.test(text)) throw wrong('this is a private key; give the .pub file');
  if (text.includes('\n')) throw wrong('give one line, as in a .pub file');
  const [type = '', blob = ''] = text.split(/\s+/);
  if (!TYPES.includes(type)) throw wrong(`begin with the key type, one of ${TYPES.join(', ')}`);
  const bytes = Buffer.from(blob, 'base64');
  const parts = partsOf(bytes);
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(blob) || parts === undefined || parts.length < 2 || parts[0]?.toString('latin1') !== type) {
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
