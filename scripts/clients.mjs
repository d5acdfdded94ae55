// The S3 clients of other people that tests drive, from the distribution's packages.

import { ensurePrograms } from './docker.mjs';
import { report, Stop } from './terminal.mjs';

/** Command → Debian package. */
const programs = { aws: 'awscli', rclone: 'rclone', restic: 'restic', s3cmd: 's3cmd', curl: 'curl' };

/** Installs what is missing; where that is not possible it says so, and the tests of those clients are skipped. Says whether all are there. */
export async function ensureClients() {
  try {
    await ensurePrograms(programs);
    return true;
  } catch (error) {
    if (process.env.CI || !(error instanceof Stop)) throw error;
    report(error);
    process.stdout.write('\nGoing on without: the tests of these S3 clients are skipped and listed at the end.\n');
    return false;
  }
}
