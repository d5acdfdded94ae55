// Addresses to listen on.
import { Fault } from '@thecloud/core/contracts';

export interface Address {
  host: string;
  port: number;
}

/** `7070`, `127.0.0.1:7070`, `[::1]:7070`. A port alone means loopback. Throws `invalid_input`. */
export function parseListen(text: string): Address {
  const match = /^(?:(?:\[([\da-f:.]+)\]|([^:[\]\s]+)):)?(\d{1,5})$/i.exec(text.trim());
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) throw new Fault('invalid_input', `"${text}" is not an address to listen on; use 7070 or 127.0.0.1:7070`);
  return { host: match[1] ?? match[2] ?? '127.0.0.1', port };
}

export const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
