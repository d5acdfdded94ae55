// Where S3 clients are served. Nobody has to say it: each data directory has an address of its own, the well-known one if that is free, and keeps it.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Core, ListenAt, Listening, Log } from '@thecloud/core';
import { Fault, FILES } from '@thecloud/core/contracts';
import { type Address, isLoopback, parseListen } from './address.ts';
import { writeFileWhole } from './files.ts';

const NAME = 's3';
const LOOPBACK = '127.0.0.1';

/** For what the data directory had before. */
export const AUTO = 'auto';
const OFF = 'off';

/** Throws `invalid_input` for what is no address, or one that other machines reach without leave. */
export function checkS3Listen(listen: string, allowRemote: boolean): Address | typeof AUTO | typeof OFF {
  if (listen === AUTO || listen === OFF) return listen;
  let address: Address;
  try {
    address = parseListen(listen);
  } catch (error) {
    throw new Fault('invalid_input', `${JSON.stringify(listen)} is no address for S3 clients; use 9000, 127.0.0.1:9000, auto or off`, { cause: error });
  }
  if (allowRemote || isLoopback(address.host)) return address;
  throw new Fault('invalid_input', `${address.host} is not a loopback address: S3 is served by plain HTTP, and anyone on the way could read all data`, {
    hint: 'cloud daemon start --s3-listen 127.0.0.1:9000 (and a TLS proxy in front), or --allow-remote on a network that you trust',
  });
}

/** An address that was given must be free. Undefined: nothing listens, or this core has no S3. */
export async function listenForS3(
  core: Pick<Core, 'dataDir' | 'listen' | 'listeners'>,
  { listen, allowRemote, legacy, log }: { listen: string; allowRemote: boolean; legacy: boolean; log: Log },
): Promise<Listening | undefined> {
  const given = checkS3Listen(listen, allowRemote);
  const offered = core.listeners.find(({ name }) => name === NAME);
  if (given === OFF || offered === undefined) return undefined;
  if (given !== AUTO) return core.listen(NAME, { ...given, legacy });
  const file = join(core.dataDir, FILES.s3Port);
  const before = await rememberedPort(file);
  const ports = [...new Set([...(before === undefined ? [] : [before]), offered.defaultPort])];
  const opened = await firstFree(core, ports, legacy);
  if (opened.port !== before) await writeFileWhole(file, `${opened.port}\n`);
  const [wanted] = ports;
  if (opened.port !== wanted) log.warn({ wanted, port: opened.port }, 'something else listens where S3 clients were served; the address is another one now');
  return opened;
}

async function firstFree(core: Pick<Core, 'listen'>, ports: readonly number[], legacy: boolean): Promise<Listening> {
  for (const port of ports) {
    const at: ListenAt = { host: LOOPBACK, port, legacy };
    try {
      return await core.listen(NAME, at);
    } catch (error) {
      if (!(error instanceof Fault) || error.code !== 'conflict') throw error;
    }
  }
  return core.listen(NAME, { host: LOOPBACK, port: 0, legacy });
}

async function rememberedPort(file: string): Promise<number | undefined> {
  try {
    const port = Number((await readFile(file, 'utf8')).trim());
    return Number.isInteger(port) && port > 0 && port < 65_536 ? port : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return undefined;
  }
}
