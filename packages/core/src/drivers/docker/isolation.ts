// Our own packet filter between VPCs, beside Docker's. Docker drops what is forwarded from bridge to bridge, but a packet to *another VPC's gateway*
// is for the host itself, and there Docker's port proxy would answer for the other VPC's instances. One nftables table closes that, drops forged
// source addresses, and holds where Docker runs without its own rules. Installations on one host share the table, so it also stands between them.
import type { Log } from '../../kernel/log.ts';
import { isRoot } from './host.ts';
import { run } from './tools.ts';

const TABLE = 'thecloud';

interface NftPrefix {
  addr: string;
  len: number;
}

interface NftListing {
  nftables: { rule?: { expr: { match?: { right?: { prefix?: NftPrefix } } }[] } }[];
}

export class Isolation {
  /** Why it cannot be applied; undefined when it can. */
  readonly unavailable: string | undefined;
  readonly #applied = new Set<string>();

  private constructor(unavailable: string | undefined) {
    this.unavailable = unavailable;
  }

  /** Tries once whether this process may change the host's packet filter. */
  static async probe(local: boolean, log: Log): Promise<Isolation> {
    if (!local) return new Isolation('the engine runs on another machine');
    if (!isRoot()) return new Isolation('only root may change the packet filter');
    try {
      await run('nft', ['--check', '--file', '-'], { input: frame() + vpc('clprobe', '192.0.2.0/24') });
      return new Isolation(undefined);
    } catch (error) {
      log.warn({ error: (error as Error).message }, 'VPCs are kept apart by Docker alone: nftables does not work here');
      return new Isolation((error as Error).message);
    }
  }

  /** From its return on, nothing that comes from `bridge` reaches another VPC's range. The bridge need not exist yet. Equal call: touches nothing. */
  async ensure(bridge: string, cidr: string, signal: AbortSignal): Promise<void> {
    if (this.unavailable !== undefined) return;
    const present = await this.#cidrOf(bridge, signal);
    if (present === cidr && this.#applied.has(bridge)) return;
    if (present !== undefined && present !== cidr) await this.remove(bridge, signal);
    await run('nft', ['--file', '-'], { input: frame() + vpc(bridge, cidr), signal });
    this.#applied.add(bridge);
  }

  /** Absent: fine. With the last VPC the table goes too. */
  async remove(bridge: string, signal: AbortSignal): Promise<void> {
    if (this.unavailable !== undefined) return;
    const cidr = await this.#cidrOf(bridge, signal);
    this.#applied.delete(bridge);
    if (cidr === undefined) return;
    // `delete` of something absent would fail; `add` of something present does not.
    const lines = [
      `add element ip ${TABLE} bridges { "${bridge}" : jump ${bridge} }`,
      `delete element ip ${TABLE} bridges { "${bridge}" : jump ${bridge} }`,
      `flush chain ip ${TABLE} ${bridge}`,
      `delete chain ip ${TABLE} ${bridge}`,
      `add element ip ${TABLE} ranges { ${cidr} }`,
      `delete element ip ${TABLE} ranges { ${cidr} }`,
    ];
    await run('nft', ['--file', '-'], { input: `${lines.join('\n')}\n`, signal });
    // Refused as a whole while any other VPC's chain still refers to the ranges, so it cannot take away what another process just made.
    const end = ['flush chain', 'delete chain'].map((verb) => `${verb} ip ${TABLE} isolation`);
    const rest = [`delete map ip ${TABLE} bridges`, `delete set ip ${TABLE} ranges`, `delete table ip ${TABLE}`];
    await run('nft', ['--file', '-'], { input: `${[...end, ...rest].join('\n')}\n`, signal, accept: [1] });
  }

  /** The range that the bridge's rules were made for; undefined when there are none. */
  async #cidrOf(bridge: string, signal: AbortSignal): Promise<string | undefined> {
    const { exitCode, stdout } = await run('nft', ['--json', 'list', 'chain', 'ip', TABLE, bridge], { signal, accept: [1] });
    if (exitCode !== 0) return undefined;
    for (const { rule } of (JSON.parse(stdout) as NftListing).nftables) {
      const prefix = rule?.expr[0]?.match?.right?.prefix;
      if (prefix !== undefined) return `${prefix.addr}/${prefix.len}`;
    }
    return undefined;
  }
}

// Before routing and before Docker's address translation (-100), so that it sees the address that the instance really wrote to.
const frame = (): string => `
add table ip ${TABLE}
add map ip ${TABLE} bridges { type ifname : verdict; }
add set ip ${TABLE} ranges { type ipv4_addr; flags interval; }
add chain ip ${TABLE} isolation { type filter hook prerouting priority -150; }
flush chain ip ${TABLE} isolation
add rule ip ${TABLE} isolation iifname vmap @bridges
`;

// Answers pass: a port that a user published on the host's own address stays reachable from everywhere, also where Docker translates it in the kernel.
const vpc = (bridge: string, cidr: string): string => `
add chain ip ${TABLE} ${bridge}
flush chain ip ${TABLE} ${bridge}
add rule ip ${TABLE} ${bridge} ct state established,related accept
add rule ip ${TABLE} ${bridge} ip saddr != ${cidr} ip saddr @ranges drop
add rule ip ${TABLE} ${bridge} ip daddr != ${cidr} ip daddr @ranges drop
add element ip ${TABLE} bridges { "${bridge}" : jump ${bridge} }
add element ip ${TABLE} ranges { ${cidr} }
`;
