// Which interface of the host leads into an instance. Read from the kernel, not learnt from packets, which can be forged.
import { readdir, readFile } from 'node:fs/promises';

/**
 * The port of the bridge whose other end is the instance's first network interface; undefined when the process has gone, or is not on that bridge.
 * `igmp` is one of the few files of a process that tell indexes of the interfaces in its network namespace.
 */
export async function interfaceOf(pid: number, bridge: string): Promise<string | undefined> {
  const inside = await indexInside(pid);
  if (inside === undefined) return undefined;
  // Indexes are unique in one namespace only, so the bridge has to be the right one, too.
  for (const name of (await orUndefined(readdir(`/sys/class/net/${bridge}/brif`))) ?? []) {
    if ((await numberIn(`/sys/class/net/${name}/iflink`)) === inside) return name;
  }
  return undefined;
}

async function indexInside(pid: number): Promise<number | undefined> {
  const text = await orUndefined(readFile(`/proc/${pid}/net/igmp`, 'utf8'));
  const [, index] = /^(\d+)\s+eth0\s/m.exec(text ?? '') ?? [];
  return index === undefined ? undefined : Number(index);
}

const numberIn = async (path: string): Promise<number | undefined> => {
  const text = await orUndefined(readFile(path, 'utf8'));
  return text === undefined ? undefined : Number(text);
};

/** Processes and interfaces may go at any time. */
async function orUndefined<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EINVAL', 'ENODEV'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}
