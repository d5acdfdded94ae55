// Where a request came from: the peer, or, behind a proxy that is trusted by name, whom that proxy saw.
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';
import { Fault } from '@thecloud/core/contracts';

export interface Sources {
  /** The address for audit, policies and limits. */
  of(request: IncomingMessage): string;
  /** Whether this peer speaks for others. */
  isProxy(address: string): boolean;
}

/** `::ffff:10.0.0.1` is `10.0.0.1`, and an interface says nothing about who it is. */
const plain = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');

/** Proxies as addresses or CIDR blocks. Throws `invalid_input`. Without any, headers are never believed. */
export function sourcesOf(proxies: readonly string[]): Sources {
  const trusted = new BlockList();
  for (const proxy of proxies) addTo(trusted, proxy);
  const isProxy = (address: string): boolean => proxies.length > 0 && trusted.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
  return {
    isProxy: (address) => isIP(plain(address)) !== 0 && isProxy(plain(address)),
    of(request) {
      let source = plain(request.socket.remoteAddress ?? '');
      if (isIP(source) === 0) return 'tcp';
      if (!isProxy(source)) return source;
      const forwarded = [request.headers['x-forwarded-for'] ?? []].flat().join(',').split(',');
      // From the right: what stands left of an untrusted address is what that one claims.
      for (const hop of forwarded.reverse().map((text) => hopOf(text))) {
        if (hop === undefined) break;
        source = hop;
        if (!isProxy(source)) break;
      }
      return source;
    },
  };
}

/** Some proxies add a port. Undefined: not an address, so nothing further left can be believed either. */
function hopOf(text: string): string | undefined {
  const hop = plain(
    text
      .trim()
      .replace(/^\[(.+)\](?::\d+)?$/, '$1')
      .replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1'),
  );
  return isIP(hop) === 0 ? undefined : hop;
}

function addTo(list: BlockList, text: string): void {
  const [, address = '', bits] = /^(.*?)(?:\/(\d{1,3}))?$/.exec(text.trim()) ?? [];
  const family = isIP(address);
  const length = family === 6 ? 128 : 32;
  if (family === 0 || Number(bits ?? length) > length) {
    throw new Fault('invalid_input', `"${text}" is no address or block of addresses of proxies`, { hint: 'cloud daemon start --trusted-proxy 10.0.0.0/8' });
  }
  if (bits === undefined) list.addAddress(address, family === 6 ? 'ipv6' : 'ipv4');
  else list.addSubnet(address, Number(bits), family === 6 ? 'ipv6' : 'ipv4');
}

/** What limits count by: an IPv4 address, or the /64 that one customer has of IPv6. */
export function limitKeyOf(address: string): string {
  const source = plain(address);
  if (isIP(source) !== 6) return source;
  const [head = '', tail] = source.split('::');
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    const after = tail === '' ? 0 : tail.split(':').length + (tail.includes('.') ? 1 : 0);
    const missing = 8 - groups.length - after;
    groups.push(...Array<string>(Math.max(0, missing)).fill('0'), ...tail.split(':'));
  }
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}
