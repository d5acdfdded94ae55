// The moment between the opening of a channel and its first reader: whatever breaks then breaks the channel, never the process.
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { services } from '../services.ts';
import { bench, faultOf, fillDisk } from '../testing/bench.ts';
import { localAdministrator } from './authorize.ts';
import type { Channel } from './channel.ts';
import { channel, contract, resource } from './contract.ts';
import { DriverError } from './errors.ts';
import { service } from './service.ts';

const pipe = resource('pipe', { summary: 'Bytes', stored: false, columns: ['name'] });
const pipes = contract(pipe, { open: channel(pipe, { summary: 'Open', target: false, output: z.strictObject({}) }) });

/** A service whose channel is what the test says. */
async function open(make: (end: ReturnType<typeof farEnd>) => void) {
  const end = farEnd();
  const definition = service(pipes, () => ({
    handlers: {
      async open() {
        make(end);
        return end.channel;
      },
    },
  }));
  return { end, b: await bench({ definitions: [...services, definition] }) };
}

function farEnd() {
  const { promise: result, resolve, reject } = Promise.withResolvers<object>();
  const state = { closed: 0 };
  const far: Channel<object> = {
    input: new PassThrough(),
    output: new PassThrough(),
    error: new PassThrough(),
    control: () => undefined,
    result,
    close: () => {
      state.closed++;
      reject(new DriverError('failed', 'closed'));
    },
  };
  return { channel: far as Channel<never>, resolve, reject, state };
}
const openIt = { service: 'pipe', operation: 'open', input: {} } as const;

test('a far end that breaks at once', async () => {
  const { b, end } = await open(({ channel: { input, output, error }, reject }) => {
    setImmediate(() => {
      for (const stream of [input, output, error]) stream.destroy(new Error('reset'));
    });
    reject(new DriverError('unavailable', 'Connection reset'));
  });
  await using _ = b;
  const opened = await b.clientOf({ pipe: pipes }).pipe.open();
  await new Promise((resolve) => setImmediate(resolve));
  expect(end.channel.input.destroyed).toBe(true);
  expect(await faultOf(opened.result)).toMatchObject({ code: 'unavailable', message: 'Connection reset' });
});

test('a caller who went away meanwhile leaves nothing open', async () => {
  const caller = new AbortController();
  const { b, end } = await open(() => caller.abort());
  await using _ = b;
  const opened = await b.clientOf({ pipe: pipes }).pipe.open({}, { signal: caller.signal });
  expect(end.state.closed).toBe(1);
  await faultOf(opened.result);
});

test('one whose opening cannot be audited is closed again', async () => {
  const { b, end } = await open(() => undefined);
  await using _ = b;
  await fillDisk(b.db, false);
  for (let tries = 0; tries < 800 && end.state.closed === 0; tries++)
    await b.core.channel({ ...openIt, target: 'x'.repeat(1000), principal: localAdministrator }).catch(() => undefined);
  expect(end.state.closed).toBeGreaterThan(0);
  await fillDisk(b.db, true);
});
