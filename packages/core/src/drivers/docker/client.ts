// One Docker Engine connection, one label scheme and one error translation for all of this backend's drivers.
import { existsSync } from 'node:fs';
import Dockerode from 'dockerode';
import { DriverError, type DriverErrorCode } from '../../kernel/errors.ts';
import type { Log } from '../../kernel/log.ts';

export interface DockerOptions {
  /** Everything made in the engine carries this label, so that two installations on one engine never touch each other's. */
  installation: string;
  /** Where the drivers may keep files of their own (volume images, staging, output of earlier containers). */
  dataDir: string;
  log: Log;
  /** Default: DOCKER_HOST, else the system's socket, else the rootless one of this user. */
  socketPath?: string;
}

export const LABEL_INSTALLATION = 'thecloud.installation';
export const LABEL_ID = 'thecloud.id';
/** On a Docker volume that keeps one image-declared VOLUME path of an instance: the instance's id. Such a volume has no LABEL_ID and is nobody's volume resource. */
export const LABEL_INSTANCE = 'thecloud.instance';

const PING_TIMEOUT = 5_000;

export class DockerClient {
  readonly docker: Dockerode;
  readonly installation: string;
  readonly dataDir: string;
  readonly log: Log;

  constructor(options: DockerOptions) {
    const socketPath = options.socketPath ?? rootlessSocket();
    this.docker = new Dockerode(socketPath === undefined ? {} : { socketPath });
    this.installation = options.installation;
    this.dataDir = options.dataDir;
    this.log = options.log;
  }

  labels(id: string): Record<string, string> {
    return { [LABEL_INSTALLATION]: this.installation, [LABEL_ID]: id };
  }

  /** The filter that finds what `labels` marked. */
  filter(): { label: string[] } {
    return { label: [`${LABEL_INSTALLATION}=${this.installation}`] };
  }

  /** An engine that takes the connection but says nothing for five seconds counts as away. */
  async ping(signal?: AbortSignal): Promise<void> {
    const timeout = AbortSignal.timeout(PING_TIMEOUT);
    try {
      // The client library takes a signal here; its types do not say so.
      const options = { abortSignal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]) };
      await (this.docker.ping as (options: object) => Promise<unknown>).call(this.docker, options);
    } catch (error) {
      signal?.throwIfAborted();
      if (timeout.aborted) throw new DriverError('unavailable', 'Docker Engine does not answer', { cause: error, hint: START_HINT });
      throw translate(error, 'Docker Engine does not answer');
    }
  }
}

function rootlessSocket(): string | undefined {
  const { DOCKER_HOST, XDG_RUNTIME_DIR } = process.env;
  if (DOCKER_HOST !== undefined || XDG_RUNTIME_DIR === undefined || existsSync('/var/run/docker.sock')) return undefined;
  const socket = `${XDG_RUNTIME_DIR}/docker.sock`;
  return existsSync(socket) ? socket : undefined;
}

interface EngineError {
  name?: string;
  statusCode?: number;
  code?: string;
  json?: { message?: string };
  message: string;
}

/** HTTP status of an engine answer, undefined when there was none. */
export const statusOf = (error: unknown): number | undefined => (error as EngineError | undefined)?.statusCode;

/** What the engine itself said, without the client library's frame around it. */
export const messageOf = (error: unknown): string => {
  const engine = error as EngineError;
  return (engine.json?.message ?? engine.message.replace(/^\(HTTP code \d+\) .*? - /s, '')).trim();
};

const START_HINT = 'sudo systemctl start docker  # then: cloud system doctor';
const AWAY = new Set(['ECONNREFUSED', 'ENOENT', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENOTFOUND', 'EAI_AGAIN']);

interface Known {
  pattern: RegExp;
  code: DriverErrorCode;
  sentence: (match: RegExpExecArray) => string;
  hint?: (match: RegExpExecArray) => string;
}

/** Answers that a user meets, said in our words. The first match counts. */
const KNOWN: Known[] = [
  {
    pattern: /listen (?:tcp|udp)\d? (?:\[[^\]]*\]|[\d.]*):(\d+): bind: address already in use|Bind for (\S*?):(\d+) failed: port is already allocated/,
    code: 'bad_spec',
    sentence: ([, listened, , bound]) => `Port ${listened ?? bound} on this host is already in use`,
    hint: ([, listened, , bound]) => `ss -lntup 'sport = :${listened ?? bound}'  # shows by what`,
  },
  {
    pattern: /bind: permission denied|cannot expose privileged port (\d+)/,
    code: 'bad_spec',
    sentence: () => 'Docker Engine may not publish a port below 1024 here',
  },
  {
    pattern: /bind: cannot assign requested address/,
    code: 'bad_spec',
    sentence: () => 'A published port names a host address that this host does not have',
  },
  {
    pattern: /Range of CPUs is from (\S+) to (\S+),/,
    code: 'bad_spec',
    sentence: ([, least, most]) => `This machine can give an instance ${least} to ${most} CPUs`,
  },
  {
    pattern: /Minimum memory limit (?:allowed is|can not be less than) (\w+)/i,
    code: 'bad_spec',
    sentence: ([, least]) => `An instance needs at least ${least} of memory`,
  },
  {
    pattern: /unable to set memory limit to \d+ \(current usage|memory\.(?:limit_in_bytes|memsw\.limit_in_bytes|max)\S*: device or resource busy/,
    code: 'busy',
    sentence: () => 'The instance uses more memory right now than the new limit allows',
  },
  {
    pattern: /No such image: ([^\s]+)/i,
    code: 'bad_spec',
    sentence: ([, image]) => `There is no image ${image} on this machine`,
    hint: ([, image]) => `cloud image pull ${image}`,
  },
  {
    pattern: /no space left on device/i,
    code: 'failed',
    sentence: () => 'The disk that Docker Engine uses is full',
    hint: () => 'docker system df  # shows what takes the space',
  },
  {
    pattern: /network (\S+) not found/,
    code: 'busy',
    sentence: ([, network]) => `Docker Engine has no network ${network} yet`,
  },
  {
    pattern: /Address already in use/,
    code: 'busy',
    sentence: () => 'The private address is still in use in its network',
  },
  {
    pattern:
      /user specified IP address is supported only|Invalid address|no configured subnet contains IP|not in the subnet|does not belong to any of this network's subnets/i,
    code: 'bad_spec',
    sentence: () => "The private address is not in the network's range",
  },
  {
    pattern: /exec: "([^"]*)": (?:stat \S+: )?(?:executable file not found|no such file or directory)/,
    code: 'bad_spec',
    sentence: ([, program]) => `The image has no program "${program}" to start`,
  },
  {
    pattern: /exec: "([^"]*)": permission denied/,
    code: 'bad_spec',
    sentence: ([, program]) => `"${program}" in the image is not a program that may be started`,
  },
  {
    pattern: /no command specified/i,
    code: 'bad_spec',
    sentence: () => 'The image names no command; give one',
  },
  {
    pattern: /unable to find user ([^:]+): /,
    code: 'bad_spec',
    sentence: ([, user]) => `The instance has no user ${user}`,
  },
];

/** The one place where the engine's answers become DriverErrors. `doing` is a sentence's beginning: "Could not start the container". */
export function translate(error: unknown, doing: string): DriverError {
  if (error instanceof DriverError) return error;
  const engine = error as EngineError;
  const said = messageOf(error);
  const options = { cause: error };
  if (engine.code === 'EACCES') {
    return new DriverError('unavailable', 'This user may not talk to Docker Engine', {
      ...options,
      hint: 'sudo usermod -aG docker "$USER"  # then log in again',
    });
  }
  if (engine.statusCode === undefined && (AWAY.has(engine.code ?? '') || /socket hang up|aborted/.test(said))) {
    const host = process.env.DOCKER_HOST;
    return new DriverError('unavailable', `Docker Engine${host === undefined ? '' : ` at ${host} (from DOCKER_HOST)`} is not reachable`, {
      ...options,
      hint: host === undefined ? START_HINT : 'unset DOCKER_HOST  # to use the engine of this machine',
    });
  }
  for (const { pattern, code, sentence, hint } of KNOWN) {
    const match = pattern.exec(said);
    if (match !== null) return new DriverError(code, sentence(match), { ...options, ...(hint === undefined ? {} : { hint: hint(match) }) });
  }
  const status = engine.statusCode;
  const sentence = `${doing}: ${said}`;
  if (status === 400 || status === 404 || status === 406) return new DriverError('bad_spec', sentence, options);
  if (status === 409) return new DriverError('busy', sentence, options);
  if (status === 503) return new DriverError('unavailable', sentence, options);
  return new DriverError('failed', sentence, options);
}

/** Undefined in place of "no such thing"; every other refusal stays. */
export async function unlessAbsent<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw error;
  }
}
