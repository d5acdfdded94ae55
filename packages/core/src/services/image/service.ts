// Images: the backend's store as it is, and rows only for what was asked to be fetched, so that a pull survives a restart.
import { PassThrough, Writable } from 'node:stream';
import type { Channel } from '../../kernel/channel.ts';
import { DriverError, Fault } from '../../kernel/errors.ts';
import { pageOf } from '../../kernel/page.ts';
import { type Preparation, type RowOf, service } from '../../kernel/service.ts';
import { notFound } from '../../kernel/table.ts';
import { instances } from '../instance/contract.ts';
import { images } from './contract.ts';
import { fetchImage, type ImageObserved, imagePort, isReference, namesOf, normaliseReference } from './driver.ts';

type ImageRow = RowOf<typeof images>;

/** `alpine` → `alpine:latest`, as every engine reads it. */
export const withTag = (reference: string): string => (/[:@]/.test(reference.slice(reference.lastIndexOf('/') + 1)) ? reference : `${reference}:latest`);

const idOf = (digest: string): string => `img-${digest.replace('sha256:', '').slice(0, 16)}`;

/** What `prepare` has removed from the backend, for the handler. */
interface Removed {
  removed?: { id: string; name: string };
}

export const imageService = service(images, (context) => {
  const driver = context.driver(imagePort);

  /** The content as the backend has it; how far a pull or a deletion of it is, from the row. */
  const view = (image: ImageObserved, row?: ImageRow) => ({
    id: row?.id ?? idOf(image.digest),
    name: row?.name ?? image.reference,
    labels: row?.labels ?? {},
    createdAt: new Date(image.createdAt).toISOString(),
    updatedAt: new Date(row?.updatedAt ?? image.createdAt).toISOString(),
    generation: row?.generation ?? 1,
    ...(row?.operation === undefined ? {} : { operation: row.operation }),
    state: (row?.state ?? 'available') as 'available',
    ...(row?.reason === undefined ? {} : { reason: row.reason }),
    references: image.references,
    digest: image.digest,
    sizeBytes: image.sizeBytes,
    architecture: image.architecture,
  });

  const find = async (target: string): Promise<ImageObserved | undefined> => {
    if (target.startsWith('img-')) {
      const found = (await driver.list()).filter((image) => idOf(image.digest).startsWith(target));
      if (found.length > 1) throw new Fault('conflict', `More than one image id begins with ${target}`, { hint: 'write more of the id' });
      if (found[0] !== undefined) return found[0];
    }
    return isReference(target) ? driver.inspect(target) : undefined;
  };
  const missing = async (target: string): Promise<Fault> => notFound('image', target, namesOf(await driver.list()));

  return {
    needs: [imagePort],
    prepare: {
      async delete(call) {
        const target = call.target as string;
        const present = await find(target);
        if (present !== undefined) {
          const reference = isReference(target) && present.references.includes(withTag(target)) ? target : present.reference;
          await driver.remove(reference).catch(async (error: unknown) => {
            throw error instanceof DriverError && error.code === 'busy' ? await inUse(error, present, call) : error;
          });
          Object.assign(call.input, { removed: { id: idOf(present.digest), name: withTag(reference) } } satisfies Removed);
        } else if ((await call.client({ image: images }).image.get(target)).state === 'available') throw await missing(target);
      },
    },
    handlers: {
      async list(call) {
        const present = await driver.list();
        const rows: ImageRow[] = [];
        for (let cursor: string | undefined; ; ) {
          const page = await call.rows.list({ cursor });
          rows.push(...page.rows);
          cursor = page.cursor;
          if (cursor === undefined) break;
        }
        const byName = new Map(rows.map((row) => [normaliseReference(row.name), row]));
        const shown = new Set<string>();
        // Each name by itself, as it is asked for and deleted; what content they share stands in `references`.
        const items = present.flatMap((image) =>
          image.references.map((reference): ReturnType<typeof view> | ReturnType<typeof asView> => {
            const row = byName.get(reference);
            if (row !== undefined) shown.add(row.id);
            return view({ ...image, reference }, row);
          }),
        );
        for (const row of rows) if (!shown.has(row.id) && row.state !== 'available') items.push(asView(row));
        return pageOf(items, ({ name, id }) => `${name} ${id}`, call.input) as never;
      },
      async get(call) {
        const target = call.targetName;
        const row = call.found ?? (await call.rows.find(withTag(target)));
        const present = await find(row?.name ?? target);
        if (present !== undefined) return view(present, row) as never;
        if (row !== undefined && row.state !== 'available') return row;
        throw await missing(target);
      },
      async pull(call) {
        const name = withTag(call.input.reference);
        const spec = { always: call.input.always };
        const row = await call.rows.find(name);
        if (row === undefined) return call.rows.insert({ name, spec });
        return call.rows.report(await call.rows.update(row, { spec, always: true, message: `Image ${name} is asked for again` }), {
          state: 'pending',
          reason: null,
        });
      },
      async delete(call) {
        const row = call.found ?? (await call.rows.find(withTag(call.targetName)));
        if (row !== undefined) return call.rows.delete(row);
        const { removed } = call.input as Removed;
        if (removed === undefined) throw await missing(call.targetName);
        await call.event(removed, 'deleted', `Image ${removed.name} was deleted`);
        const now = new Date(context.clock.now()).toISOString();
        return { ...removed, labels: {}, createdAt: now, updatedAt: now, generation: 1, state: 'deleting' } as never;
      },
      async import(call): Promise<Channel<never>> {
        const archive = new PassThrough();
        const stop = new AbortController();
        const { reference, command } = call.input;
        const result = driver
          .import(reference, archive, { signal: AbortSignal.any([stop.signal, call.signal]), ...(command === undefined ? {} : { command }) })
          .then((image) => view(image) as never)
          .catch((error: unknown) => {
            throw error instanceof DriverError && error.code === 'bad_spec' ? unfit(error) : error;
          });
        const output = new PassThrough();
        const error = new PassThrough();
        const end = () => {
          output.end();
          error.end();
        };
        result.then(end, end);
        const input = new Writable({
          write: (chunk, _, done) => {
            if (archive.write(chunk)) done();
            else archive.once('drain', () => done());
          },
          final: (done) => {
            archive.end();
            done();
          },
        });
        archive.on('error', (cause) => input.destroy(cause));
        return {
          input,
          output,
          error,
          control: () => undefined,
          result,
          close: () => {
            stop.abort(new Fault('timeout', 'The import was given up'));
            archive.destroy();
            input.destroy();
          },
        };
      },
    },
    controller: {
      async reconcile(row, { signal, progress, report }) {
        // One that failed is over: a registry is asked again only when somebody asks.
        if (row.observed >= row.generation) return;
        const always = (row.spec as { always?: boolean }).always === true;
        await fetchImage(driver, row.name, { signal, always, onProgress: ({ message, percent }) => progress(message, percent) });
        await report({ state: 'available', reason: null });
      },
      async remove(row) {
        await driver.remove(row.name);
      },
      differing: async () => [],
      concurrency: 3,
    },
  };
});

/** The refusal by the names of the tenant's instances, where they are what uses it; a backend knows them by other names. */
async function inUse(error: DriverError, image: ImageObserved, call: Pick<Preparation<typeof images, object>, 'client'>): Promise<Error> {
  const { instance } = call.client({ instance: instances });
  const users: string[] = [];
  for (let cursor: string | undefined; ; ) {
    const page = await instance.list({ cursor, limit: 1000 });
    users.push(...page.items.filter((one) => image.references.includes(normaliseReference(one.image))).map(({ name }) => name));
    cursor = page.cursor;
    if (cursor === undefined) break;
  }
  const [first] = users;
  if (first === undefined) return error;
  const more = users.length > 5 ? ` and ${users.length - 5} others` : '';
  return new Fault('conflict', `The image ${image.reference} is in use by instance ${users.slice(0, 5).join(', ')}${more}`, {
    cause: error,
    details: { usedBy: users.slice(0, 20).map((name) => ({ resource: 'instance', name })) },
    hint: `cloud instance delete ${first}`,
  });
}

/** What was sent is no image: the sender's mistake, and no state of ours. */
const unfit = (error: DriverError): Fault =>
  new Fault('invalid_input', error.message, {
    cause: error,
    hint: error.hint ?? 'docker save busybox | cloud image import acme/busybox:1 --file -  # shows what fits',
  });

const asView = (row: ImageRow) => ({
  id: row.id,
  name: row.name,
  labels: row.labels,
  createdAt: new Date(row.createdAt).toISOString(),
  updatedAt: new Date(row.updatedAt).toISOString(),
  generation: row.generation,
  state: row.state,
  ...(row.reason === undefined ? {} : { reason: row.reason }),
});
