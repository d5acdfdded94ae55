// The daemon, as commands see it: operations of the table, called over the endpoint in force.
import { encodeQuery, Fault, type FaultBody, HEADER } from '@thecloud/core/contracts';
import { err } from './base.ts';
import type { Session } from './credentials.ts';
import { type Answer, ConnectionLost, events, request } from './http.ts';
import type { Settings } from './settings.ts';
import type { OperationSpec } from './table.ts';

export interface CallInput {
  target?: string | undefined;
  input?: Record<string, unknown>;
  signal?: AbortSignal | undefined;
  patience?: number;
}

export interface StreamInput extends Omit<CallInput, 'patience'> {
  /** The input that goes on after this item. */
  resume?: (last: unknown) => Record<string, unknown>;
}

export interface Called {
  status: number;
  /** As the daemon wrote it. */
  text: string;
  value: unknown;
  /** Id of the operation to wait for. */
  operation: string | undefined;
}

/** Times that a write is repeated under the same key when the connection broke before the answer. */
const REPEATS = 2;

/** Milliseconds in which no token ends that was new. */
const SOON = 10_000;

export class Remote {
  readonly settings: Settings;
  #session: Session | undefined;
  constructor(settings: Settings) {
    this.settings = settings;
  }

  async call(operation: OperationSpec, { target, input = {}, signal, patience }: CallInput): Promise<Called> {
    const path = pathOf(operation, target, input);
    const write = operation.kind === 'write';
    const more: Record<string, string> = write && !operation.once ? { [HEADER.idempotencyKey]: globalThis.crypto.randomUUID() } : {};
    let authorization = await this.authorization(operation);
    const ask = {
      method: operation.method,
      path,
      ...(operation.method === 'POST' || operation.method === 'PATCH' ? { body: JSON.stringify(input) } : {}),
      ...(signal === undefined ? {} : { signal }),
      ...(patience === undefined ? {} : { patience }),
    };
    let renewed = false;
    for (let attempt = 0; ; attempt++) {
      const began = performance.now();
      try {
        const answer = await request(this.settings.endpoint, { ...ask, headers: this.headers(authorization, more) });
        this.#note(ask, answer, began);
        if (answer.status === 401 && !renewed) {
          renewed = true;
          const other = await this.renewed(authorization);
          if (other !== undefined) {
            authorization = other;
            continue;
          }
        }
        if (answer.status >= 400) throw this.#hinted(faultFrom(answer), operation);
        return {
          status: answer.status,
          text: answer.body,
          value: answer.body === '' ? undefined : parsed(answer),
          operation: answer.headers.get(HEADER.operation),
        };
      } catch (error) {
        if (!(error instanceof ConnectionLost)) throw error;
        if (attempt >= REPEATS || operation.once) throw new Fault('unavailable', error.message, { hint: 'cloud daemon status', cause: error });
      }
    }
  }

  /**
   * Items as they come. The daemon ends a stream with the token that opened it, long before whoever watches has enough: it is opened again with
   * the next one, from the start while nothing has come, else with what `resume` makes of the last item.
   */
  async *stream(operation: OperationSpec, { target, input = {}, signal, resume }: StreamInput): AsyncGenerator<unknown> {
    const ask = { method: operation.method, ...(signal === undefined ? {} : { signal }) };
    let authorization = await this.authorization(operation);
    let path = pathOf(operation, target, input);
    let last: unknown;
    let renewedAt = Number.NEGATIVE_INFINITY;
    for (;;) {
      try {
        for await (const event of events(this.settings.endpoint, { ...ask, path, headers: this.headers(authorization) }, faultFrom)) {
          if (event.event === 'error') throw faultOf(event.data);
          if (event.event === 'end' || event.data === '') continue;
          last = JSON.parse(event.data);
          yield last;
        }
        return;
      } catch (error) {
        if (error instanceof ConnectionLost) throw new Fault('unavailable', error.message, { hint: 'cloud daemon status', cause: error });
        const outlived = error instanceof Fault && error.code === 'unauthenticated' && (last === undefined || resume !== undefined);
        // A new token that is refused at once will not be the last.
        const other = outlived && performance.now() - renewedAt > SOON ? await this.renewed(authorization) : undefined;
        if (other === undefined) throw error;
        authorization = other;
        renewedAt = performance.now();
        if (last !== undefined && resume !== undefined) path = pathOf(operation, target, resume(last));
      }
    }
  }

  headers(authorization: string | undefined, more: Record<string, string> = {}): Record<string, string> {
    const { tenant } = this.settings;
    return {
      ...(tenant === undefined ? {} : { [HEADER.tenant]: tenant }),
      ...(authorization === undefined ? {} : { authorization: `Bearer ${authorization}` }),
      ...more,
    };
  }

  /** What to prove oneself with. A login needs nothing, and gets nothing that it might be refused for. */
  async authorization(operation: OperationSpec): Promise<string | undefined> {
    const { proof } = this.settings;
    if (proof === undefined || operation.anonymous) return undefined;
    if ('token' in proof) return proof.token;
    if (this.#session === undefined) {
      const { Session } = await import('./credentials.ts');
      this.#session = new Session(proof.context, this.settings);
    }
    return this.#session.bearer();
  }

  /** Another token in place of one that was refused, if there is any. */
  async renewed(refused: string | undefined): Promise<string | undefined> {
    return refused === undefined ? undefined : this.#session?.renew(refused);
  }

  /** Whoever has nothing to prove himself with for an address gets that by logging in there. */
  #hinted(fault: Fault, { anonymous }: OperationSpec): Fault {
    const { endpoint, proof } = this.settings;
    if (fault.code !== 'unauthenticated' || anonymous || proof !== undefined || !('url' in endpoint)) return fault;
    return Fault.from({ ...fault.toJSON(), hint: `cloud auth login --url ${endpoint.url}` });
  }

  #note(ask: { method: string; path: string }, answer: Answer, began: number): void {
    if (!this.settings.verbose) return;
    const id = answer.headers.get(HEADER.requestId);
    err(`> ${ask.method} ${ask.path} ${answer.status} ${Math.round(performance.now() - began)} ms${id === undefined ? '' : ` ${id}`}\n`);
  }
}

export function pathOf(operation: OperationSpec, target: string | undefined, input: Record<string, unknown>): string {
  const path = target === undefined ? operation.path : operation.path.replace(/\{[^}]+\}/, encodeURIComponent(target));
  if (operation.method === 'POST' || operation.method === 'PATCH') return path;
  const query = encodeQuery(input).toString();
  return query === '' ? path : `${path}?${query}`;
}

function parsed(answer: Answer & { body: string }): unknown {
  try {
    return JSON.parse(answer.body);
  } catch (error) {
    throw new Fault('internal', 'The daemon answered with something that is not JSON', { cause: error });
  }
}

export function faultFrom(answer: Answer & { body: string }): Fault {
  const fault = faultOf(answer.body);
  fault.requestId ??= answer.headers.get(HEADER.requestId);
  if (fault.code === 'internal' && answer.body.trim() === '') return new Fault('internal', `The daemon answered with status ${answer.status} and nothing else`);
  return fault;
}

function faultOf(text: string): Fault {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return new Fault('internal', `What answered is not the daemon: ${text.slice(0, 200).trim()}`);
  }
  const found = (body as { error?: Partial<FaultBody> }).error ?? (body as Partial<FaultBody>);
  if (typeof found.code !== 'string' || typeof found.message !== 'string')
    return new Fault('internal', `What answered is not the daemon: ${text.slice(0, 200)}`);
  return Fault.from(found as FaultBody);
}
