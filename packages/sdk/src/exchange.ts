// What carries one call, whatever it is made of; and what every carrier gets on top: waiting for what was accepted to be done.
import {
  type CallOptions,
  type Channel,
  type Cloud,
  type Contract,
  clientOf,
  contracts,
  ERRORS,
  type ErrorCode,
  Fault,
  type Operation,
  type Request,
  type Transport,
} from '@thecloud/core/contracts';

export interface Reply {
  value: unknown;
  /** Id of the operation that an asynchronous write began. */
  operation?: string | undefined;
}

/** Every method rejects with a Fault, or with the signal's reason. */
export interface Exchange {
  call(request: Request): Promise<Reply>;
  stream(request: Request): AsyncIterable<unknown>;
  channel(request: Request): Promise<Channel>;
}

/** Whether something thrown is an error of the cloud, and of this code when one is given. */
export const isFault = (error: unknown, code?: ErrorCode): error is Fault => error instanceof Fault && (code === undefined || error.code === code);

/** An operation as `operation.get` and `operation.wait` show it. */
export type OperationState = Awaited<ReturnType<Cloud['operation']['get']>>;

/** The change was accepted, and then failed. The code is that of the reason. */
export class OperationFailed extends Fault {
  readonly operation: OperationState;

  constructor(operation: OperationState) {
    const { code, message, hint, details } = operation.error ?? { code: 'internal', message: `${operation.kind} of ${operation.name} failed` };
    super(Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : 'internal', message, { details, hint });
    this.name = 'OperationFailed';
    this.operation = operation;
    this.requestId = operation.requestId;
  }
}

export interface WaitOptions extends Pick<CallOptions, 'signal' | 'tenant' | 'timeout'> {
  /** Called at the beginning and with every new progress text. */
  onProgress?: (operation: OperationState) => void;
}

const WAIT_MS = 10 * 60_000;
/** One question to the daemon lasts no longer, so that a connection that died unnoticed is noticed. */
const POLL_MS = 30_000;
/** A daemon that is restarted goes on with what it accepted; so long is it given to be back. */
const AWAY_MS = 15_000;
const AWAY_PAUSE_MS = 250;

const pause = (ms: number, signal: AbortSignal | undefined): Promise<void> =>
  new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });

type Call = (request: Request) => Promise<OperationState>;

async function settled(call: Call, id: string, { signal, tenant, timeout = WAIT_MS, onProgress }: WaitOptions): Promise<OperationState> {
  const deadline = Date.now() + timeout;
  let seen: string | undefined;
  let awaySince: number | undefined;
  for (let first = true; ; first = false) {
    const left = Math.max(0, deadline - Date.now());
    if (left === 0 && !first) {
      throw new Fault('timeout', `Operation ${id} is not done after ${timeout / 1000} s; it goes on`, {
        details: { operation: id },
        hint: `cloud operation wait ${id}`,
      });
    }
    try {
      const input = { timeout: Math.min(left, POLL_MS) / 1000, progress: onProgress === undefined ? undefined : (seen ?? '') };
      const operation = await call({ service: 'operation', operation: 'wait', target: id, input, options: { signal, tenant } });
      awaySince = undefined;
      if (operation.progress !== seen) onProgress?.(operation);
      seen = operation.progress;
      if (operation.state === 'succeeded') return operation;
      if (operation.state === 'failed') throw new OperationFailed(operation);
    } catch (error) {
      if (!(error instanceof Fault) || error instanceof OperationFailed) throw error;
      if (error.code === 'timeout') continue;
      if (error.code !== 'unavailable') throw error;
      awaySince ??= Date.now();
      if (Date.now() - awaySince > AWAY_MS) throw error;
      await pause(AWAY_PAUSE_MS, signal);
    }
  }
}

/**
 * Waits until an operation has succeeded. Rejects with OperationFailed, with `timeout` (10 minutes unless given otherwise; the operation goes on),
 * or with the signal's reason. A daemon that is restarted meanwhile is waited for.
 */
export const waitForOperation = (cloud: Pick<Cloud, 'operation'>, id: string, options: WaitOptions = {}): Promise<OperationState> =>
  settled((request) => cloud.operation.wait(id, request.input as Parameters<Cloud['operation']['wait']>[1], request.options), id, options);

/** What the result of a channel is when its own client gave it up. */
export const closedEarly = (): Fault => new Fault('conflict', 'The channel was closed before it ended');

const byName = new Map((Object.values(contracts) as Contract[]).map((contract) => [contract.resource.name, contract]));

export function contractOf({ service, operation: name }: Pick<Request, 'service' | 'operation'>): { contract: Contract; operation: Operation } {
  const contract = byName.get(service);
  const operation = contract?.operations[name];
  if (contract === undefined || operation === undefined) throw new Fault('not_found', `There is no operation ${service} ${name}`);
  return { contract, operation };
}

/** The resource that an id is of: the answer of `volume snapshot` is a snapshot. */
const serviceOfId = (id: string): string | undefined =>
  [...byName.values()].find(({ resource }) => id.startsWith(`${resource.prefix}-`) && id.length === resource.prefix.length + 17)?.resource.name;

/** A call with `wait` resolves with the resource as it is when the operation has succeeded; a delete with its last view. */
export function transportOf(exchange: Exchange): Transport {
  return {
    stream: (request) => exchange.stream(request),
    channel: (request) => exchange.channel(request),
    async call(request) {
      const { value, operation } = await exchange.call(request);
      const { wait, timeout, signal, tenant } = request.options;
      if (!wait || operation === undefined) return value;
      const call: Call = async (question) => (await exchange.call(question)).value as OperationState;
      await settled(call, operation, { signal, tenant, timeout });
      if (contractOf(request).operation.standard === 'delete') return value;
      const { id } = value as { id: string };
      const service = serviceOfId(id);
      if (service === undefined) return value;
      return (await exchange.call({ service, operation: 'get', target: id, input: {}, options: { signal, tenant } })).value;
    },
  };
}

export const cloudOver = (exchange: Exchange): Cloud => clientOf(contracts, transportOf(exchange));
