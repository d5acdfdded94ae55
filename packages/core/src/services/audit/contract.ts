import { z } from 'zod';
import { action, contract, query, resource, stream } from '../../kernel/contract.ts';

const audit = resource('audit', {
  summary: 'Who did what: every change and every refusal',
  description: 'Lines are chained by a keyed hash: `audit verify` finds one that was changed, removed or moved.',
  plural: 'audit',
  stored: false,
  restricted: 'all',
  columns: ['time', 'principal', 'permission', 'target', 'outcome', 'source'],
  wide: ['id', 'credential', 'decision', 'requestId'],
});

export const AuditLine = z.strictObject({
  id: z.int().meta({ description: 'Place in the chain of this tenant, from 1, without gaps' }),
  time: z.iso.datetime(),
  principal: z.string().meta({ description: 'Id of who called; `anonymous` without credentials' }),
  principalName: z.string().optional(),
  credential: z.string().optional().meta({ description: 'Id of the API key or session' }),
  source: z.string().meta({ description: 'Address, `socket`, `embedded` or `internal`' }),
  permission: z.string().meta({ description: '<resource>:<operation>' }),
  target: z.string().optional(),
  targetId: z.string().optional(),
  requestId: z.string(),
  outcome: z.string().meta({ description: '`ok`, or the error code' }),
  decision: z.string().optional().meta({ description: 'What allowed or refused it: role, policy and statement' }),
  hash: z.string(),
});

const installation = z.boolean().default(false).meta({ description: "The installation's own lines (users, tenants, failed logins), for its administrators" });
const filters = {
  since: z.iso.datetime().optional().meta({ description: 'From then on', example: '2026-01-01T00:00:00Z' }),
  until: z.iso.datetime().optional().meta({ description: 'Before then', example: '2099-01-01T00:00:00Z' }),
  principal: z.string().min(1).max(254).optional().meta({ description: 'Only of this principal: id or name' }),
  permission: z.string().min(1).max(128).optional().meta({ description: 'Only these permissions, with * and ?', example: 'instance:*' }),
  outcome: z.string().min(1).max(64).optional().meta({ description: 'Only with this outcome', example: 'forbidden' }),
  target: z.string().min(1).max(254).optional().meta({ description: 'Only of this target: name or id' }),
  installation,
};

export const audits = contract(audit, {
  list: query(audit, {
    summary: 'List audit lines, the newest first',
    target: false,
    input: {
      ...filters,
      limit: z.int().min(1).max(1000).default(100).meta({ description: 'At most so many' }),
      cursor: z.string().max(64).optional().meta({ description: 'Where the page before ended' }),
    },
    output: z.strictObject({ items: z.array(AuditLine), cursor: z.string().optional() }),
    examples: [
      ['audit list', ''],
      ['audit list --outcome forbidden --since 2026-01-01T00:00:00Z', ''],
    ],
  }),
  verify: query(audit, {
    summary: 'Check the chain from its first line to its last',
    target: false,
    input: { installation },
    output: z.strictObject({
      ok: z.boolean(),
      lines: z.int().meta({ description: 'Lines that were checked' }),
      from: z.int().optional().meta({ description: 'First line; lines before it went by retention' }),
      to: z.int().optional(),
      problems: z.array(z.strictObject({ id: z.int(), problem: z.string() })).meta({ description: 'The first hundred' }),
    }),
    examples: [['audit verify', 'exit code 1 when something is wrong']],
  }),
  export: stream(audit, {
    summary: 'Write all audit lines, the oldest first',
    target: false,
    input: filters,
    output: AuditLine,
    examples: [['audit export --output json > audit.ndjson', '']],
  }),
  settings: query(audit, {
    summary: 'Show for how long audit lines are kept',
    target: false,
    access: 'administrator',
    output: z.strictObject({ retentionDays: z.int() }),
    examples: [['audit settings', '']],
  }),
  configure: action(audit, {
    summary: 'Say for how long audit lines are kept',
    target: false,
    access: 'administrator',
    input: { retentionDays: z.int().min(1).max(36_500).meta({ description: 'Days; 365 unless set', example: 365 }) },
    output: z.strictObject({ retentionDays: z.int() }),
    examples: [['audit configure --retention-days 730', '']],
  }),
});
