import { z } from 'zod';
import { action, contract, crud, query, resource } from '../../kernel/contract.ts';
import { actionField, resourceField, Verdict } from '../auth/contract.ts';

const document = z.record(z.string(), z.json()).meta({
  description: 'The document, JSON as in AWS IAM',
  example: { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: 'instance:*', Resource: '*' }] },
  cli: { file: true },
});

export const policy = resource('policy', {
  summary: 'Policies: documents that allow and deny',
  description:
    'A principal that has policies, of its own or by a role, may do only what a statement of theirs allows and none denies; its roles add nothing. An API key with policies may do only what these allow too.',
  plural: 'policies',
  restricted: 'all',
  spec: {
    document,
    description: z.string().min(1).max(1024).optional().meta({ description: 'What it is for', example: 'Nobody deletes production' }),
  },
  status: { attachments: z.int().meta({ description: 'To how many it is attached' }) },
  columns: ['name', 'attachments', 'description', 'createdAt'],
  wide: ['id', 'updatedAt'],
  quota: { policies: 1 },
});

export const Attachment = z.strictObject({
  policy: z.string(),
  kind: z.enum(['user', 'service-account', 'api-key', 'role']),
  id: z.string(),
  name: z.string(),
});

const to = {
  user: z.string().min(1).max(254).optional().meta({ description: 'E-mail address or id of a member', example: 'ann@example.com' }),
  serviceAccount: z.string().min(1).max(64).optional().meta({ description: 'Name or id of a service account' }),
  apiKey: z.string().min(1).max(64).optional().meta({ description: 'Name or id of an API key' }),
  role: z.string().min(1).max(64).optional().meta({ description: 'Name of a role' }),
};

export const Finding = z.strictObject({ level: z.enum(['error', 'warning']), path: z.string(), message: z.string() });

export const policies = contract(policy, {
  ...crud(policy, {
    create: { examples: [['policy create no-deletes --document @policy.json', '']] },
    update: {
      description: 'While it is attached, only those who have every permission in the tenant change the document.',
      examples: [['policy update no-deletes --document @policy.json', '']],
    },
    delete: { description: 'Refused while it is attached.' },
  }),
  attach: action(policy, {
    summary: 'Attach a policy to a user, service account, API key or role',
    description: 'Attaching twice is attaching once. It holds from the next call on. You attach only what allows no more than you have yourself.',
    input: to,
    output: Attachment,
    examples: [
      ['policy attach no-deletes --user ann@example.com', ''],
      ['policy attach no-deletes --role developer', ''],
    ],
  }),
  detach: action(policy, {
    summary: 'Detach a policy',
    description:
      'Detaching what is not attached changes nothing. Only those who have every permission in the tenant detach; what an API key was made with stays.',
    input: to,
    output: Attachment,
    examples: [['policy detach no-deletes --user ann@example.com', '']],
  }),
  forget: action(policy, {
    summary: 'Detach all policies from a principal that is no more',
    target: false,
    internal: true,
    input: { kind: z.enum(['user', 'service-account', 'api-key', 'role']), id: z.string() },
    output: z.strictObject({ detached: z.int() }),
  }),
  attachments: query(policy, {
    summary: 'Show what a policy is attached to',
    output: z.strictObject({ items: z.array(Attachment) }),
    examples: [['policy attachments no-deletes', '']],
  }),
  simulate: query(policy, {
    summary: 'Ask whether somebody might do something, and what decides',
    target: false,
    input: {
      action: actionField,
      resource: resourceField.optional(),
      user: to.user,
      serviceAccount: to.serviceAccount,
      apiKey: to.apiKey,
      document: document.optional().meta({ description: 'Instead of what is attached: only this document', cli: { file: true } }),
      context: z
        .record(z.string().max(128), z.string().max(1024))
        .default({})
        .meta({ description: 'Context keys, such as cloud:SourceIp=10.0.0.1', example: { 'cloud:SourceIp': '10.0.0.1' }, cli: { flag: 'context-key' } }),
    },
    output: Verdict,
    examples: [
      ['policy simulate instance:delete web --user ann@example.com', ''],
      ['policy simulate instance:delete web --document @draft.json --context-key cloud:SourceIp=10.0.0.1', ''],
    ],
  }),
  lint: query(policy, {
    summary: 'Check a document without keeping it',
    target: false,
    input: { document },
    output: z.strictObject({ ok: z.boolean(), findings: z.array(Finding) }),
    examples: [['policy lint --document @policy.json', '']],
  }),
});
