// Audit: the lines that the kernel writes of every change and refusal, listed, exported and verified.
import { setImmediate } from 'node:timers/promises';
import type { z } from 'zod';
import { type AuditRecord } from '../../kernel/audit-chain.ts';
import { administersInstallation, INSTALLATION, isAdministrator } from '../../kernel/authorize.ts';
import type { Db, Tx } from '../../kernel/db.ts';
import { Fault } from '../../kernel/errors.ts';
import { notACursor } from '../../kernel/page.ts';
import { matches } from '../../kernel/policy/index.ts';
import { type Call, service } from '../../kernel/service.ts';
import { type AuditLine, audits } from './contract.ts';

type View = z.output<typeof AuditLine>;
interface Filter {
  since?: string | undefined;
  until?: string | undefined;
  principal?: string | undefined;
  permission?: string | undefined;
  outcome?: string | undefined;
  target?: string | undefined;
}

/** Lines read at once. */
const PAGE = 500;
/** Sorts after everything that begins with the same characters. */
const LAST = '\u{10ffff}';

const isLiteral = (pattern: string): boolean => !/[*?]/.test(pattern);
/** What every match begins with. */
const literalStart = (pattern: string): string => /^[^*?]*/.exec(pattern)?.[0] ?? '';

const view = (line: AuditRecord): View => ({
  id: line.seq,
  time: new Date(line.time).toISOString(),
  principal: line.principal,
  ...(line.principal_name === null ? {} : { principalName: line.principal_name }),
  ...(line.credential === null ? {} : { credential: line.credential }),
  source: line.source,
  permission: line.permission,
  ...(line.target === null ? {} : { target: line.target }),
  ...(line.target_id === null ? {} : { targetId: line.target_id }),
  requestId: line.request_id,
  outcome: line.outcome,
  ...(line.decision === null ? {} : { decision: line.decision }),
  hash: line.hash,
});

/** Lines of a chain that the filter lets through, but for a permission with wildcards, of which only the beginning is looked at. */
function filtered(db: Db, tenant: string, { since, until, principal, permission, outcome, target }: Filter) {
  let query = db.selectFrom('audit').selectAll().where('tenant', '=', tenant);
  if (since !== undefined) query = query.where('time', '>=', Date.parse(since));
  if (until !== undefined) query = query.where('time', '<', Date.parse(until));
  if (principal !== undefined) query = query.where((where) => where.or([where('principal', '=', principal), where('principal_name', '=', principal)]));
  if (outcome !== undefined) query = query.where('outcome', '=', outcome);
  if (target !== undefined) query = query.where((where) => where.or([where('target', '=', target), where('target_id', '=', target)]));
  if (permission === undefined) return query;
  if (isLiteral(permission)) return query.where('permission', '=', permission);
  const start = literalStart(permission);
  return start === '' ? query : query.where('permission', '>=', start).where('permission', '<', start + LAST);
}

const cursorOf = (seq: number): string => Buffer.from(`a.${seq}`).toString('base64url');
function readCursor(cursor: string): number {
  const match = /^a\.(\d{1,15})$/.exec(Buffer.from(cursor, 'base64url').toString());
  if (match === null) throw notACursor();
  return Number(match[1]);
}

/** Whose chain a call is about. */
function chainOf({ principal, tenantId, input }: Pick<Call<typeof audits, { installation: boolean }>, 'principal' | 'tenantId' | 'input'>): string {
  if (!input.installation) return tenantId;
  if (administersInstallation(principal)) return INSTALLATION;
  throw new Fault('forbidden', `${principal.name ?? principal.id} may not read the lines of the installation: that is for its administrators`, {
    details: { reason: isAdministrator(principal) ? 'keys and client tokens never administer the installation' : 'not an administrator of the installation' },
  });
}

export const auditService = service(audits, (context) => ({
  handlers: {
    async list(call) {
      const { limit, cursor, installation: _, ...filter } = call.input;
      const tenant = chainOf(call);
      const items: View[] = [];
      let before = cursor === undefined ? Number.MAX_SAFE_INTEGER : readCursor(cursor);
      for (;;) {
        call.signal.throwIfAborted();
        // One more than are wanted tells whether there are more.
        const page = await filtered(context.db, tenant, filter).where('seq', '<', before).orderBy('seq', 'desc').limit(PAGE).execute();
        for (const line of page) {
          if (filter.permission !== undefined && !matches(filter.permission, line.permission)) continue;
          if (items.length === limit) return { items, cursor: cursorOf(items.at(-1)?.id ?? 0) };
          items.push(view(line));
        }
        if (page.length < PAGE) return { items };
        before = page.at(-1)?.seq ?? 0;
        await setImmediate(); // the database answers at once, so nobody else would have their turn
      }
    },

    verify: (call) => context.audit.verify(chainOf(call), call.signal),

    async *export(call) {
      const { installation: _, ...filter } = call.input;
      const tenant = chainOf(call);
      const newest = await context.db
        .selectFrom('audit')
        .select((of) => of.fn.max('seq').as('seq'))
        .where('tenant', '=', tenant)
        .executeTakeFirst();
      const last = Number(newest?.seq ?? 0);
      let after = 0;
      while (!call.signal.aborted) {
        const page = await filtered(context.db, tenant, filter).where('seq', '>', after).where('seq', '<=', last).orderBy('seq').limit(PAGE).execute();
        for (const line of page) if (filter.permission === undefined || matches(filter.permission, line.permission)) yield view(line);
        if (page.length < PAGE) return;
        after = page.at(-1)?.seq ?? last;
        await setImmediate();
      }
    },

    settings: async () => ({ retentionDays: await context.audit.retentionDays() }),
    async configure(call) {
      const { retentionDays } = call.input;
      await context.audit.keepFor(retentionDays, call.sql as Tx);
      return { retentionDays };
    },
  },
}));
