// The place of objects and its credentials on their way from the environment to the core. What is in the environment, every program that the daemon runs would inherit.
import type { ObjectStoreOptions } from '@thecloud/core';

/** Reads the variables and removes them. Rejects with `invalid_input` for what is not right; they are removed then too. */
export async function takeObjectStore(environment: NodeJS.ProcessEnv): Promise<ObjectStoreOptions | undefined> {
  const { OBJECT_STORE_VARIABLES, objectStoreFrom } = await import('@thecloud/core');
  try {
    return objectStoreFrom(environment);
  } finally {
    for (const name of OBJECT_STORE_VARIABLES) delete environment[name];
  }
}
