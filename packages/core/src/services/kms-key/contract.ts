import { z } from 'zod';
import { action, contract, crud, query, resource } from '../../kernel/contract.ts';

/** Of AWS KMS, "Encrypt": bytes that a key takes itself. */
const MOST_BYTES = 4096;
const MOST_BASE64 = Math.ceil(MOST_BYTES / 3) * 4;

export const kmsKey = resource('kms-key', {
  summary: 'Encryption keys that never leave the cloud, for objects (SSE-KMS) and small values',
  description:
    'A key is random, sealed at rest, and used by name: `aws s3 cp --sse aws:kms --sse-kms-key-id photos …`. Whoever reads what it sealed must be allowed `kms-key:decrypt` besides. Deleting a key makes all that it sealed unreadable for ever.',
  spec: {
    description: z.string().min(1).max(1024).optional().meta({ description: 'What it is for', example: 'Photos of customers' }),
  },
  status: {
    currentVersion: z.int().meta({ description: 'What seals now; older ones still open' }),
    rotatedAt: z.iso.datetime().optional().meta({ description: 'When it was last rotated' }),
  },
  columns: ['name', 'currentVersion', 'description', 'createdAt'],
  wide: ['id', 'rotatedAt'],
  quota: { kmsKeys: 1 },
});

export const kmsKeys = contract(kmsKey, {
  ...crud(kmsKey, {
    create: { examples: [['kms-key create photos', '']] },
    update: { examples: [['kms-key update photos --description "Photos of customers"', '']] },
    delete: {
      description: 'What it sealed can never be opened again: objects are still listed, and their bytes are lost.',
      examples: [['kms-key delete photos', '']],
    },
  }),
  rotate: action(kmsKey, {
    summary: 'Give a key new material; what the old one sealed still opens',
    examples: [['kms-key rotate photos', '']],
  }),
  encrypt: action(kmsKey, {
    summary: 'Seal a small value',
    answerKept: 0,
    input: {
      plaintext: z
        .base64()
        .min(4, 'give at least one byte')
        .max(MOST_BASE64, `at most ${MOST_BYTES} bytes`)
        .meta({ description: 'Base64 of at most 4096 bytes: @file, or - for standard input', secret: true, example: 'aGVsbG8=', cli: { file: true } }),
    },
    output: z.strictObject({ key: z.string(), version: z.int(), ciphertext: z.string().meta({ description: 'Goes back into `decrypt` as it is' }) }),
    examples: [['kms-key encrypt photos --plaintext @key.b64', '']],
  }),
  decrypt: action(kmsKey, {
    summary: 'Open what the key sealed',
    answerKept: 0,
    secretAnswer: true,
    input: {
      ciphertext: z
        .string()
        .regex(/^kms1\.[0-9]{1,9}\.[A-Za-z0-9_-]{38,8192}$/, 'give what `encrypt` answered')
        .meta({ description: 'What `encrypt` answered: @file, or - for standard input', example: `kms1.1.${'A'.repeat(64)}`, cli: { file: true } }),
    },
    output: z.strictObject({ key: z.string(), version: z.int(), plaintext: z.string().meta({ description: 'Base64' }) }),
    examples: [['kms-key decrypt photos --ciphertext @sealed', '']],
  }),
  material: query(kmsKey, {
    summary: 'The key itself, for what seals with it',
    internal: true,
    input: { version: z.int().min(1).optional() },
    output: z.strictObject({ id: z.string(), version: z.int(), material: z.string() }),
  }),
});
