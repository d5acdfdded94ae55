// A VPC is a Docker bridge network under our id, with a Linux bridge of its own, its own range, and a packet filter that keeps VPCs apart.
import { createHash } from 'node:crypto';
import type { NetworkInspectInfo } from 'dockerode';
import type { Check, DriverReport, Feature, Found } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import type { NetworkDriver, NetworkSpec, Plane, ProbePacket } from '../../services/vpc/driver.ts';
import { contains, overlap, parseCidr } from './cidr.ts';
import { type DockerClient, LABEL_ID, LABEL_INSTALLATION, messageOf, statusOf, translate, unlessAbsent } from './client.ts';
import { PacketFilter, seeBridge } from './filter.ts';
import { CAPABLE_START, engineIsLocal, hostRanges, isRoot } from './host.ts';
import { interfaceOf } from './interface.ts';
import { Locks } from './locks.ts';
import { sendProbe } from './probe.ts';
import { run } from './tools.ts';

const LABEL_NAME = 'thecloud.name';
const BRIDGE_OPTION = 'com.docker.network.bridge.name';

export class DockerNetwork implements NetworkDriver {
  readonly #client: DockerClient;
  readonly #locks = new Locks();
  #host: Promise<{ local: boolean; filter: PacketFilter }> | undefined;

  constructor(client: DockerClient) {
    this.#client = client;
  }

  ping(signal?: AbortSignal): Promise<void> {
    return this.#client.ping(signal);
  }

  async ensure(spec: NetworkSpec, signal: AbortSignal): Promise<void> {
    const range = parseCidr(spec.cidr);
    if (range === undefined) throw new DriverError('bad_spec', `${spec.cidr} is not an IPv4 network; write its first address and a prefix, like 10.20.0.0/16`);
    if (!contains(range, spec.gateway)) throw new DriverError('bad_spec', `Gateway ${spec.gateway} is not an address of ${spec.cidr}`);
    // One at a time in all: two networks that overlap with each other must not both pass the check.
    await this.#locks.run('', signal, async () => {
      const bridge = this.bridgeOf(spec.id);
      const present = await this.#settle(spec.id, signal);
      if (present !== undefined && isAs(present, spec, bridge)) return;
      if (present !== undefined) await this.#delete(spec.id, present, signal);
      await this.#refuseOverlap(spec);
      signal.throwIfAborted();
      await this.#create(spec, bridge, signal);
    });
  }

  async #create(spec: NetworkSpec, bridge: string, signal: AbortSignal): Promise<void> {
    const { filter } = await this.#hostOnce();
    try {
      await this.#client.docker.createNetwork({
        Name: spec.id,
        CheckDuplicate: true,
        Driver: 'bridge',
        IPAM: { Driver: 'default', Config: [{ Subnet: spec.cidr, Gateway: spec.gateway }] },
        Options: {
          [BRIDGE_OPTION]: bridge,
          'com.docker.network.bridge.enable_icc': 'true',
          // Ours knows which packets keep their source address.
          'com.docker.network.bridge.enable_ip_masquerade': String(filter.unavailable !== undefined),
        },
        Labels: { ...this.#client.labels(spec.id), [LABEL_NAME]: spec.name },
        abortSignal: signal,
      });
    } catch (error) {
      signal.throwIfAborted();
      const said = messageOf(error);
      if (/overlap/i.test(said)) {
        await this.#refuseOverlap(spec);
        throw new DriverError('bad_spec', `${spec.cidr} overlaps with a network that Docker Engine already has`, { cause: error });
      }
      if (statusOf(error) === 409) throw new DriverError('bad_spec', `Docker Engine already has a network named ${spec.id} that is not ours`, { cause: error });
      throw translate(error, `Could not make network ${spec.id}`);
    }
    // Before the first instance is on it.
    if (filter.unavailable === undefined) await seeBridge(bridge);
  }

  async apply(plane: Plane, signal: AbortSignal): Promise<void> {
    const { filter } = await this.#hostOnce();
    await filter.apply(plane, signal);
  }

  async refusal(): Promise<string | undefined> {
    const { filter } = await this.#hostOnce();
    return filter.unavailable;
  }

  async inForce(signal: AbortSignal): Promise<boolean> {
    const { filter } = await this.#hostOnce();
    return filter.inForce(signal);
  }

  async probe(packet: ProbePacket, signal: AbortSignal): Promise<{ passes: boolean; detail: string }> {
    const { local } = await this.#hostOnce();
    if (!local || !isRoot()) throw new DriverError('bad_spec', 'Only root on the machine of Docker Engine can send a packet from inside an instance');
    const pidOf = async (id: string): Promise<number> => (await unlessAbsent(this.#client.docker.getContainer(id).inspect()))?.State.Pid ?? 0;
    const sender = await pidOf(packet.instanceId);
    if (sender === 0) throw new DriverError('bad_spec', 'The instance does not run', { hint: `cloud instance start ${packet.instanceId}` });
    const receiver = packet.receiverId === undefined ? 0 : await pidOf(packet.receiverId);
    return sendProbe({ ...packet, sender, receiver }, signal);
  }

  /** An instance has started: its interface on the host is bound to its address. */
  async bind({ pid, networkId, address }: { pid: number; networkId: string; address: string }, signal: AbortSignal): Promise<void> {
    const { filter } = await this.#hostOnce();
    if (filter.unavailable !== undefined) return;
    const found = await interfaceOf(pid, this.bridgeOf(networkId));
    if (found !== undefined) await filter.bind({ interface: found, address }, signal);
  }

  async #refuseOverlap(spec: NetworkSpec): Promise<void> {
    const wanted = parseCidr(spec.cidr);
    for (const { cidr } of await this.#taken()) {
      const range = parseCidr(cidr);
      if (wanted !== undefined && range !== undefined && overlap(wanted, range)) {
        throw new DriverError('bad_spec', `${spec.cidr} overlaps with a network that this host already uses`);
      }
    }
  }

  /** Everything that a new network must not touch. */
  async #taken(): Promise<{ cidr: string; ours: boolean }[]> {
    const networks = await this.#all();
    const taken = networks.flatMap((network) => {
      const ours = network.Labels?.[LABEL_INSTALLATION] === this.#client.installation;
      return subnetsOf(network).map((cidr) => ({ cidr, ours }));
    });
    const { local } = await this.#hostOnce();
    if (!local) return taken;
    // Docker's own bridges are above already, and some of them are ours.
    const bridges = new Set(networks.map((network) => network.Options?.[BRIDGE_OPTION] ?? `br-${network.Id.slice(0, 12)}`));
    const host = (await hostRanges()).filter((range) => !bridges.has(range.interface));
    return [...taken, ...host.map(({ cidr }) => ({ cidr, ours: false }))];
  }

  async remove(id: string, signal: AbortSignal): Promise<void> {
    await this.#locks.run('', signal, async () => {
      const present = await this.#settle(id, signal);
      if (present !== undefined) await this.#delete(id, present, signal);
    });
  }

  /** Refuses while an instance, running or not, belongs to the network: Docker itself looks at running ones only. */
  async #delete(id: string, network: NetworkInspectInfo, signal: AbortSignal): Promise<void> {
    const users = await this.#usersOf(network.Id);
    if (users.length > 0) throw new DriverError('busy', `Network ${id} is in use by ${users.join(', ')}`);
    signal.throwIfAborted();
    try {
      await unlessAbsent(this.#client.docker.getNetwork(network.Id).remove({ abortSignal: signal }));
    } catch (error) {
      signal.throwIfAborted();
      if (/active endpoints/.test(messageOf(error))) throw new DriverError('busy', `Network ${id} is still in use`, { cause: error });
      throw translate(error, `Could not remove network ${id}`);
    }
  }

  async #usersOf(networkId: string): Promise<string[]> {
    const containers = await this.#asked(this.#client.docker.listContainers({ all: true, filters: { network: [networkId] } }));
    return containers.map((container) => container.Labels[LABEL_ID] ?? `container ${container.Names[0]?.slice(1) ?? container.Id}`).sort();
  }

  async inspect(id: string): Promise<NetworkSpec | undefined> {
    const [network] = await this.#ours(id);
    const config = network?.IPAM?.Config?.[0];
    if (network === undefined || config?.Subnet === undefined) return undefined;
    return { id, name: network.Labels?.[LABEL_NAME] ?? '', cidr: config.Subnet, gateway: config.Gateway ?? '' };
  }

  async list(): Promise<Found[]> {
    const networks = await this.#asked(this.#client.docker.listNetworks({ filters: this.#client.filter() }));
    const found = new Map<string, Found>();
    for (const network of networks) {
      const id = network.Labels?.[LABEL_ID];
      if (id !== undefined) found.set(id, { id, createdAt: Date.parse(network.Created) });
    }
    return [...found.values()];
  }

  async reserved(): Promise<string[]> {
    const taken = (await this.#taken()).filter(({ ours }) => !ours).map(({ cidr }) => cidr);
    return [...new Set(taken)].sort();
  }

  async gatewaysHere(): Promise<boolean> {
    return (await this.#hostOnce()).local;
  }

  /**
   * The Linux interface of a VPC. An interface name has at most 15 characters, so it carries a digest: 65 bits of installation and id,
   * found again without asking the engine.
   */
  bridgeOf(id: string): string {
    const digest = createHash('sha256').update(`${this.#client.installation}/${id}`).digest().readBigUInt64BE();
    return `cl${digest.toString(36).padStart(13, '0')}`;
  }

  /** Docker can hold two networks of one name when two creates met. The one that is used stays, else the elder; the others go. */
  async #settle(id: string, signal: AbortSignal): Promise<NetworkInspectInfo | undefined> {
    const [first, ...others] = (await this.#ours(id)).sort((a, b) => (a.Created < b.Created ? -1 : 1));
    let kept = first;
    for (const other of others) {
      const loser = kept !== undefined && (await this.#usersOf(kept.Id)).length === 0 && (await this.#usersOf(other.Id)).length > 0 ? kept : other;
      if (loser === kept) kept = other;
      await this.#delete(id, loser, signal);
    }
    return kept;
  }

  #ours(id: string): Promise<NetworkInspectInfo[]> {
    return this.#asked(this.#client.docker.listNetworks({ filters: { label: [...this.#client.filter().label, `${LABEL_ID}=${id}`] } }));
  }

  #all(): Promise<NetworkInspectInfo[]> {
    return this.#asked(this.#client.docker.listNetworks());
  }

  async #asked<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      throw translate(error, 'Docker Engine did not tell about its networks');
    }
  }

  /** Asked once; an engine that was away is asked again next time. */
  #hostOnce(): Promise<{ local: boolean; filter: PacketFilter }> {
    this.#host ??= this.#askHost().catch((error: unknown) => {
      this.#host = undefined;
      throw translate(error, 'Docker Engine did not tell about itself');
    });
    return this.#host;
  }

  async #askHost(): Promise<{ local: boolean; filter: PacketFilter }> {
    const local = await engineIsLocal(this.#client);
    const names = { installation: this.#client.installation, bridgeOf: (id: string) => this.bridgeOf(id) };
    return { local, filter: await PacketFilter.probe(local, names, this.#client.log) };
  }

  async report(signal?: AbortSignal): Promise<DriverReport> {
    const report: DriverReport = { driver: 'docker', features: [], checks: [] };
    try {
      await this.ping(signal);
      const { local, filter } = await this.#hostOnce();
      const info = (await this.#client.docker.info()) as { ServerVersion: string; BridgeNfIptables?: boolean };
      report.version = info.ServerVersion;
      report.features.push(await this.#isolationFeature(local, filter), ...featuresOf(filter));
      report.checks.push({ name: 'docker', ok: true, detail: `Version ${info.ServerVersion}${local ? '' : ', on another machine'}` });
      report.checks.push(filterCheck(filter));
    } catch (error) {
      const { message, hint } = translate(error, 'Docker Engine does not answer');
      report.features.push({ name: 'isolation', level: 'recorded', detail: 'Docker Engine is away' });
      report.checks.push({ name: 'docker', ok: false, detail: message, remedy: hint ?? 'docker info  # shows what is wrong' });
    }
    return report;
  }

  async #isolationFeature(local: boolean, filter: PacketFilter): Promise<Feature> {
    const name = 'isolation';
    const published = "a port published on the host's own addresses is reachable from every VPC, as from everywhere";
    if (filter.unavailable === undefined) {
      return {
        name,
        level: 'enforced',
        detail: `Own nftables rules (tables ${filter.table}) decide about every packet, within a VPC and between; ${published}`,
      };
    }
    const alone = `ports published on all addresses also answer at their VPC's gateway address, because ${filter.unavailable}`;
    if (!local || !isRoot()) {
      return { name, level: 'enforced', detail: `Docker Engine's packet filter, taken on trust: without root on its machine nobody can look; ${alone}` };
    }
    if (await dockerFilters()) return { name, level: 'enforced', detail: `Docker Engine's packet filter keeps VPCs apart; ${alone}` };
    return { name, level: 'recorded', detail: `Docker Engine runs without its packet filter (--iptables=false) and ours is off: ${filter.unavailable}` };
  }
}

function featuresOf({ unavailable }: PacketFilter): Feature[] {
  const ours = (name: string, enforced: string, otherwise: string, level: Feature['level'] = 'unsupported'): Feature =>
    unavailable === undefined ? { name, level: 'enforced', detail: enforced } : { name, level, detail: `${otherwise}: ${unavailable}` };
  return [
    { name: 'addresses', level: 'enforced', detail: 'Each VPC has a bridge and a range of its own; ranges that the host already uses are refused' },
    { name: 'names', level: 'enforced', detail: "Docker Engine's DNS server resolves the names of instances inside their VPC only" },
    { name: 'outbound', level: 'enforced', detail: "Traffic that leaves the host carries the host's address" },
    ours('security groups', 'Each packet is judged by the rules of sender and receiver, open connections too', 'Security groups are refused'),
    ours('routes', 'Subnets, gateways and peerings decide where an instance gets to', 'Subnets, gateways and peerings are refused'),
    ours('elastic IPs', 'Translated both ways, for the host and for instances', 'Elastic IPs are refused'),
    ours(
      'host',
      'Instances reach of the host only what their gateway offers, and published ports',
      'Programs of the host that listen on all its addresses are reachable from instances',
      'recorded',
    ),
    ours(
      'addresses inside',
      "What an instance sends under another's address is dropped at its interface",
      "Instances of one VPC are not kept from taking each other's addresses",
      'recorded',
    ),
    ours('metadata', 'Each instance, and nobody else, is led to its own at 169.254.169.254', 'Nobody answers at 169.254.169.254'),
  ];
}

const filterCheck = (filter: PacketFilter): Check =>
  filter.unavailable === undefined
    ? { name: 'packet filter', ok: true, detail: 'nftables takes our rules' }
    : {
        name: 'packet filter',
        ok: false,
        detail: `Our rules between VPCs are off: ${filter.unavailable}`,
        remedy: isRoot() ? 'sudo apt-get install nftables' : CAPABLE_START,
      };

/** Looks for traces of Docker's rules under any of the names that its versions gave them. For the report only; nothing depends on it. */
async function dockerFilters(): Promise<boolean> {
  const looks: [string, string[]][] = [
    ['iptables', ['-w', '-S', 'FORWARD']],
    ['nft', ['list', 'tables']],
  ];
  for (const [program, args] of looks) {
    const seen = await run(program, args, { accept: [1, 2, 3, 4] }).catch((error: unknown) => {
      if (error instanceof DriverError && error.code === 'unavailable') return { stdout: '' };
      throw error;
    });
    if (/DOCKER-(ISOLATION-STAGE-1|FORWARD|INTERNAL)|docker-bridges/.test(seen.stdout)) return true;
  }
  return false;
}

const subnetsOf = (network: NetworkInspectInfo): string[] =>
  (network.IPAM?.Config ?? []).flatMap(({ Subnet }) => (Subnet !== undefined && parseCidr(Subnet) !== undefined ? [Subnet] : []));

const isAs = (network: NetworkInspectInfo, spec: NetworkSpec, bridge: string): boolean => {
  const config = network.IPAM?.Config?.[0];
  return config?.Subnet === spec.cidr && config.Gateway === spec.gateway && network.Options?.[BRIDGE_OPTION] === bridge;
};
