// Rules that an installation left when it went: its networks are no more, but its tables still drop packets of their ranges, which the engine gives to
// others. A range of ours that another's table knows, though no bridge of that table is there, tells such a one.
import { existsSync } from 'node:fs';
import { overlap, parseCidr } from './cidr.ts';
import { run } from './tools.ts';

const TABLE = /^table ip (thecloud_\w+)$/gm;

/** Removes those that are in the way of networks of these ranges. Returns their names. */
export async function removeStaleTables(own: string, cidrs: readonly string[], signal: AbortSignal): Promise<string[]> {
  const ranges = cidrs.flatMap((cidr) => parseCidr(cidr) ?? []);
  const removed: string[] = [];
  const { stdout } = await run('nft', ['list', 'tables', 'ip'], { signal });
  for (const [, table = ''] of stdout.matchAll(TABLE)) {
    if (table === own) continue;
    const known = (await setOf(table, 'ranges', signal)).match(/[\d.]+\/\d+/g)?.flatMap((cidr) => parseCidr(cidr) ?? []) ?? [];
    if (!known.some((range) => ranges.some((other) => overlap(range, other)))) continue;
    const bridges = [...(await setOf(table, 'bridges', signal)).matchAll(/"([^"]+)"/g)].map(([, name = '']) => name);
    // Made before its first bridge is, or in use: whoever it is of looks after it.
    if (bridges.length === 0 || bridges.some((name) => existsSync(`/sys/class/net/${name}`))) continue;
    for (const family of ['ip', 'bridge']) await run('nft', ['delete', 'table', family, table], { signal, accept: [1] });
    removed.push(table);
  }
  return removed;
}

const setOf = async (table: string, set: string, signal: AbortSignal): Promise<string> => {
  const { stdout } = await run('nft', ['list', 'set', 'ip', table, set], { signal, accept: [1] });
  // The name and type come first.
  return /elements = \{([^}]*)\}/.exec(stdout)?.[1] ?? '';
};
