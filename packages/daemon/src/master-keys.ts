// The master key on its way from the environment to the core. What is in the environment, every program that the daemon runs would inherit.
import type { MasterKeySource, OutsideSource } from '@thecloud/core';

const VARIABLES = ['CLOUD_MASTER_KEY', 'CLOUD_MASTER_KEY_NEXT'].flatMap((name) => [name, `${name}_FILE`, `${name}_COMMAND`]);

/** Reads the variables and removes them. Rejects with `invalid_input` for more than one key, or for none in production; they are removed then too. */
export async function takeMasterKeys(
  environment: NodeJS.ProcessEnv,
  { production }: { production: boolean },
): Promise<{ masterKey: MasterKeySource; nextMasterKey: OutsideSource | undefined }> {
  const { masterKeySource, nextMasterKeySource } = await import('@thecloud/core');
  try {
    return { masterKey: masterKeySource(environment, { production }), nextMasterKey: nextMasterKeySource(environment) };
  } finally {
    for (const name of VARIABLES) delete environment[name];
  }
}
