// Events: the log that row writes append to, listed and followed.
import type { z } from 'zod';
import { scopesOf } from '../../kernel/authorize.ts';
import { Fault } from '../../kernel/errors.ts';
import { nearest } from '../../kernel/near.ts';
import { service } from '../../kernel/service.ts';
import { type Event, events } from './contract.ts';

type EventView = z.output<typeof Event>;
interface Filter {
  tenants: readonly string[];
  resource?: string | undefined;
  type?: string | undefined;
}

export const eventService = service(events, (context) => {
  const known = (field: 'resource' | 'type', kind: string): void => {
    if (context.resources.includes(kind)) return;
    const near = nearest(kind, context.resources);
    const message = `there is no resource ${JSON.stringify(kind)}; ${near === undefined ? `use ${context.resources.join(', ')}` : `did you mean ${near}?`}`;
    throw new Fault('invalid_input', `${field}: ${message}`, { details: [{ path: field, message }] });
  };
  /** A misspelt filter would look like a cloud in which nothing happens. */
  const check = ({ resource, type }: Omit<Filter, 'tenants'>): void => {
    if (resource !== undefined) known('resource', resource.split('/', 1)[0] as string);
    if (type?.replace(/\*$/, '').includes('*')) {
      throw new Fault('invalid_input', 'type: * may stand only at the end', { details: [{ path: 'type', message: 'use for example instance.*' }] });
    }
    if (type?.includes('.')) known('type', type.split('.', 1)[0] as string);
  };
  const page = async (filter: Filter, options: { after?: number | undefined; newest?: number; limit?: number }): Promise<EventView[]> => {
    let query = context.db.selectFrom('event').selectAll().where('tenant', 'in', filter.tenants);
    if (filter.resource !== undefined) {
      // The names of images have slashes of their own.
      const slash = filter.resource.indexOf('/');
      const kind = slash < 0 ? filter.resource : filter.resource.slice(0, slash);
      const name = slash < 0 ? undefined : filter.resource.slice(slash + 1);
      query = query.where('resource', '=', kind);
      if (name !== undefined) query = query.where((where) => where.or([where('name', '=', name), where('resource_id', '=', name)]));
    }
    if (filter.type !== undefined) {
      const pattern = filter.type;
      const start = pattern.replace(/\*$/, '');
      query = start === pattern ? query.where('type', '=', pattern) : query.where('type', '>=', start).where('type', '<', `${start}\u{10ffff}`);
    }
    if (options.after !== undefined) query = query.where('id', '>', options.after as never);
    const rows =
      options.newest !== undefined
        ? (await query.orderBy('id', 'desc').limit(options.newest).execute()).reverse()
        : await query
            .orderBy('id')
            .limit(options.limit ?? 500)
            .execute();
    return rows.map((row) => ({
      id: row.id,
      time: new Date(row.time).toISOString(),
      type: row.type,
      resource: row.resource,
      resourceId: row.resource_id,
      name: row.name,
      message: row.message,
      principal: row.principal,
      ...(row.request_id === null ? {} : { requestId: row.request_id }),
    }));
  };
  const newestId = async (): Promise<number> => {
    const row = await context.db
      .selectFrom('event')
      .select((of) => of.fn.max('id').as('id'))
      .executeTakeFirst();
    return Number(row?.id ?? 0);
  };

  return {
    handlers: {
      async list(call) {
        const { since, limit, ...filter } = call.input;
        check(filter);
        // With `since` it goes on from there, so that a caller can read page by page and miss nothing.
        return { items: await page({ tenants: scopesOf(call), ...filter }, since === undefined ? { newest: limit } : { after: since, limit }) };
      },
      async *watch(call) {
        const { since, ...filter } = call.input;
        check(filter);
        let changed = true;
        let wake: (() => void) | undefined;
        const stop = context.onCommit((committed) => {
          if (!committed.events) return;
          changed = true;
          wake?.();
        });
        const onAbort = () => wake?.();
        call.signal.addEventListener('abort', onAbort, { once: true });
        try {
          let after = since ?? (await newestId());
          while (!call.signal.aborted) {
            if (!changed) {
              await new Promise<void>((resolve) => {
                wake = resolve;
              });
              wake = undefined;
              continue;
            }
            changed = false;
            for (;;) {
              const items = await page({ tenants: scopesOf(call), ...filter }, { after, limit: 500 });
              for (const item of items) {
                after = item.id;
                yield item;
              }
              if (items.length < 500 || call.signal.aborted) break;
            }
          }
        } finally {
          stop();
          call.signal.removeEventListener('abort', onAbort);
        }
      },
    },
  };
});
