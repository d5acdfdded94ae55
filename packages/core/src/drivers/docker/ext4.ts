// ext4 file systems in image files. Whoever grows or repairs one holds a lock on the file that outlives this process: a tool that a killed daemon
// left running finishes before the next daemon touches the same image.
import { open, rename, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DriverError } from '../../kernel/errors.ts';
import { run, type ToolResult } from './tools.ts';

const BLOCK = 4096;
/** Below this ext4 has no room for its own tables. */
export const MIN_BYTES = 1024 * 1024;

const LOCK_WAIT_SECONDS = 120;
const LOCK_TAKEN = 75;

/** Image files are whole blocks. */
export const imageBytes = (sizeBytes: number): number => Math.ceil(sizeBytes / BLOCK) * BLOCK;

/** Runs a tool while no other holds the image. Takes no signal: these tools are quick, and one that is killed half-way leaves work for the next. */
export async function exclusively(image: string, program: string, args: readonly string[], accept: readonly number[] = []): Promise<ToolResult> {
  const lock = ['--exclusive', '--wait', String(LOCK_WAIT_SECONDS), '--conflict-exit-code', String(LOCK_TAKEN), image];
  const result = await run('flock', [...lock, program, ...args], { accept: [...accept, LOCK_TAKEN] });
  if (result.exitCode === LOCK_TAKEN) throw new DriverError('busy', 'An earlier change of this volume is still running');
  return result;
}

/** A new image with an empty file system; its root directory holds nothing at all, because databases refuse a directory with `lost+found` in it. */
export async function makeFileSystem(image: string, sizeBytes: number, signal: AbortSignal): Promise<void> {
  const file = await open(image, 'wx', 0o600);
  await file.truncate(imageBytes(sizeBytes));
  await file.close();
  // Tables are written lazily, so that an image takes only what is used; no blocks are kept back for root, who is the user here.
  const lazy = 'lazy_itable_init=1,lazy_journal_init=1,nodiscard';
  await run('mkfs.ext4', ['-q', '-F', '-b', String(BLOCK), '-m', '0', '-E', lazy, image], { signal });
  await dropLostAndFound(image);
}

const dropLostAndFound = (image: string): Promise<ToolResult> => run('debugfs', ['-w', '-R', 'rmdir lost+found', image]);

/** Replays the journal and checks everything. `thorough` also mends what an interrupted resize may have left. */
export async function checkFileSystem(image: string, thorough = false): Promise<void> {
  const { exitCode, stdout } = await exclusively(image, 'e2fsck', [thorough ? '-fy' : '-fp', image], [1, 2, 4, 8]);
  if (exitCode > 2) throw new DriverError('failed', `The file system of this volume is damaged: ${stdout.trim().split('\n').at(-1) ?? ''}`);
  // e2fsck misses its directory and makes it; one that already holds rescued files is not empty and stays.
  if (/lost\+found not found/.test(stdout)) await dropLostAndFound(image);
}

/** Makes the file system as large as the image can hold. Nothing may have it mounted. */
export async function fillImage(image: string, sizeBytes: number, thorough = false): Promise<void> {
  await truncate(image, imageBytes(sizeBytes));
  await checkFileSystem(image, thorough);
  await exclusively(image, 'resize2fs', [image]);
}

export interface Superblock {
  sizeBytes: number;
  /** undefined when the file system does not record how much of it is its own tables. */
  usedBytes: number | undefined;
}

/** What the file system says of itself on disk. Exact while it is not mounted. */
export async function readSuperblock(image: string): Promise<Superblock> {
  const block = Buffer.alloc(1024);
  const file = await open(image, 'r');
  try {
    await file.read(block, 0, block.length, 1024);
  } finally {
    await file.close();
  }
  if (block.readUInt16LE(0x38) !== 0xef53) throw new DriverError('failed', 'The image of this volume holds no ext4 file system');
  const wide = (block.readUInt32LE(0x60) & 0x80) !== 0;
  const count = (low: number, high: number): number => block.readUInt32LE(low) + (wide ? block.readUInt32LE(high) * 2 ** 32 : 0);
  const blockBytes = 1024 * 2 ** block.readUInt32LE(0x18);
  const blocks = count(0x04, 0x150);
  const overhead = block.readUInt32LE(0x248);
  const used = blocks - count(0x0c, 0x158) - overhead;
  return { sizeBytes: blocks * blockBytes, usedBytes: overhead === 0 || used < 0 ? undefined : used * blockBytes };
}

/** Gives a finished file its name so that after a power cut there is either all of it or nothing. */
export async function publish(temporary: string, final: string): Promise<void> {
  await sync(temporary);
  await rename(temporary, final);
  await sync(dirname(final));
}

export async function sync(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
