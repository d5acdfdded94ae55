// `cloud instance cp`: as `cp -r` would, with one side in an instance.
import { createReadStream, createWriteStream, mkdtempSync, realpathSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Channel, Fault } from '@thecloud/core/contracts';
import { firstHeader, packPath, packStream, type Tally, unpackTo, unpackToStream } from '../archive.ts';
import { err, usage } from '../base.ts';
import { openChannel } from '../channel.ts';
import { expandHome, inputOf } from '../input.ts';
import { bytes } from '../print/cells.ts';
import { printable } from '../print/printable.ts';
import { Progress } from '../progress.ts';
import { Remote } from '../remote.ts';
import { settingsOf } from '../settings.ts';
import { commandOf, type OperationSpec, spoken } from '../table.ts';
import type { Words } from '../words.ts';

interface There {
  instance: string;
  path: string;
}

/** `web:/path`. A local name with a colon is written `./a:/b`. */
const SIDE = /^([a-z0-9][a-z0-9-]*):(\/.*)$/;

const sideOf = (text: string): There | undefined => {
  const match = SIDE.exec(text);
  return match?.[1] === undefined || match[2] === undefined ? undefined : { instance: match[1], path: match[2] };
};

export async function run(words: Words): Promise<number> {
  await inputOf(words);
  const [source = '', destination = ''] = words.positionals;
  const from = sideOf(source);
  const to = sideOf(destination);
  if ((from === undefined) === (to === undefined)) {
    const relative = [source, destination].find((text) => /^[a-z0-9][a-z0-9-]*:[^/]/.test(text));
    throw usage(
      from !== undefined
        ? 'Both sides are in instances; copy to this machine first'
        : relative === undefined
          ? 'Neither side is in an instance: write it as instance:/path'
          : `"${relative}": paths in instances begin with /`,
      `cloud ${spoken(words.command.id)} --help`,
    );
  }
  const remote = new Remote(settingsOf(words));
  const progress = new Progress(`Copying ${source} to ${destination}`, remote.settings.quiet || process.stderr.isTTY !== true);
  let total = 0;
  const tally: Tally = {
    bytes: (count) => {
      total += count;
      progress.update(bytes(total));
    },
    skipped: (name) => {
      if (!remote.settings.quiet) err(`Left out: ${printable(name)} is a special file.\n`);
    },
  };
  try {
    if (to !== undefined) await send(remote, source, to, tally);
    else if (from !== undefined) await fetch(remote, from, destination, tally);
    progress.end(process.stderr.isTTY ? `${bytes(total)} copied` : undefined);
    return 0;
  } catch (error) {
    progress.end();
    throw error;
  }
}

const operationOf = (name: string): OperationSpec => commandOf(`instance ${name}`).operation as OperationSpec;

type Header = NonNullable<Awaited<ReturnType<typeof firstHeader>>>;

/** What is at a path, or undefined when there is no such path. */
async function lookThere(remote: Remote, { instance, path }: There): Promise<Header | undefined> {
  let channel: Channel;
  try {
    channel = await openChannel(remote, operationOf('download'), instance, { path });
    channel.result.catch(() => undefined); // asked below, when the header does not come
  } catch (error) {
    if (notThere(error)) return undefined;
    throw error;
  }
  channel.error.resume();
  channel.input.end();
  try {
    const header = await firstHeader(channel.output);
    if (header === undefined) await channel.result;
    return header;
  } catch (error) {
    if (notThere(error)) return undefined;
    throw error;
  } finally {
    channel.close();
  }
}

async function kindThere(remote: Remote, there: There): Promise<'directory' | 'file' | undefined> {
  const header = await lookThere(remote, there);
  return header === undefined ? undefined : header.type === 'directory' ? 'directory' : 'file';
}

/** As many as Linux itself follows. */
const MOST_LINKS = 40;

/** Where a path leads that is itself a symbolic link. One that leads nowhere stays the link that it is. */
async function behindLinks(remote: Remote, { instance, path }: There): Promise<There> {
  let there = path;
  for (let links = 0; links < MOST_LINKS; links++) {
    const header = await lookThere(remote, { instance, path: there });
    if (header === undefined) return { instance, path };
    if (header.type !== 'symlink' || !header.linkname) return { instance, path: there };
    there = posix.resolve(posix.dirname(there), header.linkname);
  }
  throw usage(`${instance}:${path} leads in a circle`);
}

/** No such path, or none that can be looked at; where something else is the matter (no such instance, not running), the copying itself says so. */
const notThere = (error: unknown): boolean => error instanceof Fault && (error.code === 'not_found' || error.code === 'conflict');

async function send(remote: Remote, source: string, to: There, tally: Tally): Promise<void> {
  const local = source === '-' ? undefined : expandHome(source);
  const info = local === undefined ? undefined : statSync(local, { throwIfNoEntry: false });
  if (local !== undefined && info === undefined) throw usage(`There is no ${local}`);
  const kind = await kindThere(remote, to);
  const contentOnly = local !== undefined && /(?:^|\/)\.$/.test(local) && info?.isDirectory();
  if (local === undefined && (kind === 'directory' || to.path.endsWith('/')))
    throw usage(`${to.path} is a directory; name the file that standard input is to become`);
  if (kind === 'file' && info?.isDirectory()) throw usage(`${to.path} is a file; a directory cannot become it`);
  if (kind === undefined && to.path.endsWith('/') && !info?.isDirectory()) throw usage(`There is no directory ${to.path} in ${to.instance}`);
  const [directory, name] =
    kind === 'directory' ? [to.path, contentOnly ? '.' : basename(local as string)] : [posix.dirname(to.path.replace(/\/+$/, '')), posix.basename(to.path)];
  const channel = await openChannel(remote, operationOf('upload'), to.instance, { path: directory });
  channel.output.resume();
  channel.error.resume();
  const sending = local === undefined ? sendInput(channel, name, tally) : packPath(realpathSync(local), name, channel.input, tally);
  // A daemon that refuses closes its end early: its own words matter then, not the broken pipe.
  const sent = sending.then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  const failure = await Promise.race([sent, channel.result.then(() => undefined)]);
  if (failure !== undefined) {
    if (channel.input.destroyed) await channel.result;
    channel.close();
    throw failure.error;
  }
  await channel.result;
}

/** A tar header needs the size first, so standard input is kept in a file until it ends. */
async function sendInput(channel: Channel, name: string, tally: Tally): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'cloud-cp-'));
  const file = join(directory, 'input');
  try {
    await pipeline(process.stdin, createWriteStream(file, { mode: 0o600 }));
    await packStream(createReadStream(file), { name, size: statSync(file).size, mode: 0o644 }, channel.input, tally);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function fetch(remote: Remote, from: There, destination: string, tally: Tally): Promise<void> {
  const local = expandHome(destination);
  const info = destination === '-' ? undefined : statSync(local, { throwIfNoEntry: false });
  const name = posix.basename(from.path) || from.instance;
  const target = info?.isDirectory() ? join(local, name) : local;
  if (destination !== '-' && info === undefined) {
    if (local.endsWith('/')) throw usage(`There is no directory ${local}`);
    if (statSync(dirname(local), { throwIfNoEntry: false }) === undefined) throw usage(`There is no directory ${dirname(local)}`);
  }
  const channel = await openChannel(remote, operationOf('download'), from.instance, { path: (await behindLinks(remote, from)).path });
  channel.error.resume();
  channel.input.end();
  const result = channel.result.then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  try {
    if (destination === '-') await unpackToStream(channel.output, process.stdout, `${from.instance}:${from.path}`);
    else await unpackTo(channel.output, target, tally);
  } catch (error) {
    channel.close();
    // An archive that breaks off is a consequence; the daemon's reason comes first.
    if (!(error instanceof Fault)) throw ((await result) ?? { error }).error;
    throw error;
  }
  const failed = await result;
  if (failed !== undefined) throw failed.error;
}
