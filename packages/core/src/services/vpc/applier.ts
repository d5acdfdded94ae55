// Keeps the plane in force: compiled and applied when something that it is made of has changed, once for as many changes as come together, and looked at
// again from time to time, because others may flush the packet filter.
import type { Clock } from '../../kernel/clock.ts';
import { DriverError } from '../../kernel/errors.ts';
import type { Log } from '../../kernel/log.ts';
import type { NetworkDriver, Plane } from './driver.ts';

/** Between two looks at whether the rules are there still, milliseconds. */
const LOOK_MS = 5_000;

interface Waiter {
  resolve(): void;
  reject(error: unknown): void;
}

export class Applier {
  readonly #driver: NetworkDriver;
  readonly #compile: () => Promise<Plane>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #stop = new AbortController();
  #waiting: Waiter[] = [];
  #running: Promise<void> | undefined;
  /** What is in force, as text; undefined when that is not known. */
  #inForce: string | undefined;
  #looking: Promise<void> | undefined;

  constructor(driver: NetworkDriver, compile: () => Promise<Plane>, { clock, log }: { clock: Clock; log: Log }) {
    this.#driver = driver;
    this.#compile = compile;
    this.#clock = clock;
    this.#log = log;
  }

  /** Resolves when everything that was committed before the call is in force. Rejects with the driver's error; then nothing has changed. */
  settle(): Promise<void> {
    if (this.#stop.signal.aborted) return Promise.reject(new DriverError('unavailable', 'The daemon is stopping'));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#running ??= this.#run().finally(() => {
        this.#running = undefined;
      });
    });
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      // Those who come while this one is made wait for the next.
      const served = this.#waiting;
      this.#waiting = [];
      try {
        await this.#apply();
        for (const { resolve } of served) resolve();
      } catch (error) {
        for (const { reject } of served) reject(error);
      }
    }
  }

  async #apply(): Promise<void> {
    const plane = await this.#compile();
    const text = JSON.stringify(plane);
    if (text === this.#inForce) return;
    this.#inForce = undefined;
    await this.#driver.apply(plane, this.#stop.signal);
    this.#inForce = text;
  }

  /** Begins to look after the rules; what a killed daemon left is brought up to date at once. */
  start(): void {
    this.#looking ??= this.#look();
  }

  async #look(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        if (this.#inForce !== undefined && !(await this.#driver.inForce(signal))) {
          this.#log.warn({}, 'the rules of the networks were removed by somebody else and are put back');
          this.#inForce = undefined;
        }
        await this.settle();
      } catch (error) {
        if (signal.aborted) return;
        this.#log.warn({ error: (error as Error).message }, 'the rules of the networks could not be brought up to date');
      }
      await this.#clock.sleep(LOOK_MS, signal).catch(() => undefined); // stopping
    }
  }

  async close(): Promise<void> {
    this.#stop.abort(new DriverError('unavailable', 'The daemon is stopping'));
    await this.#looking;
    await this.#running;
  }
}
