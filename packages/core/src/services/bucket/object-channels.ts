// Bytes of objects over channels: whoever does not read stops the store, and what breaks off in the middle leaves nothing behind.
import { PassThrough, type Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Channel } from '../../kernel/channel.ts';
import { Fault } from '../../kernel/errors.ts';
import type { Handlers, ServiceContext } from '../../kernel/service.ts';
import { actorOf, type Calling, mayTag, mustAlso } from './calls.ts';
import type { ObjectEngine } from './engine/objects.ts';
import type { Bucket, Conditions } from './engine/types.ts';
import { toFault, withFaults } from './faults.ts';
import type { objects } from './object-contract.ts';
import { attributesOf, viewOf } from './object-view.ts';

type ChannelHandlers = Required<Pick<Handlers<typeof objects>, 'get' | 'put' | 'uploadPart'>>;
type Find = (calling: Calling, name: string, action: string, version?: string) => Promise<{ bucket: Bucket; key: string; name: string }>;

/** Taken ahead of whoever reads or writes. */
const AHEAD_BYTES = 256 * 1024;

const ended = (): Readable => new PassThrough().end();
const noInput = (): Writable => new Writable({ write: (_chunk, _encoding, done) => done() });
const givenUp = (what: string): Fault => new Fault('timeout', `The ${what} was given up`);

/** The other end of one direction went away: nothing that anybody could mend. */
const inWords = (error: unknown, name: string, what: string): unknown =>
  (error as { code?: unknown }).code === 'ERR_STREAM_PREMATURE_CLOSE' || (error as { name?: unknown }).name === 'AbortError'
    ? givenUp(what)
    : toFault(error, name);

/** Bytes come; the result says what has become of them. */
function taking<R>(name: string, work: (body: AsyncIterable<Buffer>, signal: AbortSignal) => Promise<R>): Channel<R> {
  const stop = new AbortController();
  const input = new PassThrough({ highWaterMark: AHEAD_BYTES });
  const result = work(input, stop.signal).then(
    (done) => done,
    (error: unknown) => {
      const fault = inWords(error, name, 'upload');
      input.destroy(fault as Error);
      throw fault;
    },
  );
  result.catch(() => undefined); // told to whoever opened the channel
  return {
    input,
    output: ended(),
    error: ended(),
    control: () => undefined,
    result,
    close: () => {
      const fault = givenUp('upload');
      stop.abort(fault);
      input.destroy(fault);
    },
  };
}

export function objectChannels(context: ServiceContext, engine: ObjectEngine, at: Find): ChannelHandlers {
  return {
    async get(call) {
      const { version, start, end, ifMatch } = call.input;
      const name = call.targetName;
      if (start === undefined && end !== undefined) {
        throw new Fault('invalid_input', 'end: say where the range starts, too', {
          details: [{ path: 'start', message: 'give the first byte, 0 for the beginning' }],
        });
      }
      const { bucket, key } = await withFaults(name, () => at(call, name, version === undefined ? 's3:GetObject' : 's3:GetObjectVersion', version));
      const stop = new AbortController();
      const opened = await withFaults(name, () =>
        engine.get(bucket, key, {
          version,
          ...(start === undefined ? {} : { range: { start, end } }),
          ...(ifMatch === undefined ? {} : { conditions: { ifMatch: [ifMatch] } }),
          // The kernel writes a line for every channel that is opened.
          actor: actorOf(call),
          signal: stop.signal,
        }),
      );
      const output = new PassThrough({ highWaterMark: AHEAD_BYTES });
      const result = pipeline(opened.body, output).then(
        () => viewOf(bucket, opened.info),
        (error: unknown) => {
          stop.abort();
          throw inWords(error, name, 'download');
        },
      );
      result.catch(() => undefined); // told to whoever opened the channel
      return {
        input: noInput(),
        output,
        error: ended(),
        control: () => undefined,
        result,
        close: () => {
          const fault = givenUp('download');
          stop.abort(fault);
          output.destroy(fault);
        },
      };
    },

    async put(call) {
      const { size, md5, ifMatch, ifNoneMatch, ...described } = call.input;
      const name = call.targetName;
      const digest = md5 === undefined ? undefined : md5Of(md5);
      const { bucket, key } = await withFaults(name, () => at(call, name, 's3:PutObject'));
      await mayTag(context, engine, call, { bucket, key }, described.tags);
      const attributes = attributesOf(bucket, call, described);
      const conditions: Conditions | undefined =
        ifMatch !== undefined || ifNoneMatch
          ? { ...(ifMatch === undefined ? {} : { ifMatch: [ifMatch] }), ...(ifNoneMatch ? { ifNoneMatch: ['*'] } : {}) }
          : undefined;
      return taking(name, async (body, signal) => {
        const { info } = await engine.put(bucket, key, body, { attributes, expected: { size, md5: digest }, conditions, actor: actorOf(call), signal });
        return viewOf(bucket, info);
      });
    },

    async uploadPart(call) {
      const { upload, number, size } = call.input;
      const name = call.targetName;
      const { bucket, key } = await withFaults(name, async () => {
        await mustAlso(context, call, 'object:put', name);
        const found = await at(call, name, 's3:PutObject');
        await engine.upload(found.bucket, found.key, upload);
        return found;
      });
      return taking(name, async (body, signal) => {
        const part = await engine.putPart(bucket, key, upload, number, body, { expected: { size }, actor: actorOf(call), signal });
        return { number: part.number, size: part.size, etag: part.etag };
      });
    },
  };
}

function md5Of(hex: string): string {
  if (/^[0-9a-f]{32}$/i.test(hex)) return Buffer.from(hex, 'hex').toString('base64');
  const message = 'use 32 hexadecimal digits';
  throw new Fault('invalid_input', `md5: ${message}`, { details: [{ path: 'md5', message }] });
}
