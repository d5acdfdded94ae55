// Queues, through the client. Where time matters it is moved by hand.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { ManualClock } from '../../kernel/clock.ts';
import { type Bench, type BenchOptions, bench, faultOf } from '../../testing/bench.ts';

const HOUR = 3_600_000;

interface Timed extends Bench {
  clock: ManualClock;
}
/** Not at zero, so that a time that was forgotten shows. */
const open = async (options: BenchOptions = {}): Promise<Timed> => (await bench({ clock: new ManualClock(Date.UTC(2030, 0, 1)), ...options })) as Timed;

const counts = async (b: Bench, name: string) => {
  const { depth, inFlight, delayed } = await b.cloud.queue.get(name);
  return { depth, inFlight, delayed };
};
const bodies = (answer: { items: { body: string }[] }) => answer.items.map(({ body }) => body);
const first = <T>({ items }: { items: T[] }): T => {
  expect(items).toHaveLength(1);
  return items[0] as T;
};
/** Whether a promise is still open after everything that can run has run. */
async function pending(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  const mark = () => {
    done = true;
  };
  promise.then(mark, mark);
  for (let turn = 0; turn < 50; turn++) await setImmediate();
  return !done;
}

test('a message is sent, received with what it carried, and gone once acknowledged', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  expect(await queue.create({ name: 'jobs' })).toMatchObject({ visibilityTimeout: 30, delay: 0, retention: 345_600, depth: 0, inFlight: 0, delayed: 0 });
  const sent = await queue.send('jobs', { body: 'grüße 🚀\n', attributes: { type: 'greeting' } });
  expect(await counts(b, 'jobs')).toEqual({ depth: 1, inFlight: 0, delayed: 0 });
  await b.clock.advance(5000);
  const message = first(await queue.receive('jobs'));
  expect(message).toEqual({
    id: sent.id,
    receipt: message.receipt,
    body: 'grüße 🚀\n',
    attributes: { type: 'greeting' },
    receiveCount: 1,
    sentAt: '2030-01-01T00:00:00.000Z',
    firstReceivedAt: '2030-01-01T00:00:05.000Z',
    visibleAt: '2030-01-01T00:00:35.000Z',
  });
  expect(await counts(b, 'jobs')).toEqual({ depth: 0, inFlight: 1, delayed: 0 });
  expect((await queue.receive('jobs')).items).toEqual([]);
  expect(await queue.ack('jobs', { receipt: message.receipt })).toEqual({ id: sent.id, acked: true });
  expect(await counts(b, 'jobs')).toEqual({ depth: 0, inFlight: 0, delayed: 0 });
  expect(await queue.ack('jobs', { receipt: message.receipt })).toEqual({ id: sent.id, acked: false });
});

test('messages come in the order in which they were sent, up to ten at once', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  await queue.create({ name: 'jobs' });
  for (let index = 0; index < 12; index++) await queue.send('jobs', { body: `m${index}` });
  expect(bodies(await queue.receive('jobs', { max: 10 }))).toEqual(Array.from({ length: 10 }, (_, index) => `m${index}`));
  expect(bodies(await queue.receive('jobs', { max: 10 }))).toEqual(['m10', 'm11']);
});

test('a message that is not acknowledged comes back, and only the newest receipt holds it', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  await queue.create({ name: 'jobs', visibilityTimeout: 10 });
  await queue.send('jobs', { body: 'x' });
  const one = first(await queue.receive('jobs'));
  await b.clock.advance(9_999);
  expect((await queue.receive('jobs')).items).toEqual([]);
  await b.clock.advance(1);
  expect(await counts(b, 'jobs')).toEqual({ depth: 1, inFlight: 0, delayed: 0 });
  expect((await faultOf(queue.extend('jobs', { receipt: one.receipt, seconds: 5 }))).message).toContain('has run out');
  const two = first(await queue.receive('jobs', { visibilityTimeout: 100 }));
  expect(two).toMatchObject({ id: one.id, receiveCount: 2, firstReceivedAt: one.firstReceivedAt });
  expect(await faultOf(queue.ack('jobs', { receipt: one.receipt }))).toMatchObject({
    code: 'conflict',
    message: 'The message was received again since (2 times in all); only the newest receipt holds it',
  });
  await b.clock.advance(99_999);
  expect((await queue.receive('jobs')).items).toEqual([]);
  // After the time-out, but before anybody else has it: still good.
  await b.clock.advance(1);
  expect((await queue.ack('jobs', { receipt: two.receipt })).acked).toBe(true);
});

test('a received message can be kept for longer, or given back now or later', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  await queue.create({ name: 'jobs', visibilityTimeout: 10 });
  await queue.send('jobs', { body: 'x' });
  const one = first(await queue.receive('jobs'));
  await b.clock.advance(9_000);
  expect((await queue.extend('jobs', { receipt: one.receipt, seconds: 20 })).visibleAt).toBe('2030-01-01T00:00:29.000Z');
  await b.clock.advance(19_000);
  expect(await counts(b, 'jobs')).toEqual({ depth: 0, inFlight: 1, delayed: 0 });
  await queue.release('jobs', { receipt: one.receipt });
  expect(await counts(b, 'jobs')).toEqual({ depth: 1, inFlight: 0, delayed: 0 });
  expect((await faultOf(queue.ack('jobs', { receipt: one.receipt }))).message).toContain('given back');
  const two = first(await queue.receive('jobs'));
  await queue.release('jobs', { receipt: two.receipt, delay: 60 });
  expect(await counts(b, 'jobs')).toEqual({ depth: 0, inFlight: 0, delayed: 1 });
  await b.clock.advance(60_000);
  expect(first(await queue.receive('jobs')).receiveCount).toBe(3);
});

test('a delayed message waits, by its own delay or by that of the queue', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  await queue.create({ name: 'jobs', delay: 5 });
  await queue.send('jobs', { body: 'late', delay: 900 });
  await queue.send('jobs', { body: 'soon' });
  await queue.send('jobs', { body: 'now', delay: 0 });
  expect(await counts(b, 'jobs')).toEqual({ depth: 1, inFlight: 0, delayed: 2 });
  expect(bodies(await queue.receive('jobs', { max: 10 }))).toEqual(['now']);
  await b.clock.advance(5_000);
  expect(bodies(await queue.receive('jobs', { max: 10 }))).toEqual(['soon']);
  await b.clock.advance(895_000);
  expect(bodies(await queue.receive('jobs', { max: 1 }))).toEqual(['now']); // came back at 30 s, before the late one
  expect(bodies(await queue.receive('jobs', { max: 10 }))).toEqual(['soon', 'late']);
});

test('after its last receive a message is in the dead-letter queue, with its id, body, attributes and times', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  await queue.create({ name: 'failed', retention: 60 });
  await queue.create({ name: 'jobs', visibilityTimeout: 10, maxReceives: 2, deadLetterQueue: 'failed' });
  const sent = await queue.send('jobs', { body: 'poison', attributes: { try: 'me' } });
  await queue.receive('jobs');
  await b.clock.advance(10_000);
  const last = first(await queue.receive('jobs'));
  expect(await counts(b, 'jobs')).toEqual({ depth: 0, inFlight: 1, delayed: 0 });
  expect(await counts(b, 'failed')).toEqual({ depth: 0, inFlight: 0, delayed: 0 });
  await b.clock.advance(10_000);
  // Seen at once by those who only look, though nothing was written.
  expect(await counts(b, 'jobs')).toEqual({ depth: 0, inFlight: 0, delayed: 0 });
  expect(await counts(b, 'failed')).toEqual({ depth: 1, inFlight: 0, delayed: 0 });
  expect((await queue.peek('jobs')).items).toEqual([]);
  const peeked = first(await queue.peek('failed'));
  expect(peeked).toMatchObject({ id: sent.id, state: 'visible', receiveCount: 0, deadLetterFrom: 'jobs' });
  expect(await faultOf(queue.ack('jobs', { receipt: last.receipt }))).toMatchObject({
    code: 'conflict',
    message: 'The message was received too often and is in the dead-letter queue failed now',
    hint: 'cloud queue receive failed',
  });
  expect((await queue.receive('jobs')).items).toEqual([]);
  expect((await faultOf(queue.ack('jobs', { receipt: last.receipt }))).message).toContain('queue failed now');
  await b.clock.advance(59_999); // its retention counts from its arrival
  expect(first(await queue.receive('failed'))).toMatchObject({
    id: sent.id,
    body: 'poison',
    attributes: { try: 'me' },
    sentAt: sent.sentAt,
    firstReceivedAt: sent.sentAt,
    receiveCount: 1,
    deadLetterFrom: 'jobs',
  });
});

test('a message on its last receive can still be acknowledged; one given back then is dead at once', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  await queue.create({ name: 'failed' });
  await queue.create({ name: 'jobs', maxReceives: 1, deadLetterQueue: 'failed' });
  await queue.send('jobs', { body: 'good' });
  expect((await queue.ack('jobs', { receipt: first(await queue.receive('jobs')).receipt })).acked).toBe(true);
  await queue.send('jobs', { body: 'bad' });
  const waiting = queue.receive('failed', { wait: 20 });
  expect(await pending(waiting)).toBe(true);
  await queue.release('jobs', { receipt: first(await queue.receive('jobs')).receipt });
  expect(bodies(await waiting)).toEqual(['bad']);
});

test('messages follow a change of their queue', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  await queue.create({ name: 'failed' });
  await queue.create({ name: 'jobs', visibilityTimeout: 1 });
  await queue.send('jobs', { body: 'x' });
  for (let time = 0; time < 3; time++) {
    await queue.receive('jobs');
    await b.clock.advance(1000);
  }
  await queue.update('jobs', { maxReceives: 3, deadLetterQueue: 'failed' });
  expect([await counts(b, 'jobs'), await counts(b, 'failed')]).toEqual([
    { depth: 0, inFlight: 0, delayed: 0 },
    { depth: 1, inFlight: 0, delayed: 0 },
  ]);
  // Given back before any write found it there: dead is dead.
  expect(await queue.update('jobs', { maxReceives: null, deadLetterQueue: null })).not.toHaveProperty('deadLetterQueueId');
  expect((await counts(b, 'failed')).depth).toBe(1);
  await queue.delete('failed');
  await queue.send('jobs', { body: 'y' });
  await b.clock.advance(100_000);
  await queue.update('jobs', { retention: 100 });
  expect((await counts(b, 'jobs')).depth).toBe(0);
});

test('what makes a dead-letter queue impossible is refused, and one in use stays', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  await queue.create({ name: 'failed' });
  expect(await faultOf(queue.create({ name: 'jobs', maxReceives: 3 }))).toMatchObject({ code: 'invalid_input', details: [{ path: 'deadLetterQueue' }] });
  expect(await faultOf(queue.create({ name: 'jobs', deadLetterQueue: 'failed' }))).toMatchObject({ code: 'invalid_input', details: [{ path: 'maxReceives' }] });
  expect(await faultOf(queue.create({ name: 'jobs', maxReceives: 3, deadLetterQueue: 'failled' }))).toMatchObject({
    code: 'not_found',
    message: expect.stringContaining('did you mean failed?'),
  });
  await queue.create({ name: 'jobs', maxReceives: 3, deadLetterQueue: 'failed' });
  expect((await faultOf(queue.update('jobs', { deadLetterQueue: 'jobs' }))).message).toContain('its own dead-letter queue');
  expect((await faultOf(queue.update('jobs', { maxReceives: null }))).message).toContain('maxReceives');
  expect(await queue.get('jobs')).toMatchObject({ maxReceives: 3, deadLetterQueue: 'failed' });
  expect(await faultOf(queue.delete('failed'))).toMatchObject({ code: 'conflict', message: 'The queue failed is in use by queue jobs' });
});

test('a waiting receiver gets a message as soon as it is sent, and nothing when the time is over', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  await queue.create({ name: 'jobs' });
  const waiting = queue.receive('jobs', { wait: 20, max: 10 });
  await b.clock.advance(19_000);
  expect(await pending(waiting)).toBe(true);
  await queue.send('jobs', { body: 'x' });
  expect(bodies(await waiting)).toEqual(['x']);
  const idle = queue.receive('jobs', { wait: 2 });
  expect(await pending(idle)).toBe(true);
  await b.clock.advance(1_999);
  expect(await pending(idle)).toBe(true);
  await b.clock.advance(1);
  expect((await idle).items).toEqual([]);
});

test('a waiting receiver is woken by what time brings: the end of a delay, of a visibility timeout, of a life', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  await queue.create({ name: 'failed' });
  await queue.create({ name: 'jobs', visibilityTimeout: 3, maxReceives: 2, deadLetterQueue: 'failed' });
  await queue.send('jobs', { body: 'x', delay: 2 });
  const dead = queue.receive('failed', { wait: 20 });
  const one = queue.receive('jobs', { wait: 20 });
  const two = queue.receive('jobs', { wait: 20 });
  expect(await pending(one)).toBe(true);
  await b.clock.advance(1_999);
  expect(await pending(one)).toBe(true);
  await b.clock.advance(1);
  expect(bodies(await one)).toEqual(['x']);
  await b.clock.advance(2_999);
  expect(await pending(two)).toBe(true);
  await b.clock.advance(1);
  expect(first(await two).receiveCount).toBe(2);
  await b.clock.advance(2_999);
  expect(await pending(dead)).toBe(true);
  await b.clock.advance(1);
  expect(bodies(await dead)).toEqual(['x']);
});

test('a dead letter that expired before anybody looked is not waited for over and over', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  await queue.create({ name: 'failed', retention: 60 });
  await queue.create({ name: 'jobs', visibilityTimeout: 1, maxReceives: 1, deadLetterQueue: 'failed' });
  await queue.send('jobs', { body: 'x' });
  await queue.receive('jobs');
  await b.clock.advance(1000);
  expect((await counts(b, 'failed')).depth).toBe(1);
  await b.clock.advance(60_000);
  expect((await counts(b, 'failed')).depth).toBe(0);
  const waiting = queue.receive('failed', { wait: 5 });
  expect(await pending(waiting)).toBe(true);
  await b.clock.advance(5_000);
  expect((await waiting).items).toEqual([]);
});

test('those who wait are served in the order in which they came, one message each', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  await queue.create({ name: 'jobs' });
  const served: string[] = [];
  const waiting: Promise<unknown>[] = [];
  for (const who of ['a', 'b', 'c', 'd']) {
    waiting.push(queue.receive('jobs', { wait: 20 }).then(({ items }) => served.push(`${who}:${items[0]?.body ?? ''}`)));
    await b.clock.advance(1);
  }
  for (const body of ['1', '2', '3']) {
    await queue.send('jobs', { body });
    for (let turn = 0; turn < 50; turn++) await setImmediate();
  }
  expect(served).toEqual(['a:1', 'b:2', 'c:3']);
  await b.clock.advance(20_000);
  await Promise.all(waiting);
  expect(served.at(-1)).toBe('d:');
});

test('a caller that goes away while it waits takes nothing with it', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  await queue.create({ name: 'jobs' });
  const gone = new AbortController();
  const waiting = queue.receive('jobs', { wait: 20 }, { signal: gone.signal });
  const next = queue.receive('jobs', { wait: 20 });
  expect(await pending(waiting)).toBe(true);
  gone.abort();
  expect(await faultOf(waiting)).toMatchObject({ code: 'timeout', message: 'The caller went away' });
  await queue.send('jobs', { body: 'x' });
  expect(bodies(await next)).toEqual(['x']);
  const deleted = queue.receive('jobs', { wait: 20 });
  expect(await pending(deleted)).toBe(true);
  await queue.delete('jobs');
  expect((await faultOf(deleted)).code).toBe('not_found');
});

test('a stopping core does not wait for those who wait', async () => {
  const b = await open();
  await b.cloud.queue.create({ name: 'jobs' });
  const waiting = b.cloud.queue.receive('jobs', { wait: 20 });
  expect(await pending(waiting)).toBe(true);
  const fault = faultOf(waiting);
  await b.close();
  expect(await fault).toMatchObject({ code: 'unavailable' });
});

test.each([0, 5])('200 messages and 8 receivers (wait %i s): nobody gets what another holds, and each message is done once', async (wait) => {
  await using b = await bench();
  const { queue } = b.cloud;
  await queue.create({ name: 'jobs' });
  const held = new Set<string>();
  const done: string[] = [];
  const work = async () => {
    while (done.length < 200) {
      const { items } = await queue.receive('jobs', { max: 3, wait });
      for (const { id } of items) {
        expect(held.has(id)).toBe(false);
        held.add(id);
      }
      for (const { id, body, receipt } of items) {
        await queue.ack('jobs', { receipt });
        held.delete(id);
        done.push(body);
        if (done.length === 200) for (let end = 0; end < 24; end++) await queue.send('jobs', { body: 'end' });
      }
    }
  };
  const receivers = Array.from({ length: 8 }, work);
  await Promise.all(Array.from({ length: 200 }, (_, index) => queue.send('jobs', { body: `m${index}` })));
  await Promise.all(receivers);
  const jobs = done.filter((body) => body !== 'end');
  expect(jobs).toHaveLength(200);
  expect(new Set(jobs).size).toBe(200);
});

test('peek shows all messages and changes nothing; purge removes them all', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  await queue.create({ name: 'jobs' });
  await queue.send('jobs', { body: 'held' });
  await queue.receive('jobs');
  await queue.send('jobs', { body: 'late', delay: 60 });
  await queue.send('jobs', { body: 'one' });
  await queue.send('jobs', { body: 'two' });
  const seen = (await queue.peek('jobs')).items.map(({ body, state, receiveCount }) => `${body} ${state} ${receiveCount}`);
  expect(seen).toEqual(['one visible 0', 'two visible 0', 'held in-flight 1', 'late delayed 0']);
  expect(JSON.stringify(await queue.peek('jobs'))).not.toContain('receipt');
  expect(bodies(await queue.peek('jobs', { limit: 1 }))).toEqual(['one']);
  expect(await counts(b, 'jobs')).toEqual({ depth: 2, inFlight: 1, delayed: 1 });
  expect(await queue.purge('jobs')).toEqual({ purged: 4 });
  expect(await counts(b, 'jobs')).toEqual({ depth: 0, inFlight: 0, delayed: 0 });
  expect((await b.cloud.event.list({ resource: 'queue/jobs' })).items.map(({ type, message }) => `${type}: ${message}`)).toEqual([
    'queue.created: Queue jobs was created',
    'queue.purged: Queue jobs was purged of 4 messages',
  ]);
});

test('what is too old is not received, not counted, and swept', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  await queue.create({ name: 'jobs', retention: 7200 });
  for (let index = 0; index < 25; index++) await queue.send('jobs', { body: `old ${index}` });
  const old = first(await queue.receive('jobs', { visibilityTimeout: 43_200 }));
  await b.clock.advance(2 * HOUR - 1000);
  await queue.send('jobs', { body: 'new' });
  await b.clock.advance(1000);
  expect(await counts(b, 'jobs')).toEqual({ depth: 1, inFlight: 0, delayed: 0 });
  expect(bodies(await queue.peek('jobs'))).toEqual(['new']);
  expect((await queue.ack('jobs', { receipt: old.receipt })).acked).toBe(false);
  expect(bodies(await queue.receive('jobs', { max: 10 }))).toEqual(['new']);
  const kept = () =>
    b.db
      .selectFrom('queue_message' as never)
      .selectAll()
      .execute();
  await b.clock.advance(2 * HOUR);
  await b.until(async () => (await kept()).length === 0);
});

test('bad input is told by its field', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  await queue.create({ name: 'jobs', maxMessageBytes: 1024 });
  await queue.create({ name: 'other' });
  await queue.send('other', { body: 'x' });
  const foreign = first(await queue.receive('other')).receipt;
  const paths = async (promise: Promise<unknown>) => {
    const fault = await faultOf(promise);
    expect(fault.code).toBe('invalid_input');
    return (fault.details as { path: string }[]).map(({ path }) => path);
  };
  expect(await paths(queue.create({ name: 'q', visibilityTimeout: 43_201, delay: 901, retention: 59 }))).toEqual(['visibilityTimeout', 'delay', 'retention']);
  expect(await paths(queue.send('jobs', { body: '' }))).toEqual(['body']);
  expect(await paths(queue.send('jobs', { body: 'half \ud800' }))).toEqual(['body']);
  expect(await paths(queue.send('jobs', { body: 'ü'.repeat(512), attributes: { a: 'b' } }))).toEqual(['body']);
  await queue.send('jobs', { body: 'ü'.repeat(511), attributes: { a: 'b' } });
  expect(await paths(queue.send('jobs', { body: 'x', attributes: { 'a b': 'c' } }))).toEqual(['attributes.a b']);
  expect(await paths(queue.receive('jobs', { max: 11, wait: 21 }))).toEqual(['max', 'wait']);
  expect(await paths(queue.ack('jobs', { receipt: 'nonsense' }))).toEqual(['receipt']);
  expect((await faultOf(queue.ack('jobs', { receipt: foreign }))).message).toContain('from another queue');
  expect((await faultOf(queue.send('job', { body: 'x' }))).message).toContain('did you mean jobs?');
});

test('another tenant has its own queues, and sees nothing of these', async () => {
  await using b = await open();
  await b.cloud.queue.create({ name: 'jobs' });
  await b.cloud.queue.send('jobs', { body: 'secret' });
  const { id } = await b.cloud.queue.get('jobs');
  const { receipt } = first(await b.cloud.queue.receive('jobs', { visibilityTimeout: 0 }));
  const tenantId = await b.tenant('other');
  const { queue } = b.as({ id: 'eve', kind: 'user', tenantId, roles: { [tenantId]: ['admin'] } });
  for (const name of ['jobs', id]) {
    for (const call of [
      queue.get(name),
      queue.send(name, { body: 'x' }),
      queue.receive(name),
      queue.receive(name, { wait: 20 }),
      queue.ack(name, { receipt }),
      queue.peek(name),
      queue.purge(name),
      queue.delete(name),
    ]) {
      expect((await faultOf(call)).code).toBe('not_found');
    }
  }
  expect((await faultOf(queue.create({ name: 'mine', maxReceives: 1, deadLetterQueue: id }))).code).toBe('not_found');
  await queue.create({ name: 'jobs' });
  expect((await queue.receive('jobs')).items).toEqual([]);
  expect((await faultOf(queue.ack('jobs', { receipt }))).code).toBe('invalid_input');
  expect((await counts(b, 'jobs')).depth).toBe(1);
});

test('a repeated receive answers with the same messages, for five minutes; answers do not pile up', async () => {
  await using b = await open();
  await b.cloud.queue.create({ name: 'jobs' });
  await b.cloud.queue.send('jobs', { body: 'one' });
  await b.cloud.queue.send('jobs', { body: 'two' });
  const receive = (idempotencyKey: string) => b.call({ service: 'queue', operation: 'receive', target: 'jobs', input: {}, idempotencyKey });
  const answer = await receive('k');
  expect(await receive('k')).toEqual({ ...answer, replayed: true });
  await b.clock.advance(299_999);
  expect((await receive('k')).replayed).toBe(true);
  await b.clock.advance(1);
  expect((await receive('k')).value).toMatchObject({ items: [{ body: 'two' }] });
  for (let index = 0; index < 20; index++) await receive(`a${index}`);
  await b.clock.advance(300_000);
  for (let index = 0; index < 20; index++) await receive(`b${index}`);
  expect(await b.db.selectFrom('idempotency').select('key').where('key', 'not like', 'b%').execute()).toEqual([]);
});

test('sending writes no events, and a line of audit per call', async () => {
  await using b = await open();
  await b.cloud.queue.create({ name: 'jobs' });
  for (let index = 0; index < 20; index++) await b.cloud.queue.send('jobs', { body: 'x' });
  expect((await b.cloud.event.list()).items).toHaveLength(1);
  expect(await b.db.selectFrom('audit').select('id').where('permission', '=', 'queue:send').execute()).toHaveLength(20);
});

test('messages outlive the end of the core, and go with their queue', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'cloud-queue-'));
  try {
    const before = await open({ dataDir });
    await before.cloud.queue.create({ name: 'jobs', visibilityTimeout: 30 });
    await before.cloud.queue.send('jobs', { body: 'a' });
    await before.cloud.queue.send('jobs', { body: 'b' });
    const { receipt } = first(await before.cloud.queue.receive('jobs'));
    before.kill();
    await using after = await open({ dataDir });
    expect(await counts(after, 'jobs')).toEqual({ depth: 1, inFlight: 1, delayed: 0 });
    expect((await after.cloud.queue.ack('jobs', { receipt })).acked).toBe(true);
    expect(bodies(await after.cloud.queue.receive('jobs', { max: 10 }))).toEqual(['b']);
    await after.cloud.queue.delete('jobs');
    expect(
      await after.db
        .selectFrom('queue_message' as never)
        .selectAll()
        .execute(),
    ).toEqual([]);
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
});

test('depth is right in lists too, by pages and by label', async () => {
  await using b = await open();
  const { queue } = b.cloud;
  for (const name of ['a', 'b', 'c']) await queue.create({ name, labels: { env: name === 'c' ? 'prod' : 'dev' } });
  await queue.send('b', { body: 'x' });
  await queue.send('c', { body: 'y', delay: 10 });
  const list = async () => (await queue.list()).items.map(({ name, depth, delayed }) => `${name} ${depth} ${delayed}`).sort();
  expect(await list()).toEqual(['a 0 0', 'b 1 0', 'c 0 1']);
  await b.clock.advance(10_000);
  expect(await list()).toEqual(['a 0 0', 'b 1 0', 'c 1 0']);
  expect((await queue.list({ label: ['env=prod'] })).items.map(({ depth }) => depth)).toEqual([1]);
  expect((await queue.update('b', { labels: { env: 'x' } })).depth).toBe(1);
});
