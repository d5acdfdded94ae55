// `cloud instance ssh`: the system's ssh client over our own connection into the instance's network; no port is published.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { Fault, type FieldProblem } from '@thecloud/core/contracts';
import { err } from '../base.ts';
import { configFile } from '../contexts.ts';
import { expandHome, inputOf, valueOf } from '../input.ts';
import { Remote } from '../remote.ts';
import { settingsOf } from '../settings.ts';
import { commandOf, type Flag, type OperationSpec } from '../table.ts';
import { flag, type Words } from '../words.ts';

export async function run(words: Words): Promise<number> {
  const { targets, input } = await inputOf(words);
  const settings = settingsOf(words);
  const get = commandOf('instance get').operation as OperationSpec;
  const instance = (await new Remote(settings).call(get, { target: targets[0] })).value as { id: string; name: string; state: string; sshKeys?: string[] };
  if (instance.state !== 'running')
    throw new Fault('conflict', `instance ${instance.name} is ${instance.state}`, { hint: `cloud instance start ${instance.name}` });
  if (spawnSync('ssh', ['-V'], { stdio: 'ignore' }).error !== undefined) {
    throw new Fault('unavailable', 'There is no ssh client on this machine', { hint: 'sudo apt-get install openssh-client' });
  }
  const port = String(portOf(words) ?? 22);
  const { endpoint, proof } = settings;
  const proxy = [
    process.execPath,
    process.argv[1] as string,
    'instance',
    'connect',
    instance.id,
    port,
    ...('socket' in endpoint ? ['--socket', endpoint.socket] : ['--url', endpoint.url]),
    ...(proof !== undefined && 'context' in proof ? ['--context', proof.context] : []),
    ...(settings.tenant === undefined ? [] : ['--tenant', settings.tenant]),
  ];
  const identity = flag(words, 'identity');
  const known = join(dirname(configFile()), 'known_hosts');
  mkdirSync(dirname(known), { recursive: true, mode: 0o700 });
  const args = [
    ...['-o', `ProxyCommand=${proxy.map(quoted).join(' ')}`],
    // The id, not the address: addresses are used again by other instances, ids never.
    ...['-o', `HostKeyAlias=${instance.id}`],
    ...['-o', 'StrictHostKeyChecking=accept-new'],
    ...['-o', `UserKnownHostsFile=${quoted(known)}`],
    ...['-o', 'LogLevel=ERROR'],
    ...['-l', flag(words, 'user') ?? 'root'],
    ...['-p', port],
    ...(identity === undefined ? [] : ['-i', resolve(expandHome(identity)), '-o', 'IdentitiesOnly=yes']),
    ...sshFlags(input),
  ];
  const child = spawn('ssh', args, { stdio: 'inherit' });
  // Keys reach ssh by the terminal; what is sent to us goes to it.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  return new Promise((done, fail) => {
    child.once('error', fail);
    child.once('exit', (code, signal) => {
      // ssh's own failure; which one, it has said itself.
      if (code === SSH_FAILED && !settings.quiet) err(`Hint: ${hint()}\n`);
      done(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });

  function hint(): string {
    const [key] = instance.sshKeys ?? [];
    return identity === undefined && key !== undefined
      ? `cloud instance ssh ${instance.name} --identity <file of the private key ${key}>`
      : `cloud instance exec ${instance.name} -- sh  # needs neither key nor SSH server`;
  }

  /** `-- -L 8080:localhost:80 uptime`: flags stand before the host, a command after it. */
  function sshFlags(given: Record<string, unknown>): string[] {
    const rest = Array.isArray(given['args']) ? given['args'].map(String) : [];
    let at = 0;
    while (at < rest.length && (rest[at] as string).startsWith('-')) at += WITH_VALUE.test(rest[at] as string) ? 2 : 1;
    return [...rest.slice(0, at), instance.name, ...rest.slice(at)];
  }
}

function portOf(words: Words): unknown {
  const given = flag(words, 'port');
  if (given === undefined) return undefined;
  const problems: FieldProblem[] = [];
  const port = valueOf(words.command.flags.find(({ name }) => name === 'port') as Flag, [given], problems);
  if (problems[0] !== undefined) throw new Fault('invalid_input', `port: ${problems[0].message}`, { details: problems });
  return port;
}

const SSH_FAILED = 255;

/** ssh's flags whose value is the next word. */
const WITH_VALUE = /^-[BbcDEeFIiJLlmOoPpQRSWw]$/;

/** One word for the shell that runs the proxy command. */
const quoted = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word.replaceAll('%', '%%') : `'${word.replaceAll('%', '%%').replaceAll("'", "'\\''")}'`;
