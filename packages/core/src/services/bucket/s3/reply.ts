// Answers on their way out. A body is sent no faster than the client reads, and one that fails in the middle is cut off: never ended as if it were whole.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Whole } from '../driver.ts';
import { release } from '../engine/memory.ts';
import { s3Error } from './errors.ts';
import type { Inflow } from './inflow.ts';
import { wireText } from './request.ts';
import type { S3Reply } from './types.ts';
import { declaration } from './xml.ts';

export interface ReplyLimits {
  /** A client that reads nothing for so long is cut off, milliseconds. */
  readonly stall: number;
  /** What is read and thrown away of a body that nobody wanted. */
  readonly drain: { readonly bytes: number; readonly milliseconds: number };
}
export const REPLY_LIMITS: ReplyLimits = { stall: 300_000, drain: { bytes: 64 * 1024 * 1024, milliseconds: 5000 } };

/** So much of an unwanted body is read for the sake of the connection. */
const WORTH_READING = 256 * 1024;

export interface Exchange {
  readonly message: IncomingMessage;
  readonly response: ServerResponse;
  readonly inflow: Inflow;
  readonly limits: ReplyLimits;
  /** Of every answer. */
  readonly headers: Readonly<Record<string, string>>;
  /** Length of the body of the answer; 0 before there is one. */
  sent: number;
}

/** The answer broke off after its head was sent. */
export class Truncated extends Error {
  constructor(cause: unknown) {
    super('the answer broke off', { cause });
    this.name = 'Truncated';
  }
}

/** Sends it all, or rejects: with Truncated when a part of it is gone already, with anything else when nothing is. */
export async function send(exchange: Exchange, reply: S3Reply): Promise<void> {
  const { response, message } = exchange;
  if (reply.body !== undefined && message.method !== 'HEAD') {
    return reply.body instanceof Whole ? sendWhole(exchange, reply, reply.body.bytes) : sendStream(exchange, reply, reply.body);
  }
  if (reply.body !== undefined) await letGo(reply.body[Symbol.asyncIterator]());
  const headers = headersOf(exchange, reply);
  let bytes: Buffer | undefined;
  if (reply.xml !== undefined) bytes = Buffer.from(reply.xml.startsWith('<?xml') ? reply.xml : declaration + reply.xml, 'utf8');
  else if (reply.text !== undefined) bytes = Buffer.from(reply.text, 'utf8');
  if (reply.xml !== undefined) headers['content-type'] ??= 'application/xml';
  if (reply.status === 304 || reply.status === 204) {
    bytes = undefined;
    delete headers['content-length'];
    delete headers['content-type'];
  } else if (message.method !== 'HEAD') headers['content-length'] = String(bytes?.length ?? 0);
  const closing = lingering(exchange, headers);
  writeHead(response, reply.status, headers);
  const whole = message.method === 'HEAD' ? undefined : bytes;
  exchange.sent = whole?.length ?? 0;
  if (closing === undefined) {
    await ended(exchange, whole);
    return;
  }
  if (whole === undefined) response.flushHeaders();
  else response.write(whole);
  // The answer is out; who is still sending gets the time to see it, because a connection that is closed with bytes unread loses what was sent on it.
  const drained = await exchange.inflow.drain(closing);
  if (drained || headers.connection === 'close') await ended(exchange, undefined);
  else response.destroy();
}

function sendWhole(exchange: Exchange, reply: S3Reply, bytes: Buffer): Promise<void> {
  const { headers = {}, status } = reply;
  if (headers['content-length'] !== String(bytes.length)) throw new Error('the body is not as long as its Content-Length');
  // Name, value, name, value: node:http takes them as they are.
  const list: string[] = [];
  for (const name in exchange.headers) list.push(name, exchange.headers[name] as string);
  for (const name in headers) {
    const value = headers[name];
    if (value !== undefined) list.push(name, wireText(value));
  }
  const more: Record<string, string> = {};
  lingering(exchange, more);
  if (more['connection'] !== undefined) list.push('connection', more['connection']);
  writeHead(exchange.response, status, list);
  exchange.sent = bytes.length;
  return ended(exchange, bytes);
}

async function sendStream(exchange: Exchange, reply: S3Reply, body: AsyncIterable<Buffer>): Promise<void> {
  const { response } = exchange;
  const iterator = body[Symbol.asyncIterator]();
  try {
    // Nothing is promised before the first bytes are there, so that what is wrong with them can still be said.
    let next = await iterator.next();
    const headers = headersOf(exchange, reply);
    const length = Number(headers['content-length']);
    if (!Number.isSafeInteger(length)) throw new Error('a body needs a Content-Length');
    exchange.sent = length;
    if (next.done !== true && next.value.length === length) {
      const only = next.value;
      next = await iterator.next();
      if (next.done !== true) throw new Error('the body is longer than its Content-Length');
      lingering(exchange, headers);
      writeHead(response, reply.status, headers);
      await ended(exchange, only);
      if (response.writableFinished) release(only);
      return;
    }
    if (next.done === true && length > 0) throw new Error('the body is shorter than its Content-Length');
    lingering(exchange, headers);
    writeHead(response, reply.status, headers);
    try {
      let sent = 0;
      while (next.done !== true) {
        sent += next.value.length;
        if (sent > length) throw new Error('the body is longer than its Content-Length');
        if (!response.write(next.value)) await drained(exchange);
        if (response.destroyed) throw new Error('the client went away');
        if (response.writableLength === 0) release(next.value);
        next = await iterator.next();
      }
      if (sent !== length) throw new Error('the body is shorter than its Content-Length');
      await ended(exchange, undefined);
    } catch (error) {
      response.destroy();
      throw new Truncated(error);
    }
  } finally {
    await letGo(iterator);
  }
}

async function letGo(iterator: AsyncIterator<Buffer>): Promise<void> {
  await iterator.return?.();
}

function headersOf(exchange: Exchange, reply: S3Reply): Record<string, string> {
  const headers: Record<string, string> = { ...exchange.headers };
  for (const name in reply.headers) {
    const value = reply.headers[name];
    if (value !== undefined) headers[name.toLowerCase()] = wireText(value);
  }
  return headers;
}

function writeHead(response: ServerResponse, status: number, headers: Record<string, string> | string[]): void {
  try {
    response.writeHead(status, headers);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_INVALID_CHAR') {
      throw s3Error('InvalidArgument', 'A header of the answer would have characters that no header can have', undefined, { cause: error });
    }
    throw error;
  }
}

/** When the request has a body that nobody has read to its end: how much of it to read yet, and whether the connection lives on. */
function lingering({ message, inflow, limits }: Exchange, headers: Record<string, string>): ReplyLimits['drain'] | undefined {
  const { 'content-length': length, 'transfer-encoding': encoding } = message.headers;
  if ((encoding === undefined && (length === undefined || length === '0')) || inflow.ended) return undefined;
  if (inflow.uninvited) {
    headers.connection = 'close';
    return { bytes: WORTH_READING, milliseconds: Math.min(500, limits.drain.milliseconds) };
  }
  if (encoding !== undefined || Number(length) > WORTH_READING) headers.connection = 'close';
  return limits.drain;
}

/** Resolves when everything has been handed to the system. */
function ended({ response, limits }: Exchange, last: Buffer | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (response.destroyed || response.writableEnded) return resolve();
    const timer = setTimeout(() => response.destroy(), limits.stall);
    const settle = () => {
      clearTimeout(timer);
      if (response.writableFinished) resolve();
      else reject(new Truncated(new Error('the client went away')));
    };
    response.once('close', settle);
    if (last === undefined) response.end();
    else response.end(last);
  });
}

function drained({ response, limits }: Exchange): Promise<void> {
  return new Promise((resolve, reject) => {
    if (response.destroyed) return reject(new Error('the client went away'));
    const settle = (error?: Error) => {
      clearTimeout(timer);
      response.off('drain', drain).off('close', close);
      if (error === undefined) resolve();
      else reject(error);
    };
    const drain = () => settle();
    const close = () => settle(new Error('the client went away'));
    const timer = setTimeout(() => settle(new Error('the client reads nothing')), limits.stall);
    response.on('drain', drain).on('close', close);
  });
}
