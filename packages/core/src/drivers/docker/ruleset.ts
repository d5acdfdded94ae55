// From the plane to one nftables transaction. The decision about a packet is made in one place, the chain `verdict`, after all address translation, and
// from what connection tracking knows of its connection: who began it, to which address and port it was sent, and who answers. Both directions of a
// connection therefore get the same answer, and a rule that goes takes open connections with it.
//
//   prerouting -150   forged sources and gateways of others          (`forged`)
//   prerouting -110   elastic IP → private address, DNS, metadata    (`inbound`; Docker's own follows at -100)
//   input        -5   what instances may reach of the host           (`host`)
//   output        0   answers of the metadata service go one hop       (`near`)
//   forward      -5   marks what the engine's own rules shall let by (`open`)
//   postrouting  90   source address on the way out                  (`outbound`; Docker's own follows at 100)
//   postrouting 250   egress, routes, ingress                        (`verdict`)
//
// Bridged packets take the same way through br_netfilter. A second table, at the ports of the bridges, binds addresses to interfaces.
import { DriverError } from '../../kernel/errors.ts';
import { hardwareAddress, type Plane, type PlaneEndpoint, type PlaneNetwork, type PlaneRoute, type PlaneRule } from '../../services/vpc/driver.ts';
import { contains, formatRange, layered, mergeRanges, parseCidr, type Range } from './cidr.ts';

/** Set on packets that have to pass the engine's rules between its bridges; `verdict` has the last word on them. */
export const MARK = '0x10000000';
export const METADATA_ADDRESS = '169.254.169.254';

export interface RulesetNames {
  table: string;
  /** The Linux interface of a network. */
  bridgeOf(networkId: string): string;
}

/** An interface of the host that belongs to an instance, and the address behind it. */
export interface BoundPort {
  interface: string;
  address: string;
}

const elements = (list: readonly string[]): string => (list.length === 0 ? '' : ` elements = { ${list.join(', ')} };`);

/** A set costs the kernel more to make than a plain comparison. */
const oneOf = (list: readonly string[]): string => (list.length === 1 ? (list[0] as string) : `{ ${list.join(', ')} }`);

/** Names things that are equal only once. */
class Names {
  readonly #prefix: string;
  readonly #known = new Map<string, string>();
  constructor(prefix: string) {
    this.#prefix = prefix;
  }
  /** Calls `make` when the key is new. */
  of(key: string, make?: (name: string) => void): string {
    const present = this.#known.get(key);
    if (present !== undefined) return present;
    const name = `${this.#prefix}${this.#known.size + 1}`;
    this.#known.set(key, name);
    make?.(name);
    return name;
  }
}

/** The whole of what is in force for a plane, as text for `nft --file -`. Equal planes make equal text. */
export function rulesetOf(plane: Plane, { table, bridgeOf }: RulesetNames): string {
  const chains: string[] = [];
  const chain = (name: string, lines: readonly string[]): void => {
    chains.push(`  chain ${name} {\n${lines.map((line) => `    ${line}\n`).join('')}  }`);
  };
  const sets: string[] = [];
  const networks = new Map(plane.networks.map((network) => [network.id, network]));
  const groups = new Map(plane.groups.map((group) => [group.id, group]));
  const endpoints = plane.endpoints.filter(({ networkId }) => networks.has(networkId));

  const members = new Map<string, string[]>();
  for (const { address, groups: of } of endpoints) for (const group of of) members.set(group, [...(members.get(group) ?? []), address]);
  const memberNames = new Names('members');
  const membersOf = (group: string): string =>
    memberNames.of(group, (name) => {
      sets.push(`  set ${name} { type ipv4_addr;${elements(members.get(group) ?? [])} }`);
    });

  /** Lines that lead to `verdict` for what one of the rules lets pass. */
  const ruleLines = (rules: readonly PlaneRule[], side: 'ingress' | 'egress', verdict: string): string[] => {
    // As the sender wrote it, or as the receiver sees it.
    const address = side === 'egress' ? 'ct original ip daddr' : 'ct reply ip daddr';
    const port = side === 'egress' ? 'ct original proto-dst' : 'ct reply proto-src';
    const cidrs = new Map<string, Range[]>();
    const peers = new Map<string, { protocol: string; ports: Set<string>; peer: string }>();
    const add = (protocol: string, ports: string, peer: string): void => {
      const key = `${protocol} ${ports === '' ? '' : 'ports'} ${peer}`;
      const found = peers.get(key) ?? { protocol, ports: new Set<string>(), peer };
      if (ports !== '') found.ports.add(ports);
      peers.set(key, found);
    };
    for (const { protocol, ports, peer } of rules) {
      const range = ports === undefined ? '' : ports.from === ports.to ? `${ports.from}` : `${ports.from}-${ports.to}`;
      if ('group' in peer) add(protocol, range, `@${membersOf(peer.group)}`);
      else {
        const key = `${protocol} ${range}`;
        cidrs.set(key, [...(cidrs.get(key) ?? []), rangeOf(peer.cidr)]);
      }
    }
    for (const [key, list] of cidrs) {
      const [protocol = '', range = ''] = key.split(' ');
      add(protocol, range, oneOf(mergeRanges(list).map(formatRange)));
    }
    return [...peers.values()].map(({ protocol, ports, peer }) =>
      [
        ...(protocol === 'all' ? [] : [`ct original protocol ${protocol}`]),
        ...(peer === '0.0.0.0-255.255.255.255' ? [] : [`${address} ${peer}`]),
        ...(ports.size === 0 ? [] : [`${port} ${oneOf(mergePorts([...ports]))}`]),
        verdict,
      ].join(' '),
    );
  };

  const routeNames = new Names('route');
  const routeChainOf = (network: PlaneNetwork, routes: readonly PlaneRoute[]): string => {
    const parts = reachOf(plane, network, routes).map(({ range, to }) => `${formatRange(range)} : ${to === 'drop' ? 'drop' : `goto ${to}`}`);
    return routeNames.of(parts.join(), (name) => chain(name, [`ct original ip daddr vmap { ${parts.join(', ')} }`, 'drop']));
  };
  const rulesOf = (of: readonly string[], side: 'ingress' | 'egress'): PlaneRule[] => of.flatMap((id) => groups.get(id)?.[side] ?? []);

  const senderNames = new Names('egress');
  const receiverNames = new Names('ingress');
  const publishedNames = new Names('published');
  const senders: string[] = [];
  const receivers: string[] = [];
  const published: string[] = [];
  const sources: string[] = [];
  const doors = new Set<string>();
  const publicOf = new Map(plane.publicAddresses.flatMap(({ address, endpoint }) => (endpoint === undefined ? [] : [[endpoint, address] as const])));
  const reachable: { address: string; endpoint: string }[] = [];
  for (const endpoint of endpoints) {
    const network = networks.get(endpoint.networkId) as PlaneNetwork;
    const { address } = endpoint;
    const routes = routesOf(network, address);
    const route = routeChainOf(network, routes);
    const of = endpoint.groups.join();
    senders.push(
      `${address} : goto ${senderNames.of(`${of} ${route}`, (name) => chain(name, [...ruleLines(rulesOf(endpoint.groups, 'egress'), 'egress', `goto ${route}`), 'drop']))}`,
    );
    receivers.push(
      `${address} : goto ${receiverNames.of(of, (name) => chain(name, [...ruleLines(rulesOf(endpoint.groups, 'ingress'), 'ingress', 'accept'), 'drop']))}`,
    );
    if (endpoint.published.length > 0) {
      const lines = publishedLines(endpoint);
      published.push(`${address} : jump ${publishedNames.of(lines.join('\n'), (name) => chain(name, lines))}`);
      for (const { hostAddress, hostPort, protocol } of endpoint.published) {
        // Loopback is not theirs to reach, and nft has IPv4 here.
        if (hostPort === 0 || hostAddress.startsWith('127.') || (hostAddress.includes(':') && hostAddress !== '::')) continue;
        const anywhere = hostAddress === '0.0.0.0' || hostAddress === '::';
        doors.add(`${anywhere ? '' : `ip daddr ${hostAddress} `}${protocol} dport ${hostPort} accept`);
      }
    }
    const elastic = publicOf.get(address);
    const out = routes.find(({ destination }) => destination === '0.0.0.0/0');
    const internet = routes.some(({ target }) => target === 'internet');
    if (elastic !== undefined && internet) {
      reachable.push({ address: elastic, endpoint: address });
      sources.push(`${address} : ${elastic}`);
    } else if (out?.target === 'nat' && out.source !== undefined) sources.push(`${address} : ${out.source}`);
  }

  const bridges = plane.networks.map(({ id }) => `"${bridgeOf(id)}"`);
  const ranges = plane.networks.map(({ cidr }) => cidr);
  const gateways = plane.networks.map(({ gateway }) => gateway);
  const { dns, metadata } = plane.services;
  for (const [index, { cidr, gateway }] of plane.networks.entries())
    chain(`network${index + 1}`, [`ip saddr != ${cidr} drop`, `ip saddr ${gateway} drop`, `ip daddr @gateways ip daddr != ${gateway} drop`]);
  const fromBridge = plane.networks.map(({ id }, index) => `"${bridgeOf(id)}" : jump network${index + 1}`);

  chain('deliver', [
    ...(published.length === 0 ? [] : [`ct status dnat ct original ip daddr != @public ct reply ip saddr vmap { ${published.join(', ')} }`]),
    ...(receivers.length === 0 ? [] : [`ct reply ip saddr vmap { ${receivers.join(', ')} }`]),
    'ct reply ip saddr @ranges drop',
    'accept',
  ]);
  // By a way out nobody gets to the private address of another network, nor out of the host under an elastic IP that leads nowhere.
  chain('internet', ['ct original ip daddr @ranges drop', 'ct original ip daddr @public ct status ! dnat drop', 'goto deliver']);
  chain('of_ours', [
    // The host itself, by a private address: whoever is root there is root here too. By an elastic IP it is one sender among others.
    'ct original ip saddr @gateways ct original ip daddr @public goto deliver',
    'ct original ip saddr @gateways accept',
    // Answers of the host itself: `host` has let the question in.
    'ct reply ip saddr @gateways accept',
    'ct original ip daddr { 224.0.0.0/4, 255.255.255.255 } drop',
    ...(senders.length === 0 ? [] : [`ct original ip saddr vmap { ${senders.join(', ')} }`]),
    'drop',
  ]);
  chain('of_others', ['ct original ip daddr @public goto deliver', 'ct status dnat goto deliver', 'drop']);
  chain('untracked', ['ip saddr @ranges drop', 'ip daddr @ranges drop']);

  const base = [
    `chain forged {
    type filter hook prerouting priority -150; policy accept;
    ${fromBridge.length === 0 ? '' : `iifname vmap { ${fromBridge.join(', ')} }`}
  }`,
    `chain inbound {
    type nat hook prerouting priority -110; policy accept;
    ${dns === undefined ? '' : `iifname @bridges ip daddr @gateways meta l4proto { tcp, udp } th dport 53 redirect to :${dns}`}
    ${metadata === undefined ? '' : `iifname @bridges ip daddr ${METADATA_ADDRESS} tcp dport 80 redirect to :${metadata}`}
    dnat to ip daddr map @elastic
  }`,
    `chain inbound_host {
    type nat hook output priority -110; policy accept;
    dnat to ip daddr map @elastic
  }`,
    `chain host {
    type filter hook input priority -5; policy accept;
    iifname != @bridges accept
    ct direction reply accept
    ip daddr @gateways icmp type echo-request accept
    ${dns === undefined ? '' : `ip daddr @gateways meta l4proto { tcp, udp } th dport ${dns} accept`}
    ${metadata === undefined ? '' : `ip daddr @gateways tcp dport ${metadata} accept`}
    ${[...doors].sort().join('\n    ')}
    drop
  }`,
    ...(metadata === undefined
      ? []
      : [
          // An answer with a token or user data in it goes no further than to the instance: not to what that forwards for.
          `chain near {
    type filter hook output priority 0; policy accept;
    ct direction reply ct original ip daddr ${METADATA_ADDRESS} ip ttl set 1
  }`,
        ]),
    `chain open {
    type filter hook forward priority -5; policy accept;
    iifname @bridges oifname @bridges meta mark set meta mark | ${MARK}
    ct original ip daddr @public meta mark set meta mark | ${MARK}
  }`,
    `chain outbound {
    type nat hook postrouting priority 90; policy accept;
    ip saddr != @ranges return
    ip saddr @gateways return
    oifname != @bridges masquerade
    ct status ! dnat return
    snat to ip saddr map @sources
    masquerade
  }`,
    `chain verdict {
    type filter hook postrouting priority 250; policy accept;
    ct state invalid,untracked jump untracked
    ct original ip saddr @ranges goto of_ours
    ct reply ip saddr @ranges goto of_others
  }`,
  ];
  const frame = [
    `  set bridges { type ifname;${elements(bridges)} }`,
    `  set ranges { type ipv4_addr; flags interval;${elements(ranges)} }`,
    `  set gateways { type ipv4_addr;${elements(gateways)} }`,
    `  set public { type ipv4_addr;${elements(plane.publicAddresses.map(({ address }) => address))} }`,
    `  map elastic { type ipv4_addr : ipv4_addr;${elements(reachable.map(({ address, endpoint }) => `${address} : ${endpoint}`))} }`,
    `  map sources { type ipv4_addr : ipv4_addr;${elements(sources)} }`,
  ];
  return [
    `table ip ${table}`,
    `delete table ip ${table}`,
    `table ip ${table} {`,
    ...frame,
    ...sets,
    ...inOrder(chains),
    ...base.map((text) => `  ${text.replace(/\n\s*\n/g, '\n')}`),
    '}',
    '',
  ].join('\n');
}

/** Only the bridges' own table: which addresses may be spoken from, and from which interface. */
export function bindingOf(plane: Plane, table: string, ports: readonly BoundPort[]): string {
  const ranges = plane.networks.map(({ cidr }) => cidr);
  const pairs = plane.endpoints.map(({ address }) => `${hardwareAddress(address)} . ${address}`);
  const known = new Set(plane.endpoints.map(({ address }) => address));
  const bound = ports.filter(({ address }) => known.has(address));
  return `table bridge ${table}
delete table bridge ${table}
table bridge ${table} {
  set ranges { type ipv4_addr; flags interval;${elements(ranges)} }
  set pairs { type ether_addr . ipv4_addr;${elements(pairs)} }
  set ports { type ifname;${elements(bound.map((port) => `"${port.interface}"`))} }
  set bound { type ifname . ether_addr;${elements(bound.map((port) => `"${port.interface}" . ${hardwareAddress(port.address)}`))} }
  chain forged {
    type filter hook prerouting priority -300; policy accept;
    arp saddr ip @ranges arp saddr ether . arp saddr ip != @pairs drop
    ip saddr @ranges ether saddr . ip saddr != @pairs drop
    iifname @ports iifname . ether saddr != @bound drop
    iifname @ports ether type != { ip, arp } drop
  }
}
`;
}

/** A chain has to be there before another leads to it. */
function inOrder(chains: readonly string[]): string[] {
  const nameOf = (text: string): string => /chain (\S+)/.exec(text)?.[1] ?? '';
  const left = new Map(chains.map((text) => [nameOf(text), text]));
  const ordered: string[] = [];
  const take = (name: string): void => {
    const text = left.get(name);
    if (text === undefined) return;
    left.delete(name);
    for (const [, target = ''] of text.matchAll(/(?:goto|jump) (\w+)/g)) take(target);
    ordered.push(text);
  };
  for (const name of [...left.keys()]) take(name);
  return ordered;
}

/** The routes that an address has. */
export function routesOf(network: PlaneNetwork, address: string): readonly PlaneRoute[] {
  const subnet = network.subnets.filter(({ cidr }) => contains(rangeOf(cidr), address)).sort((a, b) => prefixOf(b.cidr) - prefixOf(a.cidr))[0];
  return subnet?.routes ?? network.routes;
}

const prefixOf = (cidr: string): number => Number(cidr.split('/')[1]);

/** What is stored was checked when it was written. */
function rangeOf(cidr: string): Range {
  const range = parseCidr(cidr);
  if (range === undefined) throw new DriverError('bad_spec', `${cidr} is not an IPv4 network`);
  return range;
}

/** Where each destination leads, as ranges that do not overlap: the longest prefix decides, and the network's own range before all. */
function reachOf(plane: Plane, network: PlaneNetwork, routes: readonly PlaneRoute[]): { range: Range; to: string }[] {
  const peers = plane.peerings
    .filter(({ networks }) => networks.includes(network.id))
    .flatMap(({ networks }) => plane.networks.filter(({ id }) => id !== network.id && networks.includes(id)));
  const layers = [
    ...routes.map(({ destination, target }) => ({ cidr: destination, to: target === 'blackhole' ? 'drop' : 'internet', rank: 0 })),
    ...peers.map(({ cidr }) => ({ cidr, to: 'deliver', rank: 0.5 })),
    { cidr: network.cidr, to: 'deliver', rank: 100 },
  ].sort((a, b) => prefixOf(a.cidr) + a.rank - (prefixOf(b.cidr) + b.rank));
  return layered(layers.map(({ cidr, to }) => ({ range: rangeOf(cidr), value: to }))).map(({ range, value }) => ({ range, to: value }));
}

const publishedLines = ({ published }: PlaneEndpoint): string[] =>
  (['tcp', 'udp'] as const).flatMap((protocol) => {
    const ports = [...new Set(published.filter((mapping) => mapping.protocol === protocol).map(({ instancePort }) => instancePort))];
    return ports.length === 0 ? [] : [`ct original protocol ${protocol} ct reply proto-src { ${ports.sort((a, b) => a - b).join(', ')} } accept`];
  });

/** Port ranges as nft takes them: sorted, none overlapping. */
function mergePorts(texts: readonly string[]): string[] {
  const ranges = texts.map((text) => text.split('-').map(Number)).map(([from = 0, to = from]) => ({ from, to }));
  const merged: { from: number; to: number }[] = [];
  for (const { from, to } of ranges.sort((a, b) => a.from - b.from)) {
    const last = merged.at(-1);
    if (last !== undefined && from <= last.to + 1) last.to = Math.max(last.to, to);
    else merged.push({ from, to });
  }
  return merged.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`));
}
