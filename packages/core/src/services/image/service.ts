// Images: what a tenant has pulled or imported is a row of its own, with content that nobody else can change;
// the host's images have no row, are seen by all, and are the installation's.
import { PassThrough, Writable } from 'node:stream';
import { administersInstallation } from '../../kernel/authorize.ts';
import type { Channel } from '../../kernel/channel.ts';
import { DriverError, Fault } from '../../kernel/errors.ts';
import { newId } from '../../kernel/ids.ts';
import { pageOf } from '../../kernel/page.ts';
import { type Call, service } from '../../kernel/service.ts';
import { notFound } from '../../kernel/table.ts';
import { askAgain, findRow, hold, type ImageRow, imageController, inUse, ownNames, promising, statusOf, Turns, usersOf } from './claims.ts';
import { images } from './contract.ts';
import { type ImageObserved, imagePort, isReference, namesOf, normaliseReference } from './driver.ts';
import { migrations, uses } from './tables.ts';

/** Begins the owner of what is being imported and has no name yet. */
const IMPORT = 'import';

const hostId = (digest: string): string => `img-${digest.replace('sha256:', '').slice(0, 16)}`;

/** An id, whole or the beginning of one. */
const ID = /^img-[0-9a-z]*$/;

/** What `prepare` has seen of the host, for the handler. */
interface Prepared {
  hostImage?: { id: string; name: string; content: string };
}

function named(reference: string): string {
  if (isReference(reference)) return normaliseReference(reference);
  const message = 'use an image reference such as debian:trixie or ghcr.io/acme/app:1';
  throw new Fault('invalid_input', `reference: ${message}`, { details: [{ path: 'reference', message }] });
}

export const imageService = service(images, (context) => {
  const driver = context.driver(imagePort);
  const turns = new Turns();
  const saying = new Map<string, string>();

  const view = (image: ImageObserved) => ({
    id: hostId(image.digest),
    name: image.reference,
    labels: {},
    createdAt: new Date(image.createdAt).toISOString(),
    updatedAt: new Date(image.createdAt).toISOString(),
    generation: 1,
    state: 'available' as const,
    source: 'host' as const,
    references: image.references,
    digest: image.digest,
    sizeBytes: image.sizeBytes,
    architecture: image.architecture,
  });

  /** One of the host's, by any spelling of its name, id or the beginning of its id. */
  const onHost = async (target: string): Promise<ImageObserved | undefined> => {
    if (target.startsWith('img-')) {
      const found = (await driver.list()).filter((image) => hostId(image.digest).startsWith(target));
      if (found.length > 1) throw new Fault('conflict', `More than one image id begins with ${target}`, { hint: 'write more of the id' });
      if (found[0] !== undefined) return found[0];
    }
    return isReference(target) ? driver.inspect(target) : undefined;
  };
  const own = (rows: Call<typeof images, unknown>['rows'] | { find(target: string): Promise<ImageRow | undefined> }, target: string) =>
    isReference(target) ? findRow(rows, target) : rows.find(target);
  const missing = async (target: string, tenantId: string): Promise<Fault> =>
    notFound(
      'image',
      target.replace(/:latest$/, ''),
      namesOf([...(await ownNames(context.db, tenantId)), ...(await driver.list()).flatMap(({ references }) => references)]),
    );

  return {
    migrations,
    needs: [imagePort],
    spelling: (target) => (ID.test(target) || !isReference(target) ? target : normaliseReference(target)),
    prepare: {
      async delete(call) {
        const target = call.target as string;
        if ((await own(call.rows, target)) !== undefined) return;
        const present = await onHost(target);
        if (present === undefined) throw await missing(target, call.tenantId);
        const name = isReference(target) && present.references.includes(normaliseReference(target)) ? normaliseReference(target) : present.reference;
        if (!administersInstallation(call.principal)) {
          throw new Fault('forbidden', `${name} is an image of the host's, which only administrators of the installation delete`, {
            details: { permission: 'image:delete' },
          });
        }
        Object.assign(call.input, { hostImage: { id: hostId(present.digest), name, content: present.content } } satisfies Prepared);
      },
    },
    handlers: {
      async list(call) {
        const rows: ImageRow[] = [];
        for (let cursor: string | undefined; ; ) {
          const page = await call.rows.list({ cursor });
          rows.push(...page.rows);
          cursor = page.cursor;
          if (cursor === undefined) break;
        }
        const taken = new Set(rows.map(({ name }) => name));
        // Each name by itself, as it is asked for and deleted; what content they share stands in `references`.
        const host = (await driver.list()).flatMap((image) =>
          image.references.filter((reference) => !taken.has(reference)).map((reference) => view({ ...image, reference })),
        );
        return pageOf([...rows.map(asView), ...host], ({ name, id }) => `${name} ${id}`, call.input) as never;
      },
      async get(call) {
        const row = call.found ?? (await own(call.rows, call.targetName));
        if (row !== undefined) return row;
        const present = await onHost(call.targetName);
        if (present === undefined) throw await missing(call.targetName, call.tenantId);
        return view(present) as never;
      },
      async pull(call) {
        const name = named(call.input.reference);
        const row = await call.rows.find(name);
        if (row === undefined) return call.rows.insert({ name, spec: { always: call.input.always }, status: { source: 'pulled' } });
        return askAgain(call, row, call.input.always);
      },
      async delete(call) {
        const row = call.found ?? (await own(call.rows, call.targetName));
        if (row !== undefined) {
          const users = await usersOf(call.sql, call.tenantId, { imageId: row.id });
          if (users.own.length > 0 && row.deletedAt === undefined) throw inUse(row.name, users);
          return call.rows.delete(row);
        }
        const { hostImage } = call.input as Prepared;
        if (hostImage === undefined) throw new Fault('not_found', `There is no image ${JSON.stringify(call.targetName)}`, { hint: 'cloud image list' });
        const users = await usersOf(call.sql, call.tenantId, { content: hostImage.content });
        if (users.own.length + users.others > 0) throw inUse(hostImage.name, users);
        // A row for as long as it takes, so that a process that dies in the middle goes on with it.
        return call.rows.delete(await call.rows.insert({ name: hostImage.name, spec: { host: true }, status: { source: 'host' }, state: 'deleting' }));
      },
      async import(call): Promise<Channel<never>> {
        const archive = new PassThrough();
        const stop = new AbortController();
        const { command } = call.input;
        const name = named(call.input.reference);
        if (name.includes('@')) {
          const message = 'use a name and a tag; a digest is what the content has';
          throw new Fault('invalid_input', `reference: ${message}`, { details: [{ path: 'reference', message }] });
        }
        const { image } = call.client({ image: images });
        const bring = async () => {
          // Kept under an owner of its own until it is all there: a broken upload touches nothing that has a name.
          const owner = newId(IMPORT);
          try {
            const signal = AbortSignal.any([stop.signal, call.signal]);
            const come = await driver.import(owner, archive, { signal, ...(command === undefined ? {} : { command }) });
            signal.throwIfAborted();
            const id = (await call.rows.find(name))?.id ?? newId('img');
            return await turns.run(id, async () => {
              await driver.keep(id, come.content);
              const { content, digest, sizeBytes, architecture } = come;
              return image.adopt({ id, reference: name, content, digest, sizeBytes, architecture });
            });
          } finally {
            await driver.release(owner, []).catch((error: unknown) => context.log.warn({ owner, error: String(error) }, 'could not release an import'));
          }
        };
        const result = bring().catch((error: unknown) => {
          throw error instanceof DriverError && error.code === 'bad_spec' ? unfit(error) : error;
        }) as Promise<never>;
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

      async locate(call) {
        const name = named(call.input.reference);
        if (promising(await call.rows.find(name))) return {};
        const present = await driver.inspect(name);
        if (present !== undefined) return { hostContent: present.content };
        // It would be fetched, which is no lesser thing for being done on the way.
        const { ruling } = await context.access.rule(call.principal, call.tenantId, { permission: 'image:pull', source: call.source });
        if (ruling.allowed) return {};
        throw new Fault('forbidden', `${name} is not here, and ${call.principal.name ?? call.principal.id} may not image:pull`, {
          details: { permission: 'image:pull' },
          hint: 'cloud image list',
        });
      },
      hold: (call) => hold(call as never),
      async coming(call) {
        const use = await uses(call.sql).selectFrom('image_use').selectAll().where('instance_id', '=', call.input.instanceId).executeTakeFirst();
        if (use === undefined || use.tenant !== call.tenantId) return {};
        if (use.content !== null) return { content: use.content };
        const row = use.image_id === null ? undefined : await call.rows.byId(use.image_id);
        const imageId = row?.id;
        if (row === undefined || row.state === 'error') {
          return { imageId, asked: Number(use.asked), failure: row?.reason ?? 'The image was deleted' };
        }
        const said = saying.get(row.id);
        return { imageId, progress: `waiting for the image ${row.name}${said === undefined ? '' : `: ${said}`}` };
      },
      async release(call) {
        const { instanceId } = call.input;
        const use = await uses(call.sql).selectFrom('image_use').select(['image_id', 'tenant']).where('instance_id', '=', instanceId).executeTakeFirst();
        if (use === undefined || use.tenant !== call.tenantId) return {};
        await uses(call.sql).deleteFrom('image_use').where('instance_id', '=', instanceId).execute();
        if (use.image_id !== null) call.changed(use.image_id);
        return {};
      },
      async adopt(call) {
        const { id, reference, ...come } = call.input;
        const row = await call.rows.find(reference);
        const status = statusOf(reference, come, 'imported');
        await uses(call.sql).updateTable('image_use').set({ content: come.content }).where('image_id', '=', id).where('content', 'is', null).execute();
        if (row === undefined) return call.rows.insert({ id, name: reference, spec: { always: false }, status, state: 'available' });
        if (row.id !== id) throw new Fault('stale', `The image ${reference} changed at the same moment`, { hint: 'try again' });
        const updated = await call.rows.update(row, { spec: { always: false }, always: true, message: `Image ${reference} was imported again` });
        return call.rows.report(updated, { state: 'available', reason: null, status: status as object });
      },
    },
    controller: imageController(context, driver, turns, saying),
  };
});

/** What was sent is no image: the sender's mistake, and no state of ours. */
const unfit = (error: DriverError): Fault =>
  new Fault('invalid_input', error.message, {
    cause: error,
    hint: error.hint ?? 'docker save busybox | cloud image import acme/busybox:1 --file -  # shows what fits',
  });

const asView = (row: ImageRow) => {
  const { source, references, digest, sizeBytes, architecture } = row.status;
  return {
    id: row.id,
    name: row.name,
    labels: row.labels,
    createdAt: new Date(row.createdAt).toISOString(),
    updatedAt: new Date(row.updatedAt).toISOString(),
    generation: row.generation,
    ...(row.operation === undefined ? {} : { operation: row.operation }),
    state: row.state,
    ...(row.reason === undefined ? {} : { reason: row.reason }),
    ...Object.fromEntries(Object.entries({ source, references, digest, sizeBytes, architecture }).filter(([, value]) => value !== undefined)),
  };
};
