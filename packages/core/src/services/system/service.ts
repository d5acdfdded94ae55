// The installation: what it is, what its drivers enforce, and what is wrong with it.
import { accessSync, constants, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { z } from 'zod';
import { administersInstallation } from '../../kernel/authorize.ts';
import { service } from '../../kernel/service.ts';
import { type Check, systems } from './contract.ts';

const LOW_SPACE = 512 * 2 ** 20;

export const systemService = service(systems, (context) => {
  const reports = () =>
    Promise.all(Object.entries(context.drivers).map(async ([port, driver]) => ({ port, report: await driver.report(AbortSignal.timeout(10_000)) })));
  const dataDirChecks = (): z.output<typeof Check>[] => {
    const { dataDir } = context;
    const checks: z.output<typeof Check>[] = [];
    const mode = statSync(dataDir).mode & 0o777;
    checks.push(
      mode & 0o077
        ? { name: 'data directory is private', ok: false, detail: `${dataDir} has mode ${mode.toString(8)}`, remedy: `chmod 700 ${dataDir}` }
        : { name: 'data directory is private', ok: true, detail: `${dataDir} has mode ${mode.toString(8)}` },
    );
    const space = statfsSync(dataDir);
    const free = space.bavail * space.bsize;
    const detail = `${(free / 2 ** 30).toFixed(1)} GiB free at ${dataDir}`;
    checks.push({ name: 'disk has room', ok: free >= LOW_SPACE, detail, ...(free >= LOW_SPACE ? {} : { remedy: `du -xh -d1 ${dataDir} | sort -h` }) });
    try {
      accessSync(join(dataDir, 'cloud.db'), constants.W_OK);
      checks.push({ name: 'database is writable', ok: true, detail: join(dataDir, 'cloud.db') });
    } catch (error) {
      checks.push({ name: 'database is writable', ok: false, detail: (error as Error).message, remedy: `ls -l ${dataDir}` });
    }
    return checks;
  };
  return {
    prepare: {
      async rotateMasterKey(call) {
        // A rotation has a transaction of its own; the handler's only tells of it.
        call.input = (await context.rotateMasterKey()) as never;
      },
    },
    handlers: {
      async rotateMasterKey(call) {
        const keys = call.input as unknown as { from: string; to: string };
        context.log.info(keys, 'the master key was rotated');
        await call.event({ id: context.installation, name: 'installation' }, 'master-key-rotated', `The master key was changed; its id is ${keys.to} now`);
        return keys;
      },
      async info(call) {
        const open = administersInstallation(call.principal);
        return {
          version: context.version,
          tenant: call.tenantId,
          principal: call.principal.id,
          ...(open
            ? {
                installation: context.installation,
                dataDir: context.dataDir,
                node: process.version,
                startedAt: new Date(context.startedAt).toISOString(),
              }
            : {}),
          drivers: (await reports()).map(({ port, report }) => ({
            port,
            driver: report.driver,
            ...(report.version === undefined || !open ? {} : { version: report.version }),
            features: report.features,
          })),
        };
      },
      async doctor() {
        const checks = [
          ...dataDirChecks(),
          ...(await reports()).flatMap(({ port, report }) => report.checks.map((check) => ({ ...check, name: `${port}: ${check.name}` }))),
        ];
        return { ok: checks.every(({ ok }) => ok), checks };
      },
    },
  };
});
