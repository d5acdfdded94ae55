// What streams and channels share of a WebSocket.
import type { WebSocket } from 'ws';

/** Larger frames are cut; nothing legitimate sends larger messages. */
export const FRAME_BYTES = 64 * 1024;
export const MESSAGE_LIMIT = 1024 * 1024;

/** Resolves when the bytes have left for the kernel, so that awaiting it honours a slow peer. Rejects when the peer has gone. */
export const send = (socket: WebSocket, data: Uint8Array | string): Promise<void> =>
  new Promise((resolve, reject) => {
    socket.send(data, (error) => (error ? reject(error) : resolve()));
  });
