// The sizes, smallest first.
export const CATALOG = [
  { name: 'nano', cpus: 0.25, memoryMiB: 128, pids: 256 },
  { name: 'micro', cpus: 0.5, memoryMiB: 512, pids: 512 },
  { name: 'small', cpus: 1, memoryMiB: 1024, pids: 1024 },
  { name: 'medium', cpus: 2, memoryMiB: 2048, pids: 2048 },
  { name: 'large', cpus: 4, memoryMiB: 8192, pids: 4096 },
  { name: 'xlarge', cpus: 8, memoryMiB: 16_384, pids: 8192 },
] as const;
