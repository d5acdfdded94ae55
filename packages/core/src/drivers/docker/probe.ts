// A packet out of an instance, sent by this process's own program within the instance's network namespace: the instance needs no tools for it.
import { readFile } from 'node:fs/promises';
import { DriverError } from '../../kernel/errors.ts';
import type { ProbePacket } from '../../services/vpc/driver.ts';
import { run } from './tools.ts';

const WAIT_MS = 1_500;

/** Prints what became of it. Runs as `node -e`, with address, port and milliseconds as arguments. */
const TCP = `
const [host, port, wait] = process.argv.slice(1);
const socket = require('node:net').connect({ host, port: Number(port) });
const end = (word) => { process.stdout.write(word, () => process.exit(0)); };
setTimeout(() => end('ETIMEDOUT'), Number(wait));
socket.on('connect', () => end('connected')).on('error', (error) => end(error.code ?? error.message));
`;
const UDP = `
const [host, port, wait] = process.argv.slice(1);
const socket = require('node:dgram').createSocket('udp4');
const end = (word) => { process.stdout.write(word, () => process.exit(0)); };
setTimeout(() => end('ETIMEDOUT'), Number(wait));
socket.on('message', () => end('answered')).on('error', (error) => end(error.code ?? error.message));
socket.connect(Number(port), host, () => socket.send(Buffer.alloc(1)));
`;

export interface Probe extends ProbePacket {
  /** First process of the instance that sends; not 0. */
  sender: number;
  /** Of the one that receives; 0: none, or it does not run. */
  receiver: number;
}

export async function sendProbe({ sender, receiver, to, protocol, port }: Probe, signal: AbortSignal): Promise<{ passes: boolean; detail: string }> {
  const inside = (args: readonly string[], accept?: readonly number[]) =>
    run('nsenter', ['--target', String(sender), '--net', '--', ...args], { signal, ...(accept === undefined ? {} : { accept }) });
  if (protocol === 'icmp') {
    const { exitCode, stdout } = await inside(['ping', '-n', '-c', '1', '-W', '1', to], [1, 2, 127]);
    if (exitCode === 127 || exitCode === 2)
      throw new DriverError('bad_spec', 'This host has no program to ping with', { hint: 'sudo apt-get install iputils-ping' });
    return { passes: exitCode === 0, detail: exitCode === 0 ? (/time=\S+ ms/.exec(stdout)?.[0] ?? 'answered') : 'no answer' };
  }
  const before = protocol === 'udp' ? await datagramsAt(receiver) : undefined;
  const word = (await inside([process.execPath, '-e', protocol === 'tcp' ? TCP : UDP, to, String(port), String(WAIT_MS)])).stdout.trim();
  switch (word) {
    case 'connected':
      return { passes: true, detail: 'a connection was made' };
    case 'answered':
      return { passes: true, detail: 'an answer came' };
    case 'ECONNREFUSED':
      return { passes: true, detail: 'it arrived, and nothing listens there' };
    case 'ETIMEDOUT': {
      const after = await datagramsAt(receiver);
      if (protocol === 'udp' && before !== undefined && after !== undefined && after > before)
        return { passes: true, detail: 'the receiver counted it, and did not answer' };
      return { passes: false, detail: 'no answer' };
    }
    default:
      return { passes: false, detail: `the packet was not sent on (${word})` };
  }
}

/** Datagrams that an instance has received, with and without a listener. */
async function datagramsAt(pid: number): Promise<number | undefined> {
  if (pid === 0) return undefined;
  const [names, values] = (await readFile(`/proc/${pid}/net/snmp`, 'utf8'))
    .split('\n')
    .filter((line) => line.startsWith('Udp:'))
    .map((line) => line.split(' '));
  const count = (name: string): number => Number(values?.[names?.indexOf(name) ?? -1] ?? 0);
  return count('InDatagrams') + count('NoPorts');
}
