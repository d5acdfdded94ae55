// The resolver as packets meet it: what it passes on and what it does not, what does not fit, and what is no question at all.
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { memoryDrivers } from '../../drivers/memory/index.ts';
import { ManualClock, systemClock } from '../../kernel/clock.ts';
import { dataOf, valueOf } from '../../kernel/dns/rdata.ts';
import { askByTcp, framed } from '../../kernel/dns/tcp.ts';
import {
  decode,
  encode,
  FLAGS,
  IN,
  labelsOf,
  lower,
  Malformed,
  type Message,
  nameOf,
  RCODES,
  rcodeName,
  readQuestion,
  TYPES,
  textOf,
  type WireRecord,
} from '../../kernel/dns/wire.ts';
import { DriverError } from '../../kernel/errors.ts';
import { silent } from '../../kernel/log.ts';
import { zonesOf } from './content.ts';
import { Door } from './door.ts';
import { Gateways } from './gateways.ts';
import { zoneInside } from './names.ts';
import { questionFor, Resolver, type View, viewOf } from './resolver.ts';
import type { VpcFacts } from './rows.ts';
import { askServers, HostResolvers, nameserversIn, type Upstream } from './upstream.ts';

const signal = new AbortController().signal;
const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

const facts = (change: Partial<VpcFacts> = {}): VpcFacts => ({
  id: 'vpc-0000000000000000',
  tenantId: 'tnt-0000000000000000',
  cidr: '127.0.0.0/16',
  gateway: '127.0.0.1',
  ready: true,
  internet: true,
  zones: [
    {
      id: 'zone-1',
      domain: 'prod.internal',
      ttl: 60,
      autoRegister: true,
      createdAt: 1,
      records: [
        { fqdn: 'www.prod.internal', type: 'A', values: ['10.20.0.9'] },
        { fqdn: 'out.prod.internal', type: 'CNAME', values: ['www.example.com.'] },
        { fqdn: 'hop.prod.internal', type: 'CNAME', values: ['db.other.internal.'] },
        { fqdn: 'many.prod.internal', type: 'A', values: Array.from({ length: 200 }, (_, n) => `10.21.0.${n}`) },
        { fqdn: 'prod.internal', type: 'MX', values: ['10 mail.prod.internal.', '20 mail.example.com.'] },
        { fqdn: '_sip._tcp.prod.internal', type: 'SRV', values: ['0 5 5060 sip.prod.internal.'] },
      ],
    },
    {
      id: 'zone-2',
      domain: 'other.internal',
      ttl: 60,
      autoRegister: false,
      createdAt: 2,
      records: [{ fqdn: 'db.other.internal', type: 'A', values: ['10.20.0.10'] }],
    },
  ],
  instances: [{ name: 'web', address: '127.0.0.7' }],
  ...change,
});

/** An outside that knows everything as 192.0.2.1, and remembers what it was asked. */
function outside() {
  const asked: string[] = [];
  const upstream: Upstream = {
    async ask(message) {
      const { id, flags, question } = decode(message);
      if (question === undefined) throw new Error('no question');
      asked.push(textOf(question.name));
      const data = dataOf('A', '192.0.2.1');
      const answers: WireRecord[] = question.type === TYPES.A ? [{ name: question.name, type: TYPES.A, class: IN, ttl: 30, data }] : [];
      return encode({ id, flags: FLAGS.QR | FLAGS.RA | (flags & FLAGS.RD), rcode: 0, question, answers, authority: [], additional: [], edns: undefined });
    },
  };
  return { asked, upstream };
}

async function resolver(of: VpcFacts = facts()) {
  const { drivers, faults } = memoryDrivers();
  for (const zone of zonesOf(of)) await drivers.dns.ensure(zoneInside(zone, of.id), signal);
  const { asked, upstream } = outside();
  const it = new Resolver({ driver: drivers.dns, upstream, log: silent });
  const view = viewOf(of);
  const ask = async (name: string, type: keyof typeof TYPES = 'A') => {
    const { message, from } = await it.resolve(view, questionFor(nameOf(name), TYPES[type]), undefined, signal);
    return {
      status: rcodeName(message.rcode),
      from,
      values: message.answers.map((record) => `${textOf(record.name)} ${valueOf(record)}`),
      authority: message.authority.map(({ name: owner }) => textOf(owner)),
    };
  };
  return { it, view, ask, asked, faults };
}

test('names of the zones come back as they were asked for, and never leave', async () => {
  const { ask, asked } = await resolver();
  expect(await ask('WWW.Prod.Internal')).toEqual({ status: 'NOERROR', from: 'zone', values: ['WWW.Prod.Internal. 10.20.0.9'], authority: [] });
  expect(await ask('web.prod.internal')).toMatchObject({ values: ['web.prod.internal. 127.0.0.7'] });
  expect(await ask('7.0.0.127.in-addr.arpa', 'PTR')).toMatchObject({ values: ['7.0.0.127.in-addr.arpa. web.prod.internal.'] });
  expect(await ask('prod.internal', 'MX')).toMatchObject({ values: ['prod.internal. 10 mail.prod.internal.', 'prod.internal. 20 mail.example.com.'] });
  expect(await ask('_sip._tcp.prod.internal', 'SRV')).toMatchObject({ values: ['_sip._tcp.prod.internal. 0 5 5060 sip.prod.internal.'] });
  expect(await ask('nobody.prod.internal')).toEqual({ status: 'NXDOMAIN', from: 'zone', values: [], authority: ['prod.internal.'] });
  expect((await ask('prod.internal', 'SOA')).values[0]).toContain('ns.prod.internal. hostmaster.prod.internal.');
  expect((await ask('hop.prod.internal')).values).toEqual(['hop.prod.internal. db.other.internal.', 'db.other.internal. 10.20.0.10']);
  expect((await ask(`${'a.'.repeat(110)}prod.internal`)).status).toBe('NXDOMAIN');
  expect(asked).toEqual([]);
});

test('other names go outside where the VPC may, those of private networks nowhere', async () => {
  const open = await resolver();
  expect(await open.ask('www.example.com')).toEqual({ status: 'NOERROR', from: 'outside', values: ['www.example.com. 192.0.2.1'], authority: [] });
  expect((await open.ask('out.prod.internal')).values).toEqual(['out.prod.internal. www.example.com.', 'www.example.com. 192.0.2.1']);
  for (const name of [
    'db',
    'localhost',
    'x.localhost',
    'printer.local',
    'x.internal',
    '1.2.3.10.in-addr.arpa',
    '1.0.16.172.in-addr.arpa',
    'x.onion',
    '1.0.64.100.in-addr.arpa',
  ])
    expect(await open.ask(name), name).toMatchObject({ status: 'NXDOMAIN', from: 'nobody' });
  expect(open.asked).toEqual(['www.example.com.', 'www.example.com.']);
  const closed = await resolver(facts({ internet: false }));
  expect(await closed.ask('www.example.com')).toMatchObject({ status: 'REFUSED', from: 'nobody' });
  expect(await closed.ask('out.prod.internal')).toMatchObject({ status: 'NOERROR', values: ['out.prod.internal. www.example.com.'] });
  expect(closed.asked).toEqual([]);
});

test('a label with a dot in it is not two labels', async () => {
  const { ask, asked } = await resolver();
  expect(await ask(String.raw`www\.prod.internal`)).toMatchObject({ from: 'nobody' });
  expect(await ask(String.raw`x.www\.prod.internal`)).toMatchObject({ from: 'nobody' });
  expect(asked).toEqual([]);
});

test('a server that does not answer is SERVFAIL, soon, and the name stays here', async () => {
  const { ask, asked, faults } = await resolver();
  faults.fail('dns.query', 1, new DriverError('unavailable', 'away'));
  expect(await ask('www.prod.internal')).toMatchObject({ status: 'SERVFAIL', from: 'zone' });
  expect(asked).toEqual([]);
});

const packet = (
  name: string,
  { type = TYPES.A as number, size, id = 4711, version = 0 }: { type?: number; size?: number; id?: number; version?: number } = {},
): Buffer => {
  const edns = size === undefined ? undefined : { size, version, extended: 0 };
  return encode({ id, flags: FLAGS.RD, rcode: 0, question: { name: nameOf(name), type, class: IN }, answers: [], authority: [], additional: [], edns });
};

test('what does not fit is cut, and whole by TCP', async () => {
  const { it, view } = await resolver();
  const answered = async (bytes: Buffer, by: 'udp' | 'tcp') => {
    const answer = (await it.answer(view, bytes, by, signal)) as Buffer;
    return { ...decode(answer), length: answer.length };
  };
  for (const size of [undefined, 512, 4096, 0]) {
    const cut = await answered(packet('many.prod.internal', size === undefined ? {} : { size }), 'udp');
    expect(cut.length).toBeLessThanOrEqual(Math.max(512, Math.min(size ?? 512, 1232)));
    expect(cut.flags & FLAGS.TC).not.toBe(0);
    expect(cut.answers).toEqual([]);
  }
  expect((await answered(packet('many.prod.internal'), 'tcp')).answers).toHaveLength(200);
  expect((await answered(packet('www.prod.internal', { size: 1232, version: 1 }), 'udp')).rcode).toBe(RCODES.BADVERS);
  expect((await answered(packet('prod.internal', { type: TYPES.AXFR }), 'tcp')).rcode).toBe(RCODES.REFUSED);
  expect((await answered(packet('prod.internal', { type: TYPES.ANY, size: 1232 }), 'udp')).answers.length).toBeGreaterThan(1);
});

test('nothing that anybody sends does harm', async () => {
  const { it, view, asked } = await resolver();
  const valid = packet('www.prod.internal', { size: 1232 });
  const bent = fc
    .array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { maxLength: 6 })
    .chain((changes) => fc.nat(valid.length).map((end) => ({ changes, end })))
    .map(({ changes, end }) => {
      const copy = Buffer.from(valid);
      for (const [at, byte] of changes) copy[at] = byte;
      return copy.subarray(0, end);
    });
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.uint8Array({ maxLength: 600 }).map(Buffer.from), bent), fc.constantFrom('udp' as const, 'tcp' as const), async (bytes, by) => {
      const answer = await it.answer(view, Buffer.from(bytes), by, signal);
      if (answer === undefined) return bytes.length < 12 || (bytes[2] as number) >= 0x80;
      const message = decode(answer);
      expect(message.flags & FLAGS.QR).not.toBe(0);
      expect(message.id).toBe(Buffer.from(bytes).readUInt16BE(0));
      return true;
    }),
    { numRuns: 3000 },
  );
  expect(asked.some((name) => name.endsWith('prod.internal.'))).toBe(false);
});

test('messages are the same after a round trip, however they are compressed', () => {
  const label = fc.uint8Array({ minLength: 1, maxLength: 20 }).map((bytes) => String.fromCharCode(bytes.length) + Buffer.from(bytes).toString('latin1'));
  const name = fc.array(label, { maxLength: 6 }).map((labels) => `${labels.join('')}\0`);
  const record = fc.oneof(
    fc.record({
      name,
      type: fc.constant(TYPES.A as number),
      class: fc.constant(IN),
      ttl: fc.nat(),
      data: fc.uint8Array({ minLength: 4, maxLength: 4 }).map((of) => Buffer.from(of)),
    }),
    fc.record({
      name,
      type: fc.constantFrom<number>(TYPES.CNAME, TYPES.NS, TYPES.PTR),
      class: fc.constant(IN),
      ttl: fc.nat(),
      data: name.map((of) => Buffer.from(of, 'latin1')),
    }),
    fc.record({
      name,
      type: fc.constant(TYPES.MX as number),
      class: fc.constant(IN),
      ttl: fc.nat(),
      data: name.map((of) => Buffer.concat([Buffer.from([0, 10]), Buffer.from(of, 'latin1')])),
    }),
    fc.record({ name, type: fc.constant(65_280), class: fc.constant(IN), ttl: fc.nat(), data: fc.uint8Array({ maxLength: 40 }).map((of) => Buffer.from(of)) }),
  );
  const section = fc.array(record, { maxLength: 8 });
  // A name that differs in case only is written as the one before it.
  const small = (records: WireRecord[]) =>
    records.map((of) => ({ ...of, name: lower(of.name), data: Buffer.from(lower(of.data.toString('latin1')), 'latin1') }));
  fc.assert(
    fc.property(name, section, section, section, (asked, answers, authority, additional) => {
      const message: Message = {
        id: 1,
        flags: FLAGS.QR,
        opcode: 0,
        rcode: 0,
        question: { name: asked, type: 1, class: IN },
        answers,
        authority,
        additional,
        edns: { size: 1232, version: 0, extended: 0 },
      };
      const back = decode(encode(message));
      expect(back.question?.name).toBe(asked);
      expect(small(back.answers)).toEqual(small(answers));
      expect(small(back.authority)).toEqual(small(authority));
      expect(small(back.additional)).toEqual(small(additional));
    }),
  );
  fc.assert(fc.property(name, (of) => nameOf(textOf(of)) === of));
});

test('a pointer that leads in a circle, or forward, is no name', () => {
  const head = Buffer.from('000001000001000000000000', 'hex');
  for (const name of ['c00c', 'c010', 'c0ff', '01', '3f61', '80', '4001', '01610161c00c'])
    expect(() => readQuestion(Buffer.concat([head, Buffer.from(name, 'hex'), Buffer.from('00010001', 'hex')])), name).toThrow(Malformed);
  expect(() => nameOf(`${'a'.repeat(64)}.b`)).toThrow(Malformed);
  expect(() => nameOf(`${'a.'.repeat(128)}b`)).toThrow(Malformed);
  expect(() => nameOf('a..b')).toThrow(Malformed);
  expect(labelsOf(nameOf('a.b'))).toEqual([0, 2, 4]);
});

async function door(view: View, answer: ConstructorParameters<typeof Door>[1]): Promise<Door> {
  const it = new Door(view, answer, () => undefined);
  closing.push(() => it.close());
  await it.open('127.0.0.1', 0);
  return it;
}

/** Answers of one UDP socket bound to an address. */
async function udp(address: string) {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, address, resolve));
  closing.push(async () => socket.close());
  const got: Buffer[] = [];
  socket.on('message', (message) => got.push(message));
  return { got, send: (bytes: Buffer, port: number) => socket.send(bytes, port, '127.0.0.1') };
}
const soon = async (what: () => boolean): Promise<void> => {
  for (let n = 0; n < 400 && !what(); n++) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(what()).toBe(true);
};

test('a door answers its VPC by UDP and TCP, and nobody else', async () => {
  const { it, view } = await resolver();
  const open = await door(view, (...of) => it.answer(...of));
  const inside = await udp('127.0.0.1');
  const stranger = await udp('127.1.0.1');
  stranger.send(packet('www.prod.internal'), open.port);
  inside.send(Buffer.from('nonsense'), open.port);
  inside.send(packet('www.prod.internal'), open.port);
  await soon(() => inside.got.length === 1);
  expect(valueOf(decode(inside.got[0] as Buffer).answers[0] as WireRecord)).toBe('10.20.0.9');
  expect(stranger.got).toEqual([]);
  const whole = decode(await askByTcp(packet('many.prod.internal'), { host: '127.0.0.1', port: open.port }, signal));
  expect(whole.answers).toHaveLength(200);
});

test('by TCP: many questions at once, in pieces; too many, too long or nonsense ends the connection', async () => {
  const { it, view } = await resolver();
  const open = await door(view, (...of) => it.answer(...of));
  const talk = async (...pieces: Buffer[]): Promise<{ bytes: number; ended: boolean }> => {
    const socket = connect({ port: open.port, host: '127.0.0.1', noDelay: true });
    let bytes = 0;
    let ended = false;
    socket.on('data', (of) => (bytes += of.length)).on('error', () => undefined);
    socket.on('close', () => (ended = true));
    for (const piece of pieces) {
      socket.write(piece);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await new Promise((resolve) => setTimeout(resolve, 60));
    socket.destroy();
    return { bytes, ended };
  };
  const frame = framed(packet('www.prod.internal'));
  const { bytes } = await talk(frame);
  expect((await talk(frame.subarray(0, 1), frame.subarray(1, 9), Buffer.concat([frame.subarray(9), frame, frame]))).bytes).toBe(3 * bytes);
  expect(await talk(Buffer.from([0xff, 0xff, 1]))).toMatchObject({ ended: true });
  expect(await talk(framed(Buffer.from('x')))).toMatchObject({ ended: true });
});

test('one who asks too much does not take from the others', async () => {
  const { view } = await resolver();
  let open = 0;
  let most = 0;
  const held: (() => void)[] = [];
  const it = await door(view, async (_view, bytes) => {
    if (readQuestion(bytes).question.name === nameOf('slow')) {
      most = Math.max(most, ++open);
      await new Promise<void>((resolve) => held.push(resolve));
      open--;
    }
    return bytes;
  });
  const greedy = await udp('127.0.0.2');
  for (let n = 0; n < 500; n++) greedy.send(packet('slow', { id: n }), it.port);
  await soon(() => open === 128);
  const other = await udp('127.0.0.3');
  other.send(packet('quick'), it.port);
  await soon(() => other.got.length === 1);
  expect(most).toBe(128);
  for (const go of held) go();
});

test('a gateway that is not there yet is tried again; a port that somebody has is not insisted on', async () => {
  const { it, view } = await resolver();
  const clock = new ManualClock(0);
  const ports: number[] = [];
  const holder = createSocket('udp4');
  await new Promise<void>((resolve) => holder.bind(0, '127.0.0.1', resolve));
  const taken = holder.address().port;
  const next = taken === 65_535 ? taken - 1 : taken + 1;
  const gateways = new Gateways({
    answer: (...of) => it.answer(...of),
    clock,
    log: silent,
    onPort: async (port) => void ports.push(port),
    ports: [taken, next],
  });
  closing.push(
    () => gateways.close(),
    async () => holder.close(),
  );
  // An address that this machine does not have.
  gateways.update(view.tenantId, [{ ...view, gateway: '192.0.2.77' }]);
  await clock.advance(10);
  expect(ports).toEqual([]);
  gateways.update(view.tenantId, [view]);
  for (let n = 0; n < 50 && ports.length === 0; n++) {
    await clock.advance(1000);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  expect(ports).toEqual([next]);
  await gateways.led;
  const answer = decode(await askByTcp(packet('www.prod.internal'), { host: '127.0.0.1', port: next }, signal));
  expect(answer.answers).toHaveLength(1);
  gateways.update(view.tenantId, []);
  for (let n = 0; n < 20; n++) await new Promise((resolve) => setTimeout(resolve, 5));
  await expect(askByTcp(packet('www.prod.internal'), { host: '127.0.0.1', port: next }, signal)).rejects.toThrow('does not answer');
});

test('resolvers of the host: the next when one has trouble, and only answers to what was asked', async () => {
  expect(nameserversIn('# nameserver 1.1.1.1\nsearch x\nnameserver 192.0.2.1\n nameserver fd00::1 # six\nnameserver nonsense\noptions edns0')).toEqual([
    { host: '192.0.2.1', port: 53 },
    { host: 'fd00::1', port: 53 },
  ]);
  const server = async (answer: (question: Buffer) => Buffer[]) => {
    const socket = createSocket('udp4');
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
    closing.push(async () => socket.close());
    socket.on('message', (bytes, { port, address }) => {
      for (const each of answer(bytes)) socket.send(each, port, address);
    });
    return { host: '127.0.0.1', port: socket.address().port };
  };
  const reply = (question: Buffer, rcode: number): Buffer => encode({ ...decode(question), flags: FLAGS.QR, rcode });
  const failing = await server((question) => [reply(question, RCODES.SERVFAIL)]);
  const lying = await server((question) => {
    const wrongId = reply(question, 0);
    wrongId.writeUInt16BE((question.readUInt16BE(0) + 1) & 0xffff, 0);
    const other = encode({ ...decode(question), flags: FLAGS.QR, question: { name: nameOf('evil.example.'), type: 1, class: IN } });
    return [wrongId, other, Buffer.from('x'), question, reply(question, RCODES.NXDOMAIN)];
  });
  const asked = packet('www.example.com', { id: 99 });
  const answer = decode(await askServers([failing, lying], asked, 'udp', signal));
  expect(answer).toMatchObject({ id: 99, rcode: RCODES.NXDOMAIN });
  expect(textOf(answer.question?.name ?? '')).toBe('www.example.com.');
  expect(decode(await askServers([failing], asked, 'udp', signal)).rcode).toBe(RCODES.SERVFAIL);
  await expect(askServers([], asked, 'udp', signal)).rejects.toThrow('no resolver');
  await expect(new HostResolvers(systemClock, '/nonexistent/resolv.conf').ask(asked, 'udp', signal)).rejects.toThrow('no resolver');
});
