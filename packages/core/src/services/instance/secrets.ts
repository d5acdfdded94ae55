// Secrets in an instance's environment, written `@secret:name`. Whoever writes one must be allowed to read it; the value itself is looked up
// just before a start and given to the driver only.
import { DriverError, Fault } from '../../kernel/errors.ts';
import type { Call, Reconciliation, RowOf } from '../../kernel/service.ts';
import { literalText, secretReference, secrets } from '../secret/contract.ts';
import type { instances } from './contract.ts';
import type { InstanceObserved, InstanceSpec } from './driver.ts';

type Instances = typeof instances;
type InstanceRow = RowOf<Instances>;

interface SecretRef {
  variable: string;
  secretId: string;
  /** The newest at each start when absent. */
  version?: number | undefined;
}

/** Fields of the spec that the contract does not show. */
interface SecretUse {
  secretRefs?: SecretRef[] | undefined;
  /** What must not be deleted as long as the row refers to it. */
  alsoUses?: string[] | undefined;
}

/** Fields of the status that the contract does not show. */
interface SecretStatus {
  /** What the instance was last started with, or is being started with. */
  secretVersions?: Record<string, number>;
  /** The request to restart that they were read for. */
  secretsToken?: string;
}

const refsOf = (row: InstanceRow): SecretRef[] => (row.spec as SecretUse).secretRefs ?? [];

function naming(variable: string, error: unknown): unknown {
  if (!(error instanceof Fault)) return error;
  const path = `env.${variable}`;
  const details = error.code === 'forbidden' ? error.details : [{ path, message: error.message }];
  return new Fault(error.code, `${path}: ${error.message}`, { details, cause: error, ...(error.hint === undefined ? {} : { hint: error.hint }) });
}

const wrong = (variable: string, message: string): Fault =>
  new Fault('invalid_input', `env.${variable}: ${message}`, { details: [{ path: `env.${variable}`, message }] });

/** The part of the spec that tells which secrets an environment refers to. What stood there before need not be allowed again. */
export async function secretsIn(
  call: Pick<Call<Instances, unknown>, 'client'>,
  env: Readonly<Record<string, string>>,
  before?: InstanceRow,
): Promise<SecretUse> {
  const { secret } = call.client({ secret: secrets });
  const known = new Map((before === undefined ? [] : refsOf(before)).map((ref) => [before?.spec.env[ref.variable], ref]));
  const found: SecretRef[] = [];
  for (const [variable, text] of Object.entries(env)) {
    const reference = secretReference(text);
    if (reference === undefined) continue;
    if (typeof reference === 'string') throw wrong(variable, reference);
    const same = known.get(text);
    if (same !== undefined) {
      found.push({ ...same, variable });
      continue;
    }
    const { version } = reference;
    try {
      const { id, name, value } = await secret.value(reference.secret, version === undefined ? {} : { version });
      if (value.includes('\0')) throw new Fault('invalid_input', `the secret ${name} has a zero byte in it, which no variable can hold`);
      const ref = { variable, secretId: id, ...(version === undefined ? {} : { version }) };
      known.set(text, ref);
      found.push(ref);
    } catch (error) {
      throw naming(variable, error);
    }
  }
  if (found.length === 0) return { secretRefs: undefined, alsoUses: undefined };
  return { secretRefs: found, alsoUses: [...new Set(found.map(({ secretId }) => secretId))] };
}

export interface Environment {
  spec: Pick<InstanceSpec, 'env' | 'envKey'>;
  /** A restart was asked for, which may bring other values. */
  restart: boolean;
  /** To be reported once the driver has done it. */
  status: object;
}

/**
 * The environment as the driver is to be given it. What starts gets the newest versions, and that is an access of each secret; what runs keeps
 * those that it was started with.
 */
export async function environmentOf(
  row: InstanceRow,
  observed: InstanceObserved | undefined,
  { power, restartToken }: Pick<InstanceSpec, 'power' | 'restartToken'>,
  restartAllowed: boolean,
  { client, report }: Pick<Reconciliation<Instances>, 'client' | 'report'>,
): Promise<Environment> {
  const refs = refsOf(row);
  if (refs.length === 0) {
    const env = Object.entries(row.spec.env).map(([name, text]) => [name, literalText(text)]);
    return { spec: { env: Object.fromEntries(env) }, restart: false, status: {} };
  }
  const { secretVersions: versions = {}, secretsToken } = row.status as SecretStatus;
  const restart = secretsToken !== restartToken;
  const stopped = observed?.power === 'stopped' && (power !== 'stopped' || row.observed < row.generation);
  const anew = observed === undefined || stopped || restart || restartAllowed || refs.some(({ variable }) => versions[variable] === undefined);

  const { secret } = client({ secret: secrets });
  const byVariable = new Map(refs.map((ref) => [ref.variable, ref]));
  const used: Record<string, number> = {};
  const env: [string, string][] = [];
  const key: [string, string][] = [];
  // One secret in two variables is read once.
  const read = new Map<string, { version: number; value: string }>();
  for (const [variable, text] of Object.entries(row.spec.env)) {
    const ref = byVariable.get(variable);
    if (ref === undefined) {
      env.push([variable, literalText(text)]);
      key.push([variable, text]);
      continue;
    }
    const { secretId } = ref;
    const version = anew ? ref.version : versions[variable];
    const name = `${secretId}#${version ?? ''}`;
    let found = read.get(name);
    if (found === undefined) {
      try {
        found = anew
          ? await secret.reveal(secretId, { usedBy: `instance ${row.name}`, ...(version === undefined ? {} : { version }) })
          : await secret.peek(secretId, { version: version as number });
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        // What only is to stop needs no values, and must not be kept from it by one that does not open.
        if (!anew && power === 'stopped') found = { version: version as number, value: '' };
        else throw new DriverError(error.code === 'unavailable' ? 'unavailable' : 'bad_spec', `env.${variable}: ${error.message}`, { cause: error });
      }
      read.set(name, found);
    }
    used[variable] = anew ? found.version : (version as number);
    env.push([variable, found.value]);
    key.push([variable, `@secret:${secretId}#${used[variable]}`]);
  }
  // Before the driver acts: after a kill in between, what runs is known to be what was meant.
  if (anew && JSON.stringify(used) !== JSON.stringify(versions)) await report({ status: { secretVersions: used } as object });
  return {
    spec: { env: Object.fromEntries(env), envKey: JSON.stringify(key.sort(([a], [b]) => (a < b ? -1 : 1))) },
    restart,
    status: { secretsToken: restartToken },
  };
}
