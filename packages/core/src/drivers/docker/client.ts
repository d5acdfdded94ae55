// One Docker Engine connection, one label scheme and one error translation for all of this backend's drivers.
import Dockerode from 'dockerode';
import { DriverError } from '../../kernel/errors.ts';
import type { Log } from '../../kernel/log.ts';

export interface DockerOptions {
  /** Everything made in the engine carries this label, so that two installations on one engine never touch each other's. */
  installation: string;
  /** Where the drivers may keep files of their own (volume images, staging). */
  dataDir: string;
  log: Log;
  /** Default: DOCKER_HOST, else /var/run/docker.sock. */
  socketPath?: string;
}

export const LABEL_INSTALLATION = 'thecloud.installation';
export const LABEL_ID = 'thecloud.id';
/** On a Docker volume that keeps one image-declared VOLUME path of an instance: the instance's id. Such a volume has no LABEL_ID and is nobody's volume resource. */
export const LABEL_INSTANCE = 'thecloud.instance';

export class DockerClient {
  readonly docker: Dockerode;
  readonly installation: string;
  readonly dataDir: string;
  readonly log: Log;

  constructor(options: DockerOptions) {
    this.docker = new Dockerode(options.socketPath === undefined ? {} : { socketPath: options.socketPath });
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

  async ping(): Promise<void> {
    try {
      await this.docker.ping();
    } catch (error) {
      throw translate(error, 'Docker Engine does not answer');
    }
  }
}

interface EngineError {
  statusCode?: number;
  code?: string;
  reason?: string;
  json?: { message?: string };
  message: string;
}

/** HTTP status of an engine answer, undefined when there was none. */
export const statusOf = (error: unknown): number | undefined => (error as EngineError | undefined)?.statusCode;

/** The one place where the engine's answers become DriverErrors. `doing` is a sentence's beginning: "Could not start the container". */
export function translate(error: unknown, doing: string): DriverError {
  if (error instanceof DriverError) return error;
  const engine = error as EngineError;
  const said = engine.json?.message ?? engine.message;
  const options = { cause: error };
  if (['ECONNREFUSED', 'ENOENT', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT'].includes(engine.code ?? '')) {
    return new DriverError('unavailable', 'Docker Engine is not reachable', { ...options, hint: 'sudo systemctl start docker  # then: cloud system doctor' });
  }
  if (engine.code === 'EACCES') {
    return new DriverError('unavailable', 'This user may not talk to Docker Engine', {
      ...options,
      hint: 'sudo usermod -aG docker "$USER"  # then log in again',
    });
  }
  const status = engine.statusCode;
  const sentence = `${doing}: ${said}`;
  if (status === 400 || status === 404 || status === 406) return new DriverError('bad_spec', sentence, options);
  if (status === 409) return new DriverError('busy', sentence, options);
  return new DriverError('failed', sentence, options);
}
