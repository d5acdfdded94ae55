import { z } from 'zod';
import { contract, crud, immutable, resource } from '../../kernel/contract.ts';

export const snapshot = resource('snapshot', {
  summary: 'Copies of volumes as of one instant',
  prefix: 'snap',
  reconciled: true,
  states: ['pending', 'available', 'deleting', 'error'],
  spec: {
    volume: immutable(z.string().min(1).meta({ ref: 'volume', weak: true, description: 'Volume to copy', example: 'data' })),
    description: z.string().max(255).optional().meta({ description: 'Free text' }),
  },
  status: {
    size: z.int().optional().meta({ description: 'Size of the volume, GiB; a new volume from it is at least so large' }),
    sizeBytes: z.int().optional().meta({ description: 'Bytes that the copy takes' }),
  },
  columns: ['name', 'volume', 'state', 'size', 'sizeBytes', 'createdAt'],
  wide: ['id', 'description', 'reason'],
  quota: { snapshots: 1 },
});

export const snapshots = contract(
  snapshot,
  crud(snapshot, {
    create: { examples: [['snapshot create nightly --volume data', '']] },
  }),
);
