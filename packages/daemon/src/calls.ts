// The calls that may be given up. Each is told when its client goes, and all of them when the daemon stops; a write heeds that only until it is accepted.
import { Fault } from '@thecloud/core/contracts';

export class OpenCall {
  readonly #controller = new AbortController();
  readonly #forget: (call: OpenCall) => void;
  #ended: Fault | undefined;

  constructor(forget: (call: OpenCall) => void) {
    this.#forget = forget;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Why it was ended by us, once it was. */
  get ended(): Fault | undefined {
    return this.#ended;
  }

  /** The client has gone. */
  readonly abort = (): void => this.#controller.abort();

  /** Whatever it still does is not for its client any more; that is told why. */
  readonly end = (fault: Fault): void => {
    this.#ended ??= fault;
    this.#controller.abort(this.#ended);
  };

  /** To be called when the call is over, however. */
  readonly done = (): void => this.#forget(this);
}

export class OpenCalls {
  readonly #open = new Set<OpenCall>();
  #stopped: Fault | undefined;

  open(): OpenCall {
    const call = new OpenCall((over) => this.#open.delete(over));
    if (this.#stopped !== undefined) call.end(this.#stopped);
    this.#open.add(call);
    return call;
  }

  stop(): void {
    this.#stopped ??= new Fault('unavailable', 'The daemon is stopping', { hint: 'cloud daemon start' });
    for (const call of this.#open) call.end(this.#stopped);
  }
}
