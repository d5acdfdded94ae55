// The S3 clients of other people that tests drive, from the distribution's packages.

import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensurePrograms, findProgram } from './docker.mjs';
import { lastLines, report, root, run, Stop, step } from './terminal.mjs';

/** Command → Debian package. */
const programs = { aws: 'awscli', rclone: 'rclone', restic: 'restic', s3cmd: 's3cmd', curl: 'curl' };
/** The same, of packages that would start a service on all addresses of the machine if they were installed: only the program is taken out of them. */
const services = { 'docker-registry': 'docker-registry' };

const unpacked = join(root, 'node_modules', '.cache', 'thecloud', 'clients');

/** Installs what is missing; where that is not possible it says so, and the tests of those clients are skipped. Says whether all are there. */
export async function ensureClients() {
  try {
    await ensurePrograms(programs);
    for (const [program, name] of Object.entries(services)) await unpack(program, name);
    return true;
  } catch (error) {
    if (process.env.CI || !(error instanceof Stop)) throw error;
    report(error);
    process.stdout.write('\nGoing on without: the tests of these S3 clients are skipped and listed at the end.\n');
    return false;
  }
}

/** @param {string} program @param {string} name of its package */
async function unpack(program, name) {
  const file = join(unpacked, program);
  if (existsSync(file) || findProgram(program)) return;
  if (!findProgram('apt-get') || !findProgram('dpkg')) {
    throw new Stop(`${program} is missing, and this is neither Debian nor Ubuntu.`, { hint: `Put ${program} on the PATH and run the same command again.` });
  }
  await step(`unpack ${program}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'thecloud-client-'));
    try {
      await inFolder(folder, 'apt-get', 'download', '-qq', name);
      const [archive = ''] = readdirSync(folder).filter((each) => each.endsWith('.deb'));
      await inFolder(folder, 'dpkg', '-x', archive, 'files');
      mkdirSync(unpacked, { recursive: true });
      // In one step: whoever looks meanwhile sees a whole program or none.
      copyFileSync(join(folder, 'files', 'usr', 'bin', program), `${file}.new`);
      renameSync(`${file}.new`, file);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

/** @param {string} folder @param {string} program @param {string[]} words */
async function inFolder(folder, program, ...words) {
  const { code, output } = await run(program, words, { cwd: folder });
  if (code === 0) return;
  throw new Stop(`\`${[program, ...words].join(' ')}\` failed with exit code ${code}.`, {
    hint: 'Type:\n  sudo apt-get update\nand run the same command again.',
    detail: lastLines(output, 20),
  });
}
