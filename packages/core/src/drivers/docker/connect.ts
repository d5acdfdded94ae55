// A TCP connection to an instance, by its private address.
import { connect as connectTcp, type Socket } from 'node:net';
import { DriverError } from '../../kernel/errors.ts';

const CONNECT_TIMEOUT = 5_000;

export function openSocket(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp({ host, port });
    const timer = setTimeout(() => fail(Object.assign(new Error('timeout'), { code: 'ETIMEDOUT' })), CONNECT_TIMEOUT);
    const fail = (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      socket.destroy();
      reject(
        error.code === 'ECONNREFUSED'
          ? new DriverError('failed', `Nothing listens on port ${port} of the instance`, { cause: error })
          : new DriverError('unavailable', `This machine cannot reach ${host}, the private address of the instance (${error.code ?? error.message})`, {
              cause: error,
            }),
      );
    };
    socket.once('error', fail);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.off('error', fail);
      resolve(socket);
    });
  });
}
