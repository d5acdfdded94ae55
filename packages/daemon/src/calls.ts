// The calls that may be given up. Each is told when its client goes, and all of them when the daemon stops; a write heeds that only until it is accepted.
import { Fault } from '@thecloud/core/contracts';

export class OpenCalls {
  readonly #controllers = new Set<AbortController>();
  #stopped: Fault | undefined;

  /** `done` must be called when the call has ended, however. */
  open(): { signal: AbortSignal; abort: () => void; done: () => void } {
    const controller = new AbortController();
    if (this.#stopped !== undefined) controller.abort(this.#stopped);
    this.#controllers.add(controller);
    return { signal: controller.signal, abort: () => controller.abort(), done: () => this.#controllers.delete(controller) };
  }

  /** Why the calls were ended, once they were. */
  get stopped(): Fault | undefined {
    return this.#stopped;
  }

  stop(): void {
    this.#stopped ??= new Fault('unavailable', 'The daemon is stopping', { hint: 'cloud daemon start' });
    for (const controller of this.#controllers) controller.abort(this.#stopped);
  }
}
