// What an instance says about its first boot is written where its own root can write, too: it is believed within limits.
import { Readable } from 'node:stream';
import tar from 'tar-stream';
import { expect, test } from 'vitest';
import { memoryDrivers } from '../../drivers/memory/index.ts';
import { bench } from '../../testing/bench.ts';
import { readUserData } from './cloudinit.ts';
import { advanceBoot } from './cloudinit-run.ts';
import { bootOf } from './cloudinit-script.ts';
import { HOME } from './cloudinit-state.ts';
import type { ComputeDriver } from './driver.ts';

const boot = bootOf(readUserData('#!/bin/sh\ntrue\n'), []);

/** First boot as it is seen when these files stand where its state is kept. */
async function seen(files: Record<string, string | Buffer>) {
  const drivers = memoryDrivers();
  await using b = await bench({ drivers });
  const { id } = await b.ready(b.cloud.instance.create({ name: 'web', image: 'busybox' }));
  const compute = drivers.drivers.compute as ComputeDriver;
  const pack = tar.pack();
  for (const [name, content] of Object.entries(files)) pack.entry({ name: `${HOME}/${id}/${name}`.slice(1) }, content);
  pack.finalize();
  await compute.writeFiles(id, '/', Readable.from(pack));
  return await advanceBoot(compute, id, boot);
}

test('a result, and a result of something else', async () => {
  expect(await seen({ result: '0\n' })).toEqual({ status: 'done', exitCode: 0 });
  expect(await seen({ result: '3\n3 runcmd 1\n4 script\n' })).toEqual({
    status: 'error',
    exitCode: 3,
    reason: 'runcmd 1 failed with exit code 3; also failed: script',
  });
  for (const result of ['', 'done', '-1', '1e9', '0x0']) expect(await seen({ result }), result).toMatchObject({ status: 'error' });
});

test('a reason has a length and nothing that a terminal would obey', async () => {
  const step = `\u001b]0;owned\u0007${'x'.repeat(5000)}`;
  const each: Record<string, string>[] = [{ result: `3\n3 ${step}\n` }, { refused: JSON.stringify({ status: 'running', exitCode: 'x', reason: step }) }];
  for (const files of each) {
    const { status, reason } = await seen(files);
    expect(status).toBe('error');
    expect(reason?.length).toBeLessThan(2000);
    expect(reason).not.toMatch(/\p{Cc}/u);
  }
  for (const refused of ['{', 'null', '[]', '"x"']) expect(await seen({ refused }), refused).toEqual({ status: 'error', reason: 'first boot could not begin' });
});

test('what would fill our memory is not read', async () => {
  for (const name of ['result', 'started', 'other']) await expect(seen({ [name]: Buffer.alloc(1_000_000) }), name).rejects.toMatchObject({ code: 'failed' });
  const many = Object.fromEntries(Array.from({ length: 200 }, (_, n) => [`f${n}`, '']));
  await expect(seen(many)).rejects.toMatchObject({ code: 'failed' });
});
