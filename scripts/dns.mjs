// PowerDNS, which serves the DNS zones, and what tests ask it with. The daemon runs it by itself; the service that its package brings must not run.

import { existsSync } from 'node:fs';
import { ensurePrograms, findProgram } from './docker.mjs';
import { report, run, Stop } from './terminal.mjs';

const backend = () => ['x86_64-linux-gnu', 'aarch64-linux-gnu', ''].some((folder) => existsSync(`/usr/lib/${folder}/pdns/libgsqlite3backend.so`));

/**
 * Installs what is missing. Without it there are no zones and all else works, so where that is not possible it says so and goes on. Says whether all is there.
 * @param {{ tools?: boolean }} [wanted] `tools`: what tests and benchmarks ask with
 */
export async function ensureDns({ tools = false } = {}) {
  if (process.platform !== 'linux') return false;
  try {
    if (!findProgram('pdns_server') || !backend()) {
      await withoutService(() => ensurePrograms({ pdns_server: 'pdns-server', 'pdns-backend-sqlite3': 'pdns-backend-sqlite3' }));
    }
    if (tools) await ensurePrograms({ dig: 'dnsutils', dnsperf: 'dnsperf' });
    return true;
  } catch (error) {
    if (process.env.CI || !(error instanceof Stop)) throw error;
    report(error);
    process.stdout.write('\nGoing on without: there are no DNS zones until it is installed.\n');
    return false;
  }
}

/**
 * The package starts a server on port 53 of all addresses. A unit that is masked is not started, now or at the next boot; one that somebody uses already is left alone,
 * for then the package is there. Without systemd nothing starts.
 * @param {() => Promise<void>} install
 */
async function withoutService(install) {
  if (existsSync('/run/systemd/system') && !existsSync('/etc/powerdns')) {
    const mask = ['mask', 'pdns.service'];
    const { code } = process.getuid?.() === 0 ? await run('systemctl', mask) : await run('sudo', ['-n', 'systemctl', ...mask]);
    if (code !== 0) {
      throw new Stop('PowerDNS is missing, and installing it needs root.', {
        hint: 'Type:\n  sudo systemctl mask pdns.service\n  sudo apt-get install pdns-server pdns-backend-sqlite3\nand run the same command again.',
      });
    }
  }
  await install();
}
