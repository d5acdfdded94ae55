// Data planes: bytes that are not calls, on addresses of their own. A service offers one; whoever runs the core says where it listens.
import { Fault } from './errors.ts';

export interface ListenAt {
  host: string;
  /** 0 takes a free one. */
  port: number;
  /** Takes ways to sign a request that are weaker and older, too, for clients that know no better. Default false. */
  legacy?: boolean | undefined;
}

export interface Listening {
  readonly host: string;
  readonly port: number;
  /** Takes no more, lets what is under way finish for a while, then cuts it off. Twice is once. */
  close(): Promise<void>;
}

export interface Listener {
  /** `s3` */
  readonly name: string;
  /** Where clients look for it when nobody says otherwise. */
  readonly defaultPort: number;
  /** Rejects with the system's own error (`EADDRINUSE`). */
  listen(at: ListenAt): Promise<Listening>;
}

/** All data planes of a core, and which of them are open. */
export class Listeners {
  readonly #known = new Map<string, Listener>();
  readonly #open = new Map<string, Listening>();

  add(listener: Listener): void {
    this.#known.set(listener.name, listener);
  }

  get names(): readonly { name: string; defaultPort: number }[] {
    return [...this.#known.values()].map(({ name, defaultPort }) => ({ name, defaultPort }));
  }

  /** Where it listens now; undefined while it does not. */
  at(name: string): Listening | undefined {
    return this.#open.get(name);
  }

  /** `conflict` when it listens already, or the address is taken; `invalid_input` for an address that is not this machine's. */
  async listen(name: string, at: ListenAt): Promise<Listening> {
    const listener = this.#known.get(name);
    if (listener === undefined)
      throw new Fault('not_found', `There is no listener ${JSON.stringify(name)}`, { hint: `one of: ${[...this.#known.keys()].join(', ')}` });
    if (this.#open.has(name)) throw new Fault('conflict', `${name} listens already`);
    let opened: Listening;
    try {
      opened = await listener.listen(at);
    } catch (error) {
      const { code } = error as { code?: string };
      const where = `${at.host}:${at.port}`;
      if (code === 'EADDRINUSE')
        throw new Fault('conflict', `Another program listens at ${where}, where ${name} should`, {
          hint: `cloud daemon start --${name}-listen 127.0.0.1:0`,
          cause: error,
        });
      if (code === 'EACCES')
        throw new Fault('conflict', `This user may not listen at ${where}`, { hint: `cloud daemon start --${name}-listen 127.0.0.1:9000`, cause: error });
      if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
        throw new Fault('invalid_input', `${where} is no address of this machine`, {
          hint: `cloud daemon start --${name}-listen 127.0.0.1:9000`,
          cause: error,
        });
      throw error;
    }
    const close = opened.close.bind(opened);
    const listening: Listening = {
      host: opened.host,
      port: opened.port,
      close: async () => {
        await close();
        if (this.#open.get(name) === listening) this.#open.delete(name);
      },
    };
    this.#open.set(name, listening);
    return listening;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open.values()].map((each) => each.close()));
  }
}
