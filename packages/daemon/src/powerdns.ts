// The PowerDNS that is given, and its key, on their way from the environment to the core: every program that the daemon runs would inherit them.
import type { PowerDnsOptions } from '@thecloud/core';

/** Reads the variables and removes them. Rejects with `invalid_input` for what is not right; they are removed then too. */
export async function takePowerDns(environment: NodeJS.ProcessEnv): Promise<PowerDnsOptions | undefined> {
  const { POWERDNS_VARIABLES, powerDnsFrom } = await import('@thecloud/core');
  try {
    return powerDnsFrom(environment);
  } finally {
    for (const name of POWERDNS_VARIABLES) delete environment[name];
  }
}
