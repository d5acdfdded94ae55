// The client's end of a channel against a daemon's end that the test holds.
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { frame, PIPE } from '@thecloud/core/contracts';
import { expect, it } from 'vitest';
import { WebSocketServer } from 'ws';
import { connect } from './connect.ts';

it('ends when its outputs ended while their reader was behind', async () => {
  const server = createServer();
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (far, request) => {
    const raw: Socket = request.socket;
    raw.cork();
    far.send(frame(PIPE.output, Buffer.alloc(300_000, 'x')));
    for (const pipe of [PIPE.output, PIPE.error]) far.send(JSON.stringify({ type: 'end', pipe }));
    raw.uncork();
    setTimeout(() => {
      far.send(JSON.stringify({ type: 'result', result: { exitCode: 0 } }));
      far.close(1000);
    }, 20);
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  await using cloud = connect({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  try {
    const channel = await cloud.instance.exec('web', { command: ['true'] });
    channel.error.resume();
    await sleep(100); // now all of it is here, and more than is taken unasked
    let length = 0;
    for await (const bytes of channel.output) length += (bytes as Buffer).length;
    expect(length).toBe(300_000);
    expect(await channel.result).toEqual({ exitCode: 0 });
  } finally {
    sockets.close();
    server.closeAllConnections();
    server.close();
  }
}, 5000);
