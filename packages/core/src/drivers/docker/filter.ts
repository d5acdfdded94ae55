// Our packet filter: two nftables tables of this installation alone (see `ruleset.ts`), one rule in the chain that Docker keeps for its users, and a host
// route for each elastic IP. Nobody else's rules are touched, and ours can be told by their name.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { DriverError } from '../../kernel/errors.ts';
import type { Log } from '../../kernel/log.ts';
import type { Plane } from '../../services/vpc/driver.ts';
import { administersNetworks } from './host.ts';
import { type BoundPort, bindingOf, MARK, rulesetOf } from './ruleset.ts';
import { removeStaleTables } from './stale.ts';
import { run } from './tools.ts';

/** Of the chain that Docker leaves to its users: what our own rules have decided about is not for Docker's isolation to decide again. */
const LET_BY = ['DOCKER-USER', '--match', 'mark', '--mark', `${MARK}/${MARK}`, '--match', 'comment', '--comment', 'thecloud', '--jump', 'ACCEPT'];
const BRIDGES_ARE_SEEN = '/proc/sys/net/bridge/bridge-nf-call-iptables';
/** Who made a route, in `ip route`: a number that no routing daemon has (rtnetlink.h). */
const ROUTE_PROTOCOL = '193';

/** What a packet cannot get by, and the rule that it ends with. */
const DECISIVE = [
  ['ip', 'forged', 'vmap'],
  ['ip', 'host', 'drop'],
  ['ip', 'verdict', 'goto of_others'],
  ['bridge', 'forged', 'ether type != { ip, arp } drop'],
] as const;
/** Of so many looks one reads every rule. */
const WHOLE_LOOKS = 12;

export interface FilterNames {
  installation: string;
  bridgeOf(networkId: string): string;
}

export class PacketFilter {
  /** Why it cannot be applied; undefined when it can. */
  readonly unavailable: string | undefined;
  readonly #names: FilterNames;
  readonly #log: Log;
  /** Its name in both families. */
  readonly table: string;
  readonly #ports = new Map<string, BoundPort>();
  #plane: Plane | undefined;
  #listed: string | undefined;
  #looks = 0;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(names: FilterNames, log: Log, unavailable: string | undefined) {
    this.#names = names;
    this.#log = log;
    this.unavailable = unavailable;
    this.table = tableOf(names.installation);
  }

  /** Tries once whether this process may change the host's packet filter. */
  static async probe(local: boolean, names: FilterNames, log: Log): Promise<PacketFilter> {
    if (!local) return new PacketFilter(names, log, 'the engine runs on another machine');
    if (!(await administersNetworks())) return new PacketFilter(names, log, 'only root, or who has CAP_NET_ADMIN, may change the packet filter');
    try {
      const plane: Plane = { networks: [], endpoints: [], groups: [], peerings: [], publicAddresses: [], services: {} };
      await run('nft', ['--check', '--file', '-'], { input: rulesetOf(plane, { table: 'thecloud_probe', bridgeOf: names.bridgeOf }) });
      await run('nft', ['--check', '--file', '-'], { input: bindingOf(plane, 'thecloud_probe', []) });
      return new PacketFilter(names, log, await bridgesCanBeSeen());
    } catch (error) {
      log.warn({ error: (error as Error).message }, 'VPCs are kept apart by Docker alone: nftables does not work here');
      return new PacketFilter(names, log, (error as Error).message);
    }
  }

  /** From its return on the plane is what decides. One at a time; a call that fails leaves what was in force. */
  apply(plane: Plane, signal: AbortSignal): Promise<void> {
    return this.#alone(async () => {
      if (this.unavailable !== undefined) {
        // Of what every VPC is from the start, Docker's own rules enforce what the report says. Nothing more may seem to be in force.
        if (isPlain(plane)) return;
        throw new DriverError('failed', `The rules of networks cannot be enforced: ${this.unavailable}`, { hint: 'cloud system info' });
      }
      await this.#forgetPorts();
      if (plane.networks.length === 0) await this.#clear(signal);
      else {
        await this.#makeWay(plane, signal);
        await this.#load(plane, signal);
        await this.#letBy(signal);
      }
      await this.#routes(plane, signal);
      this.#plane = plane;
      this.#remember(signal);
    });
  }

  /** The interface of an instance that has just started: from now on nothing but its own address comes out of it. */
  bind(port: BoundPort, signal: AbortSignal): Promise<void> {
    return this.#alone(async () => {
      const present = this.#ports.get(port.interface);
      if (present?.address === port.address) return;
      this.#ports.set(port.interface, port);
      if (this.unavailable !== undefined || this.#plane === undefined || this.#plane.networks.length === 0) return;
      await run('nft', ['--file', '-'], { input: bindingOf(this.#plane, this.table, [...this.#ports.values()]), signal });
      this.#remember(signal);
    });
  }

  /** Whether everything is as `apply` left it. */
  async inForce(signal: AbortSignal): Promise<boolean> {
    if (this.unavailable !== undefined) return true;
    return this.#alone(async () => {
      const { networks } = this.#plane ?? { networks: [] };
      if (networks.length === 0) return true;
      if (!(await this.#stands(signal)) || (await this.#isLetBy(signal)) === false) return false;
      this.#looks += 1;
      return this.#looks % WHOLE_LOOKS !== 0 || (await this.#listing(signal)) === this.#listed;
    });
  }

  /** For networks that were not there before. */
  async #makeWay({ networks }: Plane, signal: AbortSignal): Promise<void> {
    const known = new Set(this.#plane?.networks.map(({ cidr }) => cidr));
    const added = networks.map(({ cidr }) => cidr).filter((cidr) => !known.has(cidr));
    if (added.length === 0) return;
    for (const table of await removeStaleTables(this.table, added, signal))
      this.#log.warn({ table }, 'rules were removed that an installation without networks had left for a range that is used here');
  }

  async #load(plane: Plane, signal: AbortSignal): Promise<void> {
    const { bridgeOf } = this.#names;
    const input = rulesetOf(plane, { table: this.table, bridgeOf }) + bindingOf(plane, this.table, [...this.#ports.values()]);
    await run('nft', ['--file', '-'], { input, signal });
  }

  async #clear(signal: AbortSignal): Promise<void> {
    for (const family of ['ip', 'bridge']) await run('nft', ['delete', 'table', family, this.table], { signal, accept: [1] });
    const { stdout } = await run('nft', ['list', 'tables'], { signal });
    // Another installation's packets need it still.
    if (/\bthecloud_/.test(stdout)) return;
    if ((await this.#isLetBy(signal)) === true) await run('iptables', ['--wait', '--delete', ...LET_BY], { signal, accept: [1] });
  }

  async #letBy(signal: AbortSignal): Promise<void> {
    if ((await this.#isLetBy(signal)) === false) await run('iptables', ['--wait', '--insert', ...LET_BY], { signal });
  }

  /** undefined: Docker keeps no such chain here, so none of its rules stands in the way, or all of them do (`report` tells). */
  async #isLetBy(signal: AbortSignal): Promise<boolean | undefined> {
    const { exitCode: chain } = await this.#iptables(['--list-rules', 'DOCKER-USER'], signal);
    if (chain !== 0) return undefined;
    return (await this.#iptables(['--check', ...LET_BY], signal)).exitCode === 0;
  }

  async #iptables(args: readonly string[], signal: AbortSignal): Promise<{ exitCode: number }> {
    try {
      return await run('iptables', ['--wait', ...args], { signal, accept: [1, 2, 3, 4] });
    } catch (error) {
      if (error instanceof DriverError && error.code === 'unavailable') return { exitCode: -1 };
      throw error;
    }
  }

  /** The host's own way to elastic IPs: on the bridge of whoever has one, so that the sender is the VPC's gateway. */
  async #routes(plane: Plane, signal: AbortSignal): Promise<void> {
    const { bridgeOf } = this.#names;
    const bridges = new Set(plane.networks.map(({ id }) => bridgeOf(id)));
    const networkOf = new Map(plane.endpoints.map(({ address, networkId }) => [address, networkId]));
    const wanted = new Map(
      plane.publicAddresses.flatMap(({ address, endpoint }) => {
        const networkId = networkOf.get(endpoint ?? '');
        return networkId === undefined ? [] : [[address, bridgeOf(networkId)] as const];
      }),
    );
    const { stdout } = await this.#ip(['-json', 'route', 'show', 'protocol', ROUTE_PROTOCOL], signal);
    const present = (stdout === '' ? [] : (JSON.parse(stdout) as { dst: string; dev: string }[])).filter(({ dev }) => bridges.has(dev));
    for (const { dst, dev } of present) if (wanted.get(dst) !== dev) await this.#ip(['route', 'delete', dst, 'dev', dev, 'protocol', ROUTE_PROTOCOL], signal);
    for (const [address, dev] of wanted) {
      if (present.some((route) => route.dst === address && route.dev === dev)) continue;
      const { exitCode, stderr } = await this.#ip(['route', 'replace', `${address}/32`, 'dev', dev, 'protocol', ROUTE_PROTOCOL], signal);
      if (exitCode !== 0) this.#log.debug({ address, said: stderr }, 'the host has no way to an elastic IP yet');
    }
  }

  #ip(args: readonly string[], signal: AbortSignal) {
    return run('ip', args, { signal, accept: [1, 2] });
  }

  /** Interfaces of instances that have ended. */
  async #forgetPorts(): Promise<void> {
    const there = new Set(await readdir('/sys/class/net'));
    for (const name of this.#ports.keys()) if (!there.has(name)) this.#ports.delete(name);
  }

  /** Reads back what is in force now, after whoever waits for it has gone on. A later one does the same again, so only the last is needed. */
  #remember(signal: AbortSignal): void {
    const plane = this.#plane;
    this.#alone(async () => {
      if (plane === this.#plane) this.#listed = await this.#listing(signal);
    }).catch((error: unknown) => {
      if (!signal.aborted) this.#log.warn({ error: (error as Error).message }, 'the rules of the networks could not be read back');
    });
  }

  /** Whether the decisive chains are there, and end as they should: what a flush takes away. */
  async #stands(signal: AbortSignal): Promise<boolean> {
    for (const [family, chain, last] of DECISIVE) {
      const { exitCode, stdout } = await run('nft', ['list', 'chain', family, this.table, chain], { signal, accept: [1] });
      if (exitCode !== 0 || !stdout.includes(last)) return false;
    }
    return true;
  }

  /** All that the kernel has of ours, as one short text. Costs more the more rules there are. */
  async #listing(signal: AbortSignal): Promise<string> {
    const hash = createHash('sha256');
    for (const family of ['ip', 'bridge']) {
      const { exitCode, stdout } = await run('nft', ['--stateless', 'list', 'table', family, this.table], { signal, accept: [1] });
      hash.update(exitCode === 0 ? stdout : 'absent');
    }
    return hash.digest('hex');
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#turn.then(work, work);
    this.#turn = next.catch(() => undefined); // told to whoever asked for it
    return next;
  }
}

/** The tables of an installation: a digest, because a name of nftables must not be long. */
export const tableOf = (installation: string): string => `thecloud_${createHash('sha256').update(installation).digest('hex').slice(0, 12)}`;

/** Has the packets that stay within a bridge come by the packet filter. Needs no more than the bridge to be there. */
export async function seeBridge(bridge: string): Promise<void> {
  // Docker Engine turns it on for all bridges where it needs it itself.
  if ((await readFile(BRIDGES_ARE_SEEN, 'utf8')).trim() === '1') return;
  await run('ip', ['link', 'set', 'dev', bridge, 'type', 'bridge', 'nf_call_iptables', '1']);
}

/** Why packets within one VPC could not be seen; undefined when they can. */
async function bridgesCanBeSeen(): Promise<string | undefined> {
  const there = () => existsSync(BRIDGES_ARE_SEEN);
  if (!there()) await run('modprobe', ['br_netfilter'], { accept: [1] });
  return there() ? undefined : 'packets within a bridge pass by the packet filter (the kernel has no br_netfilter)';
}

/** Nothing but what each VPC is without anybody's wish. */
const isPlain = ({ networks, endpoints, peerings, publicAddresses }: Plane): boolean =>
  peerings.length === 0 &&
  publicAddresses.length === 0 &&
  networks.every(({ subnets, routes }) => subnets.length === 0 && routes.length > 0) &&
  endpoints.every(({ networkId, groups }) => groups.every((group) => group === networkId));
