// Goes over a chain of audit lines from its first to its last, page by page, while others go on writing.
import type { KeyObject } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { type AuditRecord, type Head, headIn, isGenuine, lineHash, type Roster, same, tellsOfDamage } from './audit-chain.ts';
import type { Db } from './db.ts';

export interface Verification {
  ok: boolean;
  /** Lines that were checked. */
  lines: number;
  from?: number;
  to?: number;
  /** The first hundred. */
  problems: { id: number; problem: string }[];
}

const PAGE = 500;
const MOST_PROBLEMS = 100;

const span = (from: number, to: number): string => (from === to ? `line ${from} is missing` : `lines ${from} to ${to} are missing`);

export async function verifyChain(of: { db: Db; key: KeyObject; tenantId: string; roster: Roster; signal: AbortSignal }): Promise<Verification> {
  const { db, key, tenantId, roster, signal } = of;
  const problems: Verification['problems'] = [];
  let ok = true;
  const problem = (id: number, text: string): void => {
    ok = false;
    if (problems.length < MOST_PROBLEMS) problems.push({ id, problem: text });
  };

  if (!roster.genuine) problem(0, 'the list of chains was changed or removed, so whole chains may be missing');
  const head = await headIn(db, tenantId);
  if (head === undefined) {
    if (roster.tenants.includes(tenantId)) problem(0, 'the head of the chain was removed');
    await strays(db, tenantId, undefined, problem);
    return { ok, lines: 0, problems };
  }
  if (!isGenuine(key, tenantId, head)) problem(head.seq, 'the head of the chain was changed');
  else if (roster.genuine && !roster.tenants.includes(tenantId)) problem(0, 'this chain is not in the list of chains');

  let lines = 0;
  let expected = head.first_seq;
  let previous = head.anchor;
  /** Of a line whose hash is wrong: what it should be. Undefined: there is no telling, what came before is missing. */
  let instead: string | undefined;
  let unknown = false;
  let at: Pick<AuditRecord, 'seq' | 'id'> | undefined;
  /** Lines that went by retention meanwhile are no gap. */
  const catchUp = async (): Promise<void> => {
    const now = await headIn(db, tenantId);
    if (now === undefined || now.first_seq <= expected || !isGenuine(key, tenantId, now)) return;
    [expected, previous, instead] = [now.first_seq, now.anchor, undefined];
  };
  for (;;) {
    signal.throwIfAborted();
    const page = await pageAfter(db, tenantId, at ?? { seq: head.first_seq - 1, id: Number.MAX_SAFE_INTEGER }, head.seq);
    for (const line of page) {
      if (line.seq === at?.seq) {
        problem(line.seq, 'there is another line in this place');
        continue;
      }
      at = line;
      if (line.seq > expected) await catchUp();
      if (line.seq < expected) continue; // gone by now
      lines++;
      if (line.seq > expected) {
        problem(expected, span(expected, line.seq - 1));
        unknown = true;
      }
      const hash = lineHash(key, previous, line);
      const genuine = unknown || same(line.hash, hash) || (instead !== undefined && same(line.hash, lineHash(key, instead, line)));
      if (!genuine) problem(line.seq, 'the line was changed, moved, or written by somebody else');
      else if (tellsOfDamage(line)) problem(line.seq, `when this line was written, damage had been found: ${line.target ?? ''}`);
      instead = genuine ? undefined : hash;
      [expected, previous, unknown] = [line.seq + 1, line.hash, false];
    }
    if (page.length < PAGE) break;
    at = page.at(-1);
    await setImmediate(); // the database answers at once, so nobody else would have their turn
  }
  if (expected <= head.seq) await catchUp();
  if (expected <= head.seq) problem(expected, span(expected, head.seq));
  else if (expected === head.seq + 1 && !same(previous, head.hash) && !(instead !== undefined && same(instead, head.hash)))
    problem(head.seq, 'this is not the line that the chain ends with');
  await strays(db, tenantId, head, problem);
  return { ok, lines, ...(lines === 0 ? {} : { from: head.first_seq, to: head.seq }), problems };
}

const pageAfter = (db: Db, tenant: string, after: Pick<AuditRecord, 'seq' | 'id'>, last: number): Promise<AuditRecord[]> =>
  db
    .selectFrom('audit')
    .selectAll()
    .where('tenant', '=', tenant)
    .where('seq', '>=', after.seq)
    .where('seq', '<=', last)
    .where((where) => where.or([where('seq', '>', after.seq), where('id', '>', after.id)]))
    .orderBy('seq')
    .orderBy('id')
    .limit(PAGE)
    .execute();

/** Lines before the first and after the last of the chain as it is at this moment. */
async function strays(db: Db, tenant: string, head: Head | undefined, problem: (id: number, text: string) => void): Promise<void> {
  let query = db.selectFrom('audit').select('seq').where('tenant', '=', tenant);
  if (head !== undefined) {
    query = query.where((where) =>
      where.or([
        where('seq', '<', where.selectFrom('audit_head').select('first_seq').where('tenant', '=', tenant)),
        where('seq', '>', where.selectFrom('audit_head').select('seq').where('tenant', '=', tenant)),
      ]),
    );
  }
  for (const { seq } of await query.orderBy('seq').limit(MOST_PROBLEMS).execute()) problem(seq, 'this line is not part of the chain');
}
