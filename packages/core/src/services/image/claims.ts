// What instances hold of images, and what is therefore kept: the current content of each row, and every content that an instance was made from.
import { DriverError, Fault } from '../../kernel/errors.ts';
import type { Call, Controller, RowOf, ServiceContext } from '../../kernel/service.ts';
import type { images } from './contract.ts';
import { fetchImage, type ImageContent, type ImageDriver, namesOf, normaliseReference } from './driver.ts';
import { uses } from './tables.ts';

export type ImageRow = RowOf<typeof images>;
type ImageCall<Input> = Call<typeof images, Input>;

/** In rows beside what the contract shows. */
interface Hidden {
  /** Of the spec: ask the registry even when the content is there. */
  always?: boolean;
  /** Of the spec: a row only for as long as an image of the host's is being removed. */
  host?: boolean;
  /** Of the status: what the backend knows it by. */
  content?: string;
}
const hidden = (row: ImageRow): Hidden => ({ ...(row.spec as Hidden), ...(row.status as Hidden) });

/** One after the other for each key: what is kept and what is released must not overtake each other. */
export class Turns {
  readonly #tails = new Map<string, Promise<unknown>>();

  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key);
    const turn = (async () => {
      // Whoever was before has told its own failure.
      await before?.catch(() => undefined);
      return work();
    })();
    this.#tails.set(key, turn);
    try {
      return await turn;
    } finally {
      if (this.#tails.get(key) === turn) this.#tails.delete(key);
    }
  }
}

export const statusOf = (name: string, { digest, sizeBytes, architecture, content }: ImageContent, source: 'pulled' | 'imported') => ({
  source,
  references: [name],
  digest,
  sizeBytes,
  architecture,
  content,
});

/** By any spelling of its name, or id. */
export const findRow = async (rows: Pick<ImageCall<unknown>['rows'], 'find'>, target: string): Promise<ImageRow | undefined> => {
  const row = await rows.find(target);
  return row ?? (await rows.find(normaliseReference(target)));
};

/** The names of every image of the tenant's. */
export async function ownNames(sql: ServiceContext['db'], tenantId: string): Promise<string[]> {
  return (await sql.selectFrom('r_image').select('name').where('tenant', '=', tenantId).limit(1000).execute()).map(({ name }) => name);
}

/** Whether an instance can be made from the row, now or when its pull is over. */
export const promising = (row: ImageRow | undefined): row is ImageRow =>
  row !== undefined && row.deletedAt === undefined && hidden(row).host !== true && (row.state !== 'error' || hidden(row).content !== undefined);

export async function hold(
  call: ImageCall<{ reference: string; instance: string; instanceId: string; generation: number; hostContent?: string; gone?: string }>,
): Promise<Record<string, never>> {
  const { reference, instance, instanceId, generation, hostContent, gone } = call.input;
  const name = normaliseReference(reference);
  let row = await call.rows.find(name);
  const use = { instance_id: instanceId, tenant: call.tenantId, instance_name: instance, asked: generation };
  let held: { image_id: string | null; content: string | null };
  if (hostContent !== undefined && !promising(row)) held = { image_id: null, content: hostContent };
  else {
    if (row?.deletedAt !== undefined) {
      throw new Fault('conflict', `The image ${name} is still being deleted`, { hint: 'wait a moment, then try again' });
    }
    if (row === undefined) row = await call.rows.insert({ name, spec: { always: false }, status: { source: 'pulled' } });
    else if (!promising(row) || (gone !== undefined && hidden(row).content === gone)) row = await askAgain(call, row, false);
    held = { image_id: row.id, content: row.state === 'pending' ? null : (hidden(row).content ?? null) };
  }
  await uses(call.sql).deleteFrom('image_use').where('instance_id', '=', instanceId).execute();
  await uses(call.sql)
    .insertInto('image_use')
    .values({ ...use, ...held })
    .execute();
  return {};
}

export async function askAgain(call: Pick<ImageCall<unknown>, 'rows'>, row: ImageRow, always: boolean): Promise<ImageRow> {
  const asked = await call.rows.update(row, { spec: { always }, always: true, message: `Image ${row.name} is asked for again` });
  return call.rows.report(asked, { state: 'pending', reason: null });
}

/** Names of the tenant's instances that use it, and how many of other tenants do. */
export async function usersOf(
  sql: unknown,
  tenantId: string,
  what: { imageId: string } | { content: string },
): Promise<{ own: { id: string; name: string }[]; others: number }> {
  const rows = await uses(sql)
    .selectFrom('image_use')
    .select(['instance_id', 'instance_name', 'tenant'])
    .where('imageId' in what ? 'image_id' : 'content', '=', 'imageId' in what ? what.imageId : what.content)
    .orderBy('instance_name')
    .execute();
  const own = rows.filter(({ tenant }) => tenant === tenantId).map(({ instance_id, instance_name }) => ({ id: instance_id, name: instance_name }));
  return { own, others: rows.length - own.length };
}

export function inUse(name: string, { own, others }: { own: readonly { id: string; name: string }[]; others: number }, cause?: unknown): Fault {
  const [first] = own;
  const named = own.slice(0, 5).map((user) => user.name);
  const more = own.length > 5 ? ` and ${own.length - 5} others` : '';
  const by = [
    ...(first === undefined ? [] : [`instance ${named.join(', ')}${more}`]),
    ...(others > 0 ? ['instances of other tenants'] : []),
    ...(first === undefined && others === 0 ? ['containers of the host'] : []),
  ];
  return new Fault('conflict', `The image ${name} is in use by ${by.join(' and ')}`, {
    cause,
    ...(first === undefined
      ? {}
      : { details: { usedBy: own.slice(0, 20).map((user) => ({ resource: 'instance', ...user })) }, hint: `cloud instance delete ${first.name}` }),
  });
}

/** What a pull under way has said last, by row. */
type Progress = Map<string, string>;

export function imageController(context: ServiceContext, driver: ImageDriver, turns: Turns, saying: Progress): Controller<typeof images> {
  const db = () => uses(context.db);

  /** Instances that waited get what has come; what nobody needs any more is released. */
  const settle = (id: string): Promise<void> =>
    turns.run(id, async () => {
      const record = await context.db.selectFrom('r_image').select(['status', 'state']).where('id', '=', id).executeTakeFirst();
      const current = record === undefined ? undefined : (JSON.parse(record.status) as Hidden).content;
      // One that asked while the pull was ending.
      if (record?.state === 'available' && current !== undefined) {
        await db().updateTable('image_use').set({ content: current }).where('image_id', '=', id).where('content', 'is', null).execute();
      }
      const held = await db().selectFrom('image_use').select('content').where('image_id', '=', id).execute();
      const needed = [current, ...held.map(({ content }) => content)].filter((content) => content !== undefined && content !== null);
      await driver.release(id, [...new Set(needed)]);
    });

  return {
    async reconcile(row, { signal, progress, report }) {
      const { always, content, host } = hidden(row);
      if (host === true) return;
      if (row.observed < row.generation && !(row.status.source === 'imported' && row.state === 'available')) {
        let come: ImageContent | undefined;
        const there = content !== undefined && (await driver.has(content));
        if (content !== undefined && !there) await report({ status: { content: null } as object });
        // What a registry has under the name of something of one's own is somebody else's.
        if (row.status.source === 'imported' && !there && always !== true) {
          throw new DriverError('bad_spec', `The content of the image ${row.name} is gone from this host, and it was imported`, {
            hint: `cloud image import ${row.name} --file <archive>`,
          });
        }
        const here = always === true || there ? undefined : await driver.inspect(row.name);
        if (always !== true && there) come = { content, ...(row.status as Omit<ImageContent, 'content'>) };
        else if (here !== undefined) {
          await driver.keep(row.id, here.content);
          come = here;
        } else {
          try {
            come = await fetchImage(driver, row.id, row.name, {
              signal,
              onProgress: ({ message, percent }) => {
                saying.set(row.id, percent === undefined ? message : `${message} ${percent} %`);
                progress(message, percent);
              },
              names: async () =>
                namesOf([
                  ...(await ownNames(context.db, row.tenantId)).filter((name) => name !== row.name),
                  ...(await driver.list()).flatMap(({ references }) => references),
                ]),
            });
          } finally {
            saying.delete(row.id);
          }
        }
        // Before the report, which wakes the instances that wait.
        await db().updateTable('image_use').set({ content: come.content }).where('image_id', '=', row.id).where('content', 'is', null).execute();
        const kept = come.content === content && row.status.source !== undefined ? row.status.source : 'pulled';
        await report({ state: 'available', reason: null, status: statusOf(row.name, come, kept as 'pulled') as object });
      }
      await settle(row.id);
    },
    async remove(row) {
      if (hidden(row).host === true) await driver.remove(row.name);
      else await turns.run(row.id, () => driver.release(row.id, []));
    },
    differing: async () => [],
    concurrency: 3,
    reap: {
      list: () => driver.kept(),
      remove: (id) => turns.run(id, () => driver.release(id, [])),
    },
  };
}
