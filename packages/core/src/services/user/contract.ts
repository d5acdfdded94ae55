import { z } from 'zod';
import { action, contract, crud, resource } from '../../kernel/contract.ts';

/** An address as it is kept: lower case, without what is around it. RFC 5321 allows 254 characters. */
export const emailField = z
  .string()
  .trim()
  .toLowerCase()
  .max(254, 'an e-mail address has at most 254 characters')
  .regex(/^[^\s@"<>()[\]\\,;:]{1,64}@[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*$/, 'give an e-mail address, such as ann@example.com')
  .meta({ immutable: true, description: 'E-mail address, unique in the installation', example: 'ann@example.com' });

/** bcrypt looks at no more than 72 bytes: what is longer would be cut off without a word. */
export const passwordField = z
  .string()
  .min(12, 'a password has at least 12 characters')
  .refine((text) => new TextEncoder().encode(text).length <= 72, 'a password has at most 72 bytes in UTF-8')
  .refine((text) => !text.includes('\0'), 'a password has no NUL in it')
  .meta({ secret: true, description: 'Password, 12 characters or more', example: 'correct horse battery', cli: { file: true } });

export const user = resource('user', {
  summary: 'People who may log in',
  description: 'A user belongs to the installation; what one may do in a tenant is decided by its members, roles and policies.',
  scope: 'installation',
  restricted: 'all',
  prefix: 'usr',
  nameField: emailField as z.ZodType<string>,
  spec: {
    displayName: z.string().min(1).max(128).optional().meta({ description: 'Name to show', example: 'Ann' }),
    administrator: z.boolean().default(false).meta({ description: 'Administers the installation: users, tenants, quotas, and everything in every tenant' }),
    disabled: z.boolean().default(false).meta({ description: 'May not log in; tokens and keys are refused at once' }),
  },
  status: {
    passwordSet: z.boolean().meta({ description: 'Whether there is a password' }),
    lastLoginAt: z.iso.datetime().optional().meta({ description: 'Newest login' }),
    lockedUntil: z.iso.datetime().optional().meta({ description: 'Logins from some source are refused until then, after too many wrong passwords' }),
  },
  columns: ['name', 'displayName', 'administrator', 'disabled', 'lastLoginAt', 'createdAt'],
  wide: ['id', 'passwordSet', 'lockedUntil'],
});

export const users = contract(user, {
  ...crud(user, {
    create: {
      access: 'administrator',
      description: 'Without a password, hand out a one-time token (`user reset-password`) with which the person sets one.',
      input: { password: passwordField.optional() },
      examples: [
        ['user create ann@example.com', ''],
        ['user create ann@example.com --password -', 'password from standard input'],
      ],
    },
    list: { access: 'administrator' },
    get: { access: 'administrator' },
    update: {
      access: 'administrator',
      examples: [
        ['user update ann@example.com --disabled', 'nothing works for her any more'],
        ['user update ann@example.com --no-disabled', ''],
      ],
    },
    delete: {
      access: 'administrator',
      description: 'Her memberships, keys and sessions go with her; what she made in tenants stays.',
      examples: [['user delete ann@example.com', '']],
    },
  }),
  enroll: action(user, {
    summary: 'Make a user whose password is hashed already',
    target: false,
    internal: true,
    input: { name: emailField, displayName: z.string().optional(), hash: z.string().optional() },
  }),
  resetPassword: action(user, {
    summary: 'Issue a one-time token with which a user sets a new password',
    description: 'Valid for a day and once (`cloud auth reset-password`). The password in force goes on working until then; an earlier token does not.',
    access: 'administrator',
    secretAnswer: true,
    output: z.strictObject({ email: z.string(), token: z.string(), expiresAt: z.iso.datetime() }),
    examples: [['user reset-password ann@example.com', '']],
  }),
  signOut: action(user, {
    summary: 'End all sessions of a user',
    description: 'Access tokens stop working at once. API keys are not touched.',
    access: 'administrator',
    output: z.strictObject({ ended: z.int().meta({ description: 'Sessions that were ended' }) }),
    examples: [['user sign-out ann@example.com', '']],
  }),
  unlock: action(user, {
    summary: 'Forget the wrong passwords that were tried',
    access: 'administrator',
    examples: [['user unlock ann@example.com', '']],
  }),
});
