// Docker Engine, from absent to ready: found running, started, or installed from Debian's or Ubuntu's own packages.
// Where that is not ours to do, it says exactly what to type; it never carries on without an engine.

import { accessSync, constants, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { defaultSocket, engineAddress, probe } from './engine.mjs';
import { detach, exitCode, lastLines, run, Stop, sleep, step, tail } from './terminal.mjs';

const patience = 60_000;

/** Sees to it that Docker Engine answers; returns its version. */
export async function ensureDocker() {
  const found = await probe();
  if (found.state === 'ready') {
    await ensureFilter();
    return found.version;
  }
  if (found.state === 'forbidden') throw forbidden(found.reason);
  const address = engineAddress();
  if (process.env.DOCKER_HOST !== undefined && !isOurs()) {
    const where = 'socketPath' in address ? address.socketPath : `${address.host}:${address.port}`;
    throw unavailable(`Docker Engine does not answer at ${where}, which DOCKER_HOST names (${found.reason}).`, 'unset DOCKER_HOST, or start that engine');
  }
  if (process.platform !== 'linux') {
    throw unavailable('Docker Engine is not running.', 'Start Docker Desktop (or another Docker Engine) and run the same command again.');
  }
  // Without iptables, dockerd starts and dies at once: its package only recommends it.
  await ensurePrograms({ dockerd: 'docker.io', iptables: 'iptables' });
  await ensureFilter();
  return await start(await superuser());
}

/**
 * The packet filter of our own that closes what Docker leaves open between VPCs. It works only for a daemon that is root, so nobody else
 * is bothered; `cloud system doctor` says what is missing without it.
 */
async function ensureFilter() {
  if (process.platform === 'linux' && process.getuid?.() === 0 && findProgram('apt-get')) await ensurePrograms({ nft: 'nftables' });
}

/** A socket of our own choosing may be given together with the engine's options: the way the tests start a second engine. */
const isOurs = () => process.env.CLOUD_DOCKERD_ARGS !== undefined;

/** How a command gets root's rights: as is, through sudo without a password, or not at all. @returns {Promise<string[] | undefined>} */
async function superuser() {
  if (process.getuid?.() === 0) return [];
  const { code } = await run('sudo', ['-n', 'true']);
  return code === 0 ? ['sudo', '-n'] : undefined;
}

/**
 * Installs what is missing of these commands, given as command → the Debian package that has it.
 * @param {Record<string, string>} wanted
 */
export async function ensurePrograms(wanted) {
  const missing = Object.entries(wanted)
    .filter(([program]) => !findProgram(program))
    .map(([, name]) => name);
  if (missing.length > 0) await install(missing, await superuser());
}

/** @param {string[]} packages @param {string[] | undefined} become */
async function install(packages, become) {
  const command = `sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages.join(' ')}`;
  if (!findProgram('apt-get')) {
    throw unavailable(
      `${packages.join(' and ')} missing, and this is neither Debian nor Ubuntu.`,
      'Install it with the tools of your system and run the same command again.',
    );
  }
  if (!become) throw unavailable(`${packages.join(' and ')} missing, and installing needs root.`, `Type:\n  ${command}\nand run the same command again.`);
  await step(`install ${packages.join(' and ')}`, async (progress) => {
    const apt = [...become, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-o', 'DPkg::Lock::Timeout=120'];
    const update = async () => {
      progress('reading package lists');
      await root([...apt, 'update', '-qq'], command);
    };
    const words = [...apt, 'install', '-y', '-qq', '--no-install-recommends', ...packages];
    const fresh = !packageListsAreOld();
    if (!fresh) await update();
    progress('from the distribution');
    if (fresh) {
      // Lists of some days ago may name packages that the mirror has replaced since.
      const { code } = await run(words[0] ?? '', words.slice(1));
      if (code === 0) return;
      await update();
    }
    await root(words, command);
  });
}

/** @param {string[]} words @param {string} instead */
async function root(words, instead) {
  const { code, output } = await run(words[0] ?? '', words.slice(1));
  if (code !== 0) throw unavailable(`\`${words.join(' ')}\` failed with exit code ${code}.`, `Type:\n  ${instead}`, lastLines(output, 20));
}

function packageListsAreOld() {
  const folder = '/var/lib/apt/lists';
  if (!existsSync(folder)) return true;
  const times = readdirSync(folder)
    .filter((name) => name.endsWith('InRelease') || name.endsWith('Release'))
    .map((name) => statSync(join(folder, name)).ctimeMs);
  return times.length === 0 || Date.now() - Math.max(...times) > 7 * 86_400_000;
}

/** @param {string[] | undefined} become */
async function start(become) {
  const systemd = existsSync('/run/systemd/system');
  const byHand = systemd ? 'sudo systemctl start docker' : 'sudo dockerd';
  if (!become) throw unavailable('Docker Engine is not running, and starting it needs root.', `Type:\n  ${byHand}\nand run the same command again.`);
  return await step('start Docker Engine', async () => {
    if (systemd) {
      await root([...become, 'systemctl', 'start', 'docker'], byHand);
      return await ready(() => undefined, 'journalctl -u docker -n 40');
    }
    // The package may have started it through its init script a moment ago.
    const already = await answersWithin(1_500);
    if (already) return already;
    const stale = stalePidFiles();
    if (stale.length > 0) await root([...become, 'rm', '-f', ...stale], byHand);
    const log = process.env.CLOUD_DOCKERD_LOG ?? '/var/log/dockerd.log';
    const args = process.env.CLOUD_DOCKERD_ARGS?.split(' ').filter(Boolean) ?? [];
    const words = become.length === 0 ? ['dockerd', ...args] : [...become, 'sh', '-c', `exec dockerd >>'${log}' 2>&1`];
    const daemon = detach(words[0] ?? '', words.slice(1), become.length === 0 ? log : '/dev/null');
    return await ready(() => daemon.ended, log);
  });
}

/**
 * A machine that was restored from a snapshot may keep the process ids of an engine that no longer runs. When another
 * process has such an id by now, dockerd refuses to start, or waits for a containerd that is not there.
 */
export function stalePidFiles(files = { dockerd: '/var/run/docker.pid', containerd: '/var/run/docker/containerd/containerd.pid' }) {
  return Object.entries(files)
    .filter(([program, file]) => {
      if (!existsSync(file)) return false;
      const comm = `/proc/${readFileSync(file, 'utf8').trim()}/comm`;
      return existsSync(comm) && readFileSync(comm, 'utf8').trim() !== program;
    })
    .map(([, file]) => file);
}

/** Waits until the engine answers. @param {() => string | undefined} ended @param {string} log a file, or the command that shows it */
async function ready(ended, log) {
  const until = Date.now() + patience;
  for (;;) {
    const found = await probe();
    if (found.state === 'ready') return found.version;
    if (found.state === 'forbidden') throw forbidden(found.reason);
    const why = ended();
    if (why !== undefined || Date.now() > until) {
      const sentence =
        why === undefined ? `Docker Engine did not answer within ${patience / 1000} s (${found.reason}).` : `Docker Engine ended while starting (${why}).`;
      throw unavailable(sentence, log.startsWith('/') ? `The whole log: ${log}` : `Its log: ${log}`, log.startsWith('/') ? tail(log, 25) : undefined);
    }
    await sleep(200);
  }
}

/** @param {number} milliseconds */
async function answersWithin(milliseconds) {
  const until = Date.now() + milliseconds;
  while (existsSync(defaultSocket) && process.env.DOCKER_HOST === undefined && Date.now() < until) {
    const found = await probe();
    if (found.state === 'ready') return found.version;
    await sleep(200);
  }
  return undefined;
}

/** @param {string} name */
export function findProgram(name) {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'];
  return folders
    .filter(Boolean)
    .map((folder) => join(folder, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false; // not here: the next folder
      }
    });
}

/** @param {string} reason */
const forbidden = (reason) =>
  unavailable(
    `Docker Engine runs, but this user may not talk to it (${reason}).`,
    'Type:\n  sudo usermod -aG docker "$USER"\nthen log in again (or type `newgrp docker`) and run the same command again.',
  );

/** @param {string} sentence @param {string} hint @param {string} [detail] */
const unavailable = (sentence, hint, detail) => new Stop(sentence, { hint, detail, exit: exitCode.unavailable });
