// The client's end of a channel against a daemon's end that the test holds.

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { frame, PIPE } from '@thecloud/core/contracts';
import { expect, it } from 'vitest';
import { WebSocketServer } from 'ws';
import { openChannel } from './channel.ts';
import { Remote } from './remote.ts';
import { settingsOf } from './settings.ts';
import { commandOf, type OperationSpec } from './table.ts';

it('ends when its outputs ended while their reader was behind', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'cloud-channel-'));
  const socket = join(folder, 's');
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
  await new Promise<void>((listening) => server.listen(socket, listening));
  try {
    const operation = commandOf('instance exec').operation as OperationSpec;
    const remote = new Remote({ ...settingsOf(undefined), endpoint: { socket } });
    const channel = await openChannel<{ exitCode: number }>(remote, operation, 'web', { command: ['true'] });
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
    rmSync(folder, { recursive: true, force: true });
  }
}, 5000);
