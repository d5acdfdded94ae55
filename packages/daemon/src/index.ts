// The daemon as a library: what `cloud daemon start` runs in the foreground, and what tests start in process. `./main` is its own process.

export type { Address } from './address.ts';
export { type Daemon, type DaemonOptions, type DaemonRecord, type ServeOptions, serve, startDaemon } from './daemon.ts';
export { createLog } from './log.ts';
export { openapi } from './openapi.ts';
