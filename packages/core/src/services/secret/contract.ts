import { z } from 'zod';
import { action, contract, crud, immutable, query, resource } from '../../kernel/contract.ts';

const MOST_BYTES = 65_536;

const valueField = z
  .string()
  .min(1, 'a secret has at least one character')
  .refine((text) => new TextEncoder().encode(text).length <= MOST_BYTES, `a secret has at most ${MOST_BYTES} bytes in UTF-8`)
  .meta({ secret: true, description: 'The value: @file, or - for standard input', example: 'correct horse battery', cli: { file: true } });

const generateField = z
  .int()
  .min(16, 'make it 16 characters or longer')
  .max(1024)
  .optional()
  .meta({ description: 'In place of a value: make a random one of so many letters and digits' });

const versionField = z.int().min(1).meta({ description: 'Version', example: 1 });

export const secret = resource('secret', {
  summary: 'Secrets: values that are kept sealed, in versions',
  description:
    'A secret is shared by the members of the tenant whose roles or policies let them use it, and sealed with a key of the tenant; with `private` only who made it can use it, and the key is of that user in that tenant. Values are shown by `secret value` alone.',
  spec: {
    value: immutable(valueField),
    private: immutable(z.boolean().default(false).meta({ description: 'Only you can read it; to everybody else it is not there' })),
    description: z.string().min(1).max(1024).optional().meta({ description: 'What it is for', example: 'Password of the shop database' }),
    keepVersions: z.int().min(1).max(100).default(10).meta({ description: 'Versions that are kept; older ones go when there is a new one', example: 10 }),
  },
  status: {
    currentVersion: z.int().meta({ description: 'Newest version' }),
    versions: z.int().meta({ description: 'Versions that are kept' }),
    lastAccessedAt: z.iso.datetime().optional().meta({ description: 'When a value was last read' }),
    owner: z.string().meta({ description: 'Who made it' }),
    ownerId: z.string().meta({ description: 'Id of who made it' }),
  },
  columns: ['name', 'value', 'currentVersion', 'private', 'owner', 'lastAccessedAt', 'description'],
  wide: ['id', 'versions', 'createdAt'],
  quota: { secrets: 1 },
});

export const SecretValue = z.strictObject({
  id: z.string(),
  name: z.string(),
  version: z.int(),
  value: z.string(),
  createdAt: z.iso.datetime().meta({ description: 'When this version was made' }),
});

export const SecretVersion = z.strictObject({
  version: z.int(),
  state: z.enum(['current', 'previous']),
  createdAt: z.iso.datetime(),
  createdBy: z.string().meta({ description: 'Id of who made it' }),
  lastAccessedAt: z.iso.datetime().optional(),
});

const given = { value: valueField.optional(), generate: generateField };

export const secrets = contract(secret, {
  ...crud(secret, {
    create: {
      input: given,
      examples: [
        ['secret create db-password --value -', 'from standard input'],
        ['secret create tls-key --value @server.key', 'from a file'],
        ['secret create session-key --generate 48', ''],
        ['secret create my-token --value - --private', 'nobody else can read it'],
      ],
    },
    update: { examples: [['secret update db-password --description "Password of the shop database"', '']] },
    delete: {
      description:
        'With all its versions. Refused while an instance refers to it. A private secret of somebody else can be deleted, unread, by an administrator of the tenant.',
    },
  }),
  value: action(secret, {
    summary: 'Show the value of a secret',
    description: 'Every reading is audited, makes an event, and is remembered as `lastAccessedAt`.',
    input: { version: versionField.optional().meta({ description: 'Version; the newest when absent' }) },
    output: SecretValue,
    secretAnswer: true,
    answerKept: 0,
    examples: [
      ['secret value db-password', ''],
      ['secret value db-password --version 1', 'as it was'],
    ],
  }),
  rotate: action(secret, {
    summary: 'Give a secret a new value',
    description: 'It becomes the newest version; older ones are kept, up to `keepVersions`. An instance gets it when it starts the next time.',
    input: given,
    examples: [
      ['secret rotate db-password --value -', ''],
      ['secret rotate session-key --generate 48', ''],
    ],
  }),
  versions: query(secret, {
    summary: 'List the versions of a secret, the newest first, without values',
    output: z.strictObject({ items: z.array(SecretVersion) }),
    examples: [['secret versions db-password', '']],
  }),
  deleteVersion: action(secret, {
    summary: 'Delete an old version of a secret',
    destructive: true,
    input: { version: versionField },
    examples: [['secret delete-version db-password --version 1', '']],
  }),
  reveal: action(secret, {
    summary: 'The value, for what starts with it',
    internal: true,
    answerKept: 0,
    secretAnswer: true,
    input: { version: versionField.optional(), usedBy: z.string().meta({ description: 'Such as `instance web`' }) },
    output: SecretValue,
  }),
  peek: query(secret, {
    summary: 'The value once more, for what was started with it; the newest where that version is gone',
    internal: true,
    input: { version: versionField },
    output: SecretValue,
  }),
});

const REFERENCE = '@secret:';

export interface SecretReference {
  /** Name or id. */
  secret: string;
  /** The newest when absent. */
  version: number | undefined;
}

/** `@secret:name` or `@secret:name#version` in a text that may hold either that or itself. A string says what is wrong with it. */
export function secretReference(text: string): SecretReference | string | undefined {
  if (!text.startsWith(REFERENCE)) return undefined;
  const match = /^([^#\s]+)(?:#([1-9]\d{0,8}))?$/.exec(text.slice(REFERENCE.length));
  if (match === null) return 'write @secret:name or @secret:name#version; a text that begins so is written @@secret:…';
  return { secret: match[1] as string, version: match[2] === undefined ? undefined : Number(match[2]) };
}

/** What a text that is no reference stands for: `@@secret:x` is `@secret:x`. */
export const literalText = (text: string): string => (text.startsWith(`@${REFERENCE}`) ? text.slice(1) : text);
