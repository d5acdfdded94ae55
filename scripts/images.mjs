// The images that the product and its tests start from, made on this machine where there is no registry to pull from.
// A recipe is a folder: `rootfs` (writes rootfs.tar into the folder it is given) with `changes`, or a Dockerfile. An image
// carries the hash of its recipe, so only what changed is built again.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensurePrograms, findProgram } from './docker.mjs';
import { buildImage, importImage, inspectImage, pullImage, removeImage, tagImage } from './engine.mjs';
import { lastLines, root, run, Stop, sleep, step } from './terminal.mjs';

/**
 * @typedef {object} Recipe
 * @property {string} folder relative to the list that names it
 * @property {[string, ...string[]]} names the first one identifies the image
 * @property {string} [from] the folder of the recipe this one builds on
 * @property {boolean} [official] people pull an image of this name: whatever has the name is taken as it is
 * @property {Record<string, string>} [programs] needed for building: command → Debian package
 */

const labels = { recipe: 'thecloud.image.recipe', origin: 'thecloud.image.origin' };

/** @type {Recipe} */
const busybox = { folder: 'busybox', names: ['busybox:latest'], official: true };

/** What an instance can be made from at once. */
export async function ensureProductImages() {
  await ensure([{ ...busybox, path: join(root, 'scripts', 'images', 'busybox') }]);
}

/** What the tests start instances from. */
export async function ensureTestImages() {
  await ensureProductImages();
  const folder = join(root, 'test', 'images');
  /** @type {Recipe[]} */
  const recipes = JSON.parse(readFileSync(join(folder, 'images.json'), 'utf8'));
  await ensure(recipes.map((recipe) => ({ ...recipe, path: join(folder, recipe.folder) })));
}

/** @param {(Recipe & { path: string })[]} recipes in the order in which they build on one another */
async function ensure(recipes) {
  const hashes = new Map([['busybox', '']]);
  for (const recipe of recipes) hashes.set(recipe.folder, hashOf(recipe, hashes));
  const missing = async () => {
    const found = await Promise.all(recipes.map((recipe) => isPresent(recipe, hashes.get(recipe.folder) ?? '')));
    return recipes.filter((_, index) => !found[index]);
  };
  if ((await missing()).length === 0) return;
  await alone(async () => {
    for (const recipe of await missing()) await build(recipe, hashes.get(recipe.folder) ?? '');
  });
}

/** @param {Recipe} recipe @param {string} hash */
async function isPresent(recipe, hash) {
  const image = await inspectImage(recipe.names[0]);
  if (!image) return false;
  const made = image.labels[labels.recipe];
  return made === hash || (recipe.official === true && made === undefined);
}

/** @param {Recipe & { path: string }} recipe @param {Map<string, string>} hashes */
function hashOf(recipe, hashes) {
  const hash = createHash('sha256').update(JSON.stringify([recipe.names, recipe.from ? hashes.get(recipe.from) : '']));
  for (const name of readdirSync(recipe.path).sort()) {
    const file = join(recipe.path, name);
    hash.update(JSON.stringify([name, statSync(file).mode & 0o111])).update(readFileSync(file));
  }
  return hash.digest('hex').slice(0, 16);
}

/** @param {Recipe & { path: string }} recipe @param {string} hash */
async function build(recipe, hash) {
  const name = recipe.names[0];
  const before = await inspectImage(name);
  await step(`image ${name}`, async (progress) => {
    if (recipe.official && !findProgram('apt-get')) {
      progress('not a Debian system, so pulled');
      await pullImage(name);
      return;
    }
    const { id, names } = existsSync(join(recipe.path, 'Dockerfile')) ? await fromDockerfile(recipe, hash) : await fromRootfs(recipe, hash);
    for (const each of [...names, ...recipe.names.slice(1), name]) await tagImage(id, each);
    if (before && before.id !== id) await removeImage(before.id);
  });
}

/** @param {Recipe & { path: string }} recipe @param {string} hash */
async function fromDockerfile(recipe, hash) {
  const tar = spawn('tar', ['-C', recipe.path, '--owner=0', '--group=0', '-c', '.'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const id = await buildImage(tar.stdout, { [labels.recipe]: hash, [labels.origin]: 'built from its Dockerfile by the project’s scripts' });
  return { id, names: [] };
}

/** @param {Recipe & { path: string }} recipe @param {string} hash */
async function fromRootfs(recipe, hash) {
  await ensurePrograms(recipe.programs ?? {});
  const out = mkdtempSync(join(tmpdir(), 'cloud-image-'));
  try {
    const { code, output } = await run(join(recipe.path, 'rootfs'), [out]);
    if (code !== 0) throw new Stop(`The recipe of ${recipe.names[0]} failed with exit code ${code}.`, { detail: lastLines(output, 40) });
    const read = (/** @type {string} */ file) => (existsSync(join(out, file)) ? readFileSync(join(out, file), 'utf8').trim() : '');
    const changes = readFileSync(join(recipe.path, 'changes'), 'utf8').trim().split('\n');
    const id = await importImage(createReadStream(join(out, 'rootfs.tar')), [
      ...changes,
      `LABEL ${labels.recipe}=${hash} ${labels.origin}=${JSON.stringify(`${read('origin')}, built on this machine`)}`,
    ]);
    return { id, names: read('names').split('\n').filter(Boolean) };
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

/**
 * Two builds at once do no harm (each has its own folder, and a name moves in one step), but the second would do the
 * work again: so it waits for the first and then looks anew. A holder that died is noticed by its process id.
 * @param {() => Promise<void>} work
 */
async function alone(work) {
  const lock = join(tmpdir(), `cloud-images-${process.getuid?.() ?? 0}.lock`);
  while (!take(lock)) {
    const holder = holderOf(lock);
    if (holder !== undefined && !isAlive(holder)) rmSync(lock, { recursive: true, force: true });
    await sleep(250);
  }
  try {
    await work();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

/** @param {string} lock */
function take(lock) {
  try {
    mkdirSync(lock);
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EEXIST') return false;
    throw error;
  }
  writeFileSync(join(lock, 'pid'), String(process.pid));
  return true;
}

/** The holder, 0 when it left no trace for two seconds, undefined while unknown. @param {string} lock */
function holderOf(lock) {
  try {
    return Number(readFileSync(join(lock, 'pid'), 'utf8'));
  } catch {
    const made = statSync(lock, { throwIfNoEntry: false })?.ctimeMs; // between mkdir and write, or let go meanwhile
    return made !== undefined && Date.now() - made > 2_000 ? 0 : undefined;
  }
}

/** @param {number} pid */
function isAlive(pid) {
  if (pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}
