// Posting to an address that a tenant chose, from inside the machine: never to the machine itself, nor where clouds keep what only machines may know.
import { createSocket } from 'node:dgram';
import { lookup as resolve } from 'node:dns';
import { request as overHttp } from 'node:http';
import { request as overHttps } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { networkInterfaces } from 'node:os';
import { addressOf, type Block, blockOf, inBlock } from '../../kernel/policy/address.ts';

const TIMEOUT_MS = 10_000;
/** With this set to `1` in the daemon's environment, webhooks reach the machine itself: for those who run it alone. */
const TO_HOST = 'CLOUD_WEBHOOKS_TO_HOST';

const blocks = (...texts: string[]): Block[] => texts.map((text) => blockOf(text) as Block);
/** Where nothing of a tenant's can be: this network, link-local (metadata of clouds), multicast, and what is reserved. */
const NEVER = blocks(
  ...['169.254.0.0/16', '224.0.0.0/4', '240.0.0.0/4', 'fe80::/10', 'ff00::/8'],
  // Metadata and helpers of clouds that are not link-local.
  ...['100.100.100.200/32', '168.63.129.16/32', '192.0.0.0/24', 'fd00:ec2::254/128', 'fd20:ce::254/128'],
  // Tunnels, and translation that each network has its own way of.
  ...['2001::/32', '64:ff9b:1::/48'],
);
const OWN = blocks('127.0.0.0/8', '0.0.0.0/8', '::1/128', '::/128');
/** IPv6 addresses that carry an IPv4 one, and where in them it stands: NAT64, 6to4, "compatible" and "translated" ones. */
const CARRIERS = [
  { block: blockOf('::/96') as Block, at: 12 },
  { block: blockOf('::ffff:0:0:0/96') as Block, at: 12 },
  { block: blockOf('64:ff9b::/96') as Block, at: 12 },
  { block: blockOf('2002::/16') as Block, at: 2 },
];

/** Why nothing is posted there; undefined for what may be, and for names, which are looked at when they are resolved. */
function refuseAddress(host: string): string | undefined {
  const text = host.replace(/^\[(.*)\]$/, '$1').replace(/%.*$/, '');
  const toHost = process.env[TO_HOST] === '1';
  if (!toHost && /^(.+\.)?localhost\.?$/i.test(text)) return 'this is the machine itself, which webhooks do not reach';
  if (isIP(text) === 0) return undefined;
  const address = addressOf(text);
  if (address === undefined) return 'this is no address';
  const carried = CARRIERS.flatMap(({ block, at }) => (inBlock(block, address) ? [address.slice(at, at + 4)] : []));
  for (const one of [address, ...carried]) {
    if (NEVER.some((block) => inBlock(block, one))) return 'webhooks do not reach link-local, multicast and reserved addresses';
    if (!toHost && (OWN.some((block) => inBlock(block, one)) || ownAddresses().some((own) => same(own, one)))) {
      return 'this is the machine itself, which webhooks do not reach';
    }
  }
  return undefined;
}

/** The same, and whether an address is the machine's own though no interface tells of it: those without a carrier (a bridge that nobody is on) are left out there. */
export async function refuseHost(host: string): Promise<string | undefined> {
  const problem = refuseAddress(host);
  if (problem !== undefined || process.env[TO_HOST] === '1') return problem;
  const address = addressOf(host.replace(/^\[(.*)\]$/, '$1').replace(/%.*$/, ''));
  if (address === undefined) return undefined;
  const source = await sourceTo(address);
  return source !== undefined && same(source, address) ? 'this is the machine itself, which webhooks do not reach' : undefined;
}

/** The address that the system would send from: its own addresses it reaches from themselves. Nothing is sent. Undefined: there is no way there. */
function sourceTo(address: readonly number[]): Promise<number[] | undefined> {
  const four = address.length === 4;
  const text = four ? address.join('.') : address.map((byte, at) => (at % 2 === 0 && at > 0 ? ':' : '') + byte.toString(16).padStart(2, '0')).join('');
  const { promise, resolve: found } = Promise.withResolvers<number[] | undefined>();
  const socket = createSocket(four ? 'udp4' : 'udp6');
  socket.once('error', () => found(undefined));
  socket.once('connect', () => found(addressOf(socket.address().address)));
  socket.connect(DISCARD, text);
  return promise.finally(() => socket.close());
}
const DISCARD = 9;

const same = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((byte, index) => byte === b[index]);
const ownAddresses = (): number[][] =>
  Object.values(networkInterfaces()).flatMap((addresses) =>
    (addresses ?? []).flatMap(({ address }) => {
      const own = addressOf(address.replace(/%.*$/, ''));
      return own === undefined ? [] : [own];
    }),
  );

/** Looks at what a name stands for at the moment of connecting, so that a name cannot change its mind in between. */
const guarded: LookupFunction = (host, options, done) => {
  resolve(host, { ...options, all: true }, (error, addresses) => {
    if (error !== null) return done(error, '', 0);
    const look = async (): Promise<void> => {
      const refused = await refusedOf(addresses);
      if (refused !== undefined) return done(new Error(`${host} is ${refused}`), '', 0);
      const [first] = addresses;
      if (first === undefined) return done(new Error(`${host} has no address`), '', 0);
      if (options.all === true) return done(null, addresses as never, undefined as never);
      return done(null, first.address, first.family);
    };
    look().catch((failure: Error) => done(failure, '', 0));
  });
};

async function refusedOf(addresses: readonly { address: string }[]): Promise<string | undefined> {
  for (const { address } of addresses) {
    const problem = await refuseHost(address);
    if (problem !== undefined) return `${address}: ${problem}`;
  }
  return undefined;
}

/** Resolves when the far end has answered 2xx. Redirects are not followed: they could lead anywhere. */
export async function postTo(address: string, body: string, { id, version, signal }: { id: string; version: string; signal: AbortSignal }): Promise<void> {
  const url = new URL(address);
  const problem = await refuseHost(url.hostname);
  if (problem !== undefined) throw new Error(problem);
  const both = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const bytes = Buffer.from(body);
  const status = await new Promise<number>((done, failed) => {
    const request = (url.protocol === 'https:' ? overHttps : overHttp)(
      url,
      {
        method: 'POST',
        lookup: guarded,
        agent: false,
        signal: both,
        headers: {
          'content-type': 'application/json; charset=utf-8',
          'content-length': bytes.length,
          'user-agent': `thecloud/${version}`,
          'x-cloud-event-id': id,
        },
      },
      (response) => {
        done(response.statusCode ?? 0);
        // What it says is not read: the connection goes.
        response.on('error', () => undefined);
        response.destroy();
      },
    );
    request.on('error', failed);
    request.end(bytes);
  });
  if (status < 200 || status > 299) throw new Error(`the webhook answered with ${status}`);
}
