// Loop devices: block devices over image files. They vanish with a reboot and come back under other numbers, so they are always looked up by file.
import { readdir, readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { DriverError } from '../../kernel/errors.ts';
import { exclusively } from './ext4.ts';
import { run } from './tools.ts';

export interface Loop {
  /** /dev/loopN */
  device: string;
  /** As the kernel names it; a file that was removed has ` (deleted)` after its path. */
  file: string;
  /** major:minor */
  number: string;
}

export async function listLoops(): Promise<Loop[]> {
  const names = (await readdir('/sys/block')).filter((name) => /^loop\d+$/.test(name));
  const read = async (name: string): Promise<Loop[]> => {
    try {
      const [file, number] = await Promise.all([readFile(`/sys/block/${name}/loop/backing_file`, 'utf8'), readFile(`/sys/block/${name}/dev`, 'utf8')]);
      return [{ device: `/dev/${name}`, file: file.trimEnd(), number: number.trim() }];
    } catch (error) {
      // A free device has no backing file.
      if (['ENOENT', 'ENXIO', 'ENODEV', 'EIO'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
      throw error;
    }
  };
  return (await Promise.all(names.map(read))).flat();
}

export const findLoop = async (file: string): Promise<Loop | undefined> => (await listLoops()).find((loop) => loop.file === file);

/** The device over the file; an existing one is used. */
export async function attachLoop(file: string): Promise<Loop> {
  const present = await findLoop(file);
  if (present !== undefined) return present;
  // Direct I/O: the file system above has its own page cache, a second one over the file would only hold the same pages twice.
  // Where the disk's file system cannot, the kernel falls back to buffered I/O by itself.
  await exclusively(file, 'losetup', ['--find', '--direct-io=on', file], [1]);
  const loop = (await findLoop(file)) ?? (await exclusively(file, 'losetup', ['--find', file]).then(() => findLoop(file)));
  if (loop === undefined) throw new DriverError('failed', `losetup made no device for ${basename(file)}`);
  return loop;
}

/** Whether the file has no device any more. A device that is mounted stays until it is unmounted: then the answer is false. */
export async function detachLoop(file: string): Promise<boolean> {
  const loop = await findLoop(file);
  if (loop === undefined) return true;
  await run('losetup', ['--detach', loop.device], { accept: [1] });
  return (await findLoop(file)) === undefined;
}

/** Where the device is mounted, as this process sees it. */
export async function mountPoints(loop: Loop): Promise<string[]> {
  return (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').flatMap((line) => {
    const [, , number, root, path] = line.split(' ');
    if (number !== loop.number || root !== '/' || path === undefined) return [];
    // The kernel writes blanks and backslashes in paths as octal numbers.
    return [path.replace(/\\(\d{3})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 8)))];
  });
}

export const mountPoint = async (loop: Loop): Promise<string | undefined> => (await mountPoints(loop))[0];
