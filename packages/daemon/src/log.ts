// The daemon's log: a JSON object a line, to standard error or to a file that is rotated by size. Credentials never reach it.
import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';
import type { Log } from '@thecloud/core';
import { type DestinationStream, pino } from 'pino';

const SIZE_LIMIT = 16 * 1024 * 1024;
const KEPT = 3;

/** Appends; over the limit, `daemon.log` becomes `daemon.log.1` and so on, and the oldest goes. A full disk loses lines, never the daemon. */
export class RotatingFile implements DestinationStream {
  readonly #path: string;
  readonly #limit: number;
  #file: number;
  #size: number;
  #lost = 0;

  constructor(path: string, limit = SIZE_LIMIT) {
    this.#path = path;
    this.#limit = limit;
    this.#file = openSync(path, 'a', 0o600);
    this.#size = fstatSync(this.#file).size;
  }

  write(line: string): void {
    try {
      if (this.#size > 0 && this.#size + line.length > this.#limit) this.#rotate();
      if (this.#lost > 0) {
        this.#size += writeSync(this.#file, `{"level":40,"time":${Date.now()},"msg":"${this.#lost} lines were lost: the log could not be written"}\n`);
        this.#lost = 0;
      }
      this.#size += writeSync(this.#file, line);
    } catch {
      this.#lost += 1; // told as soon as a line can be written again
    }
  }

  #rotate(): void {
    for (let age = KEPT; age >= 1; age--) {
      try {
        renameSync(age === 1 ? this.#path : `${this.#path}.${age - 1}`, `${this.#path}.${age}`);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
    }
    const fresh = openSync(this.#path, 'a', 0o600);
    closeSync(this.#file);
    this.#file = fresh;
    this.#size = 0;
  }
}

const SECRETS = [
  'authorization',
  'token',
  'password',
  'secret',
  'userData',
  'env',
  'accessToken',
  'refreshToken',
  'clientSecret',
  'apiKey',
  'masterKey',
  'bearer',
  'cookie',
];

/** To `write` (line by line), to a file, or to standard error. */
export function createLog(options: { file?: string | undefined; level?: string | undefined; write?: (line: string) => void } = {}): Log {
  const { file, write } = options;
  const destination: DestinationStream =
    write !== undefined ? { write } : file === undefined ? pino.destination({ dest: 2, sync: true }) : new RotatingFile(file);
  return pino(
    {
      level: options.level ?? 'info',
      base: { pid: process.pid },
      redact: { paths: SECRETS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: '[REDACTED]' },
    },
    destination,
  );
}
