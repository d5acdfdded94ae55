#!/usr/bin/env node
// From a fresh clone to ready: packages (and with them Node 24), build, Docker Engine, images. Each step looks first and
// does only what is missing, so running it again costs a fraction of a second.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ensureClients } from './clients.mjs';
import { ensureDns } from './dns.mjs';
import { ensureDocker } from './docker.mjs';
import { ensureProductImages, ensureTestImages } from './images.mjs';
import { childEnv, lastLines, must, npm, report, root, run, Stop, step } from './terminal.mjs';

const oldestNode = { major: 22, minor: 19 };

/**
 * Makes ready what the caller needs; throws a `Stop` where it cannot. Says whether anything was built.
 * @param {{ build?: boolean, docker?: boolean, images?: 'product' | 'test' | 'none', clients?: boolean }} [wanted] everything the product needs unless told otherwise; `clients` are other people's, for tests
 */
export async function setUp({ build = true, docker = true, images = 'product', clients = false } = {}) {
  await ensurePackages();
  await ensureNode();
  const built = build && (await ensureBuild());
  if (docker) await ensureDocker();
  if (docker || clients) await ensureDns({ tools: clients });
  if (docker && images === 'product') await ensureProductImages();
  if (docker && images === 'test') await ensureTestImages();
  if (clients) await ensureClients();
  return { built };
}

async function ensurePackages() {
  if (missingPackages().length === 0) return;
  await step('npm packages', async (progress) => {
    await installPackages();
    // npm leaves an optional package out without a word when its download fails, and the tools' binaries are such packages.
    if (missingPackages().length > 0) {
      progress(`${missingPackages().length} did not arrive, once more`);
      await installPackages();
    }
    const missing = missingPackages();
    if (missing.length > 0) throw new Stop(`\`npm ci\` left out ${missing.join(', ')}.`, { hint: 'Look at the network, then run the same command again.' });
  });
}

async function installPackages() {
  const [command, args] = npm();
  const { code, output } = await run(command, [...args, 'ci', '--loglevel=error', '--no-progress'], { env: process.env });
  if (code === 127) throw new Stop('npm is not on the PATH.', { hint: 'sudo apt-get install npm' });
  if (code !== 0) throw new Stop(`\`npm ci\` failed with exit code ${code}.`, { detail: lastLines(output, 30) });
}

/**
 * @typedef {{ version?: string, resolved?: string, optional?: boolean, peer?: boolean, os?: string[], cpu?: string[], libc?: string[] }} Locked
 */

/** Compares what npm says it installed with what the lockfile asks for on this machine: right also after an install by hand. */
function missingPackages() {
  const wanted = lockOf(join(root, 'package-lock.json')) ?? {};
  const installed = lockOf(join(root, 'node_modules', '.package-lock.json')) ?? {};
  return Object.entries(wanted)
    .filter(([path, locked]) => {
      if (!path.includes('node_modules/')) return false; // the workspaces themselves
      const there = installed[path];
      if (there) return there.version !== locked.version || (locked.version === undefined && there.resolved !== locked.resolved);
      // What is optional without naming a platform belongs to packages for other platforms.
      return !(locked.optional || locked.peer) || ((locked.os ?? locked.cpu) !== undefined && fitsHere(locked));
    })
    .map(([path]) => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length));
}

/** @param {Locked} locked */
function fitsHere({ os, cpu, libc }) {
  const musl = process.platform === 'linux' && readdirSync('/lib').some((name) => name.startsWith('ld-musl-'));
  return (os?.includes(process.platform) ?? true) && (cpu?.includes(process.arch) ?? true) && (libc?.includes(musl ? 'musl' : 'glibc') ?? true);
}

/** @param {string} file @returns {Record<string, Locked> | undefined} */
function lockOf(file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).packages : undefined;
}

/** The packages bring Node 24 for Linux on x64; any other machine has to have a Node that is new enough. */
async function ensureNode() {
  const own = join(root, 'node_modules', '.bin', 'node');
  if (existsSync(own)) {
    const { code, output } = await run(own, ['--version']);
    if (code === 0) return;
    throw new Stop('The Node that comes with the packages does not run here; it needs Linux with glibc.', { detail: output });
  }
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > oldestNode.major || (major === oldestNode.major && minor >= oldestNode.minor)) return;
  throw new Stop(`Node ${oldestNode.major}.${oldestNode.minor} or newer is needed on ${process.platform}-${process.arch}; this is ${process.versions.node}.`, {
    hint: 'Install Node 24 and run the same command again.',
  });
}

const stamp = join(root, 'node_modules', '.cache', 'thecloud', 'build');

async function ensureBuild() {
  const bundle = join(root, 'packages', 'cli', 'dist', 'bundle', 'main.js');
  if (existsSync(bundle) && existsSync(stamp) && readFileSync(stamp, 'utf8') === fingerprint()) return false;
  await step('build', async () => {
    const [command, args] = npm();
    const sources = fingerprint();
    await must(command, [...args, 'run', 'build', '--loglevel=error'], { env: childEnv, failure: 'The build failed.' });
    rememberBuild(sources);
  });
  return true;
}

/** For whoever has run `npm run build`: what it was made from. */
export function rememberBuild(sources = fingerprint()) {
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, sources);
}

/** Changes whenever a file that the build reads may have changed: paths, sizes and times, not contents. */
function fingerprint() {
  const hash = createHash('sha256');
  const visit = (/** @type {string} */ path) => {
    const info = statSync(path, { throwIfNoEntry: false });
    if (info?.isDirectory()) {
      for (const name of readdirSync(path).sort()) if (!skipped.has(name)) visit(join(path, name));
    } else if (info && !path.endsWith('.tsbuildinfo') && !path.includes('.generated.')) {
      hash.update(`${path}\0${info.size}\0${info.mtimeMs}\n`);
    }
  };
  for (const path of ['packages', 'package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.base.json']) visit(join(root, path));
  return hash.digest('hex');
}
const skipped = new Set(['node_modules', 'dist', 'oclif.manifest.json']);

/** Words that ask for less or more: `--for test` adds what tests need, `--no-docker` leaves the engine out. @param {string[]} args */
async function main(args) {
  const since = Date.now();
  const rest = args.filter((word, index) => word !== '--no-docker' && word !== '--for' && args[index - 1] !== '--for');
  const purpose = args.includes('--for') ? args[args.indexOf('--for') + 1] : 'start';
  if (rest.length > 0 || (purpose !== 'start' && purpose !== 'test')) {
    throw new Stop(`Unknown: ${args.join(' ')}`, { hint: 'npm run setup -- [--for start|test] [--no-docker]', exit: 2 });
  }
  await setUp({ docker: !args.includes('--no-docker'), images: purpose === 'test' ? 'test' : 'product', clients: purpose === 'test' });
  process.stdout.write(`Ready (${((Date.now() - since) / 1000).toFixed(1)} s).\n`);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  main(process.argv.slice(2)).catch((error) => {
    process.exitCode = report(error);
  });
}
