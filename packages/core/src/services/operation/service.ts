// Operations: the durable promises that asynchronous writes answer with.
import type { z } from 'zod';
import { scopesOf } from '../../kernel/authorize.ts';
import type { KernelTables } from '../../kernel/db.ts';
import type { FaultBody } from '../../kernel/errors.ts';
import { Fault } from '../../kernel/errors.ts';
import { service } from '../../kernel/service.ts';
import { waitFor } from '../../kernel/wait.ts';
import { type OperationView, operations } from './contract.ts';

type View = z.output<typeof OperationView>;

const viewOf = (row: KernelTables['operation']): View => ({
  id: row.id,
  kind: row.kind,
  resource: row.resource,
  resourceId: row.resource_id,
  name: row.name,
  state: row.state as View['state'],
  ...(row.progress === null || row.state !== 'running' ? {} : { progress: row.progress }),
  ...(row.percent === null || row.state !== 'running' ? {} : { percent: row.percent }),
  ...(row.error === null ? {} : { error: JSON.parse(row.error) as FaultBody }),
  createdAt: new Date(row.created_at).toISOString(),
  ...(row.finished_at === null ? {} : { finishedAt: new Date(row.finished_at).toISOString() }),
  ...(row.request_id === '' ? {} : { requestId: row.request_id }),
});

export const operationService = service(operations, (context) => {
  const find = async (tenants: readonly string[], id: string): Promise<View> => {
    const rows = await context.db
      .selectFrom('operation')
      .selectAll()
      .where('tenant', 'in', tenants)
      .where('id', '>=', id)
      .where('id', '<', `${id}{`)
      .limit(2)
      .execute();
    const exact = rows.find((row) => row.id === id) ?? (rows.length === 1 && id.length > 3 ? rows[0] : undefined);
    if (exact === undefined) throw new Fault('not_found', `There is no operation ${JSON.stringify(id)}`, { hint: 'cloud operation list' });
    return viewOf(exact);
  };
  return {
    handlers: {
      async list(call) {
        let query = context.db
          .selectFrom('operation')
          .selectAll()
          .where('tenant', 'in', scopesOf(call))
          .orderBy('created_at', 'desc')
          .orderBy('id', 'desc')
          .limit(call.input.limit);
        if (call.input.state !== undefined) query = query.where('state', '=', call.input.state);
        return { items: (await query.execute()).map(viewOf) };
      },
      get: (call) => find(scopesOf(call), call.targetName),
      async wait(call) {
        const { timeout, progress } = call.input;
        const { id } = await find(scopesOf(call), call.targetName);
        let view: View | undefined;
        const ended = await waitFor({
          onCommit: context.onCommit,
          signal: call.signal,
          milliseconds: timeout * 1000,
          concerns: ({ operations }) => operations.includes(id),
          look: async () => {
            view = await find(scopesOf(call), id);
            return view.state !== 'running' || (progress !== undefined && (view.progress ?? '') !== progress) ? view : undefined;
          },
        });
        if (ended !== undefined) return ended;
        const now = view as View;
        throw new Fault(
          'timeout',
          `${now.kind} of ${now.name} is still running after ${timeout} s${now.progress === undefined ? '' : ` (${now.progress})`}; it goes on`,
          { hint: `cloud operation wait ${now.id}`, details: { operation: now } },
        );
      },
    },
  };
});
