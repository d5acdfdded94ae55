import { z } from 'zod';
import { action, contract, query, resource } from '../../kernel/contract.ts';
import { emailField, passwordField } from '../user/contract.ts';

export const auth = resource('auth', {
  summary: 'Who you are: log in, log out, passwords, what you may do',
  plural: 'auth',
  scope: 'installation',
  stored: false,
  columns: ['id', 'name'],
});

const email = emailField.meta({ description: 'E-mail address', example: 'ann@example.com', immutable: true, cli: { positional: true } });
const current = z
  .string()
  .min(1)
  .max(1024)
  .meta({ secret: true, description: 'The password in force', example: 'correct horse battery', cli: { file: true } });

/** What a login gives. RFC 6749 §5.1 in camel case. */
export const Session = z.strictObject({
  tokenType: z.literal('Bearer'),
  accessToken: z.string().meta({ description: 'JSON Web Token for the Authorization header' }),
  expiresIn: z.int().meta({ description: 'Seconds until the access token expires' }),
  refreshToken: z.string().optional().meta({ description: 'Good for one refresh; each refresh gives a new one' }),
  refreshExpiresAt: z.iso.datetime().optional(),
  principal: z.strictObject({ id: z.string(), name: z.string(), kind: z.enum(['user', 'service-account']) }),
  tenant: z.strictObject({ id: z.string(), name: z.string() }).optional().meta({ description: 'Where calls act that name no tenant' }),
});

export const Verdict = z.strictObject({
  allowed: z.boolean(),
  action: z.string(),
  resource: z.string(),
  reason: z.string().meta({ description: 'One sentence: what decided' }),
  by: z
    .strictObject({
      kind: z.enum(['administrator', 'role', 'policy', 'none']),
      role: z.string().optional(),
      policy: z.string().optional(),
      policyId: z.string().optional(),
      sid: z.string().optional(),
      statement: z.int().optional().meta({ description: 'Index of the statement in the document, from 0' }),
    })
    .optional(),
  wouldAllow: z.string().optional().meta({ description: 'What would allow it' }),
  statements: z
    .array(
      z.strictObject({
        policy: z.string(),
        policyId: z.string(),
        sid: z.string().optional(),
        statement: z.int(),
        effect: z.enum(['Allow', 'Deny']),
        matched: z.boolean(),
        why: z.string(),
      }),
    )
    .optional()
    .meta({ description: 'Every statement that was looked at; only for those who may read policies' }),
});

export const actionField = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[a-z0-9-]+:[A-Za-z0-9]+$/, 'an action is <resource>:<operation>, such as instance:create')
  .meta({ description: 'Action, such as instance:delete', example: 'instance:get', cli: { positional: true } });
export const resourceField = z
  .string()
  .min(1)
  .max(1024)
  .meta({ description: "Name, id or crn:… of what it would be done to; the action's whole kind when absent", example: 'web', cli: { positional: true } });

export const auths = contract(auth, {
  register: action(auth, {
    summary: 'Make an account',
    description:
      'Works where an administrator has opened registration (`cloud auth configure --registration open`). The new user gets a tenant of their own, as its administrator.',
    target: false,
    access: 'anonymous',
    answerKept: 0,
    input: { email, password: passwordField, displayName: z.string().min(1).max(128).optional().meta({ description: 'Name to show', example: 'Ann' }) },
    output: z.strictObject({ user: z.strictObject({ id: z.string(), name: z.string() }), tenant: z.strictObject({ id: z.string(), name: z.string() }) }),
    examples: [['auth register ann@example.com', '']],
  }),
  login: action(auth, {
    summary: 'Log in with e-mail address and password',
    target: false,
    access: 'anonymous',
    answerKept: 0,
    input: { email, password: current },
    output: Session,
    examples: [
      ['auth login ann@example.com', 'asks for the password'],
      ['auth login ann@example.com --password -', 'password from standard input'],
    ],
  }),
  refresh: action(auth, {
    summary: 'Exchange a refresh token for new tokens',
    description: 'A refresh token that is used a second time ends its whole session: one of the two had stolen it.',
    target: false,
    access: 'anonymous',
    answerKept: 0,
    input: {
      refreshToken: z
        .string()
        .min(1)
        .max(512)
        .meta({ secret: true, description: 'The refresh token', cli: { file: true } }),
    },
    output: Session,
    examples: [['auth refresh --refresh-token -', '']],
  }),
  clientToken: action(auth, {
    summary: 'Get an access token for a service account',
    description: 'The client-credentials grant of RFC 6749 §4.4.',
    target: false,
    access: 'anonymous',
    answerKept: 0,
    input: {
      clientId: z
        .string()
        .min(1)
        .max(64)
        .meta({ description: 'Id of the service account', example: 'sa-0123456789abcdef', cli: { positional: true } }),
      clientSecret: z
        .string()
        .min(1)
        .max(512)
        .meta({ secret: true, description: 'Its secret', cli: { file: true } }),
    },
    output: Session,
    examples: [['auth client-token sa-0123456789abcdef --client-secret -', '']],
  }),
  logout: action(auth, {
    summary: 'End the session',
    description: 'Its access and refresh tokens stop working at once. Logging out twice is logging out once.',
    target: false,
    access: 'authenticated',
    answerKept: 0,
    input: { everywhere: z.boolean().default(false).meta({ description: 'End all sessions of this user' }) },
    output: z.strictObject({ ended: z.int() }),
    examples: [['auth logout', '']],
  }),
  whoami: query(auth, {
    summary: 'Who you are, in which tenant, and what your roles are there',
    target: false,
    access: 'authenticated',
    output: z.strictObject({
      id: z.string(),
      name: z.string(),
      kind: z.enum(['user', 'service-account', 'system']),
      administrator: z.boolean(),
      tenant: z.strictObject({ id: z.string(), name: z.string() }).optional(),
      roles: z.array(z.string()).meta({ description: 'Roles in that tenant' }),
      policies: z.array(z.string()).meta({ description: 'Names of the policies that apply there' }),
      tenants: z.array(z.strictObject({ id: z.string(), name: z.string(), roles: z.array(z.string()) })),
      credential: z.strictObject({
        kind: z.enum(['local', 'session', 'client', 'api-key']),
        id: z.string().optional(),
        expiresAt: z.iso.datetime().optional(),
      }),
    }),
    examples: [['auth whoami', '']],
  }),
  canI: query(auth, {
    summary: 'Whether you may do something, and what decides',
    target: false,
    access: 'authenticated',
    input: { action: actionField, resource: resourceField.optional() },
    output: Verdict,
    examples: [
      ['auth can-i instance:delete web', ''],
      ['auth can-i vpc:create', ''],
    ],
  }),
  changePassword: action(auth, {
    summary: 'Change your password',
    description: 'All other sessions end.',
    target: false,
    access: 'authenticated',
    answerKept: 0,
    input: { current, password: passwordField },
    output: z.strictObject({ ended: z.int().meta({ description: 'Other sessions that were ended' }) }),
    examples: [['auth change-password', 'asks for both']],
  }),
  resetPassword: action(auth, {
    summary: 'Set a new password with a one-time token',
    description: 'The token comes from an administrator (`cloud user reset-password`).',
    target: false,
    access: 'anonymous',
    answerKept: 0,
    input: {
      email,
      token: z
        .string()
        .min(1)
        .max(512)
        .meta({ secret: true, description: 'The one-time token', cli: { file: true } }),
      password: passwordField,
    },
    output: z.strictObject({ ended: z.int().meta({ description: 'Sessions that were ended' }) }),
    examples: [['auth reset-password ann@example.com', 'asks for token and password']],
  }),
  hash: query(auth, {
    summary: 'The hash of a password',
    target: false,
    internal: true,
    input: { email: emailField, password: passwordField },
    output: z.strictObject({ hash: z.string() }),
  }),
  keepPassword: action(auth, {
    summary: 'Keep the hash of a password, and end the sessions of its user',
    target: false,
    internal: true,
    input: { userId: z.string(), hash: z.string() },
    output: z.strictObject({ ended: z.int() }),
  }),
  issueToken: action(auth, {
    summary: 'Make a one-time token for a user, in place of an earlier one',
    target: false,
    internal: true,
    input: { userId: z.string() },
    output: z.strictObject({ token: z.string(), expiresAt: z.iso.datetime() }),
  }),
  endSessions: action(auth, {
    summary: 'End all sessions of a principal',
    target: false,
    internal: true,
    input: { principalId: z.string() },
    output: z.strictObject({ ended: z.int() }),
  }),
  forgetUser: action(auth, {
    summary: 'Forget password, tokens, sessions and failures of a user',
    target: false,
    internal: true,
    input: { userId: z.string(), email: z.string(), failuresOnly: z.boolean().default(false) },
    output: z.strictObject({ ended: z.int() }),
  }),
  settings: query(auth, {
    summary: 'Show how people come in',
    target: false,
    access: 'administrator',
    output: z.strictObject({ registration: z.enum(['closed', 'open']), accessTokenSeconds: z.int(), refreshTokenSeconds: z.int() }),
    examples: [['auth settings', '']],
  }),
  configure: action(auth, {
    summary: 'Say how people come in',
    target: false,
    access: 'administrator',
    input: { registration: z.enum(['closed', 'open']).meta({ description: 'Whether anybody may register', example: 'closed' }) },
    output: z.strictObject({ registration: z.enum(['closed', 'open']), accessTokenSeconds: z.int(), refreshTokenSeconds: z.int() }),
    examples: [['auth configure --registration open', '']],
  }),
  rotateKeys: action(auth, {
    summary: 'Make a new signing key for access tokens',
    description: 'Tokens of the key before go on working until they expire. With `--revoke` they stop at once. Keys rotate by themselves every 30 days.',
    target: false,
    access: 'administrator',
    input: { revoke: z.boolean().default(false).meta({ description: 'Refuse the tokens of all earlier keys at once' }) },
    output: z.strictObject({ keyId: z.string() }),
    examples: [['auth rotate-keys', '']],
  }),
});
