// Docker Engine, for the benchmarks that have it as the peer.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const exec = promisify(execFile);

export const IMAGE = 'busybox';

/** Runs the docker command and gives what it says. */
export const docker = async (...args: string[]): Promise<string> => (await exec('docker', args)).stdout.trim();

/** Why there is nothing to measure beside; undefined when Docker answers and has the image. */
export async function dockerObstacle(): Promise<string | undefined> {
  try {
    await docker('image', 'inspect', '--format', '{{.Id}}', IMAGE);
    return undefined;
  } catch (error) {
    return `Docker does not answer, or has no image ${IMAGE}: ${(error as Error).message.trim().split('\n').at(-1)}`;
  }
}
