// A file tree as the memory backend keeps it: absolute path → entry. Instances and volumes have one each.
export interface MemoryFile {
  type: 'file' | 'directory' | 'symlink';
  mode: number;
  uid: number;
  gid: number;
  /** Unix milliseconds. */
  modifiedAt: number;
  content: Buffer;
  /** Target of a symbolic link. */
  target?: string;
}

/** Keys are absolute and normalised (`/etc/motd`); the root directory itself has no entry. */
export type MemoryFiles = Map<string, MemoryFile>;

/** A deep copy, for snapshots: later changes of either side stay its own. */
export const copyFiles = (files: MemoryFiles): MemoryFiles =>
  new Map([...files].map(([path, file]) => [path, { ...file, content: Buffer.from(file.content) }]));

export const sizeOfFiles = (files: MemoryFiles): number => [...files.values()].reduce((sum, file) => sum + file.content.length, 0);
