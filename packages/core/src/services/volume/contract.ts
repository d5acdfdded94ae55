import { z } from 'zod';
import { action, contract, crud, immutable, nameField, resource } from '../../kernel/contract.ts';
import { Mount } from '../instance/contract.ts';
import { snapshot } from '../snapshot/contract.ts';

const sizeField = immutable(
  z
    .int()
    .min(1)
    .max(16_384)
    .meta({ description: 'Size, GiB', example: 10, cli: { char: 's' } }),
);

export const volume = resource('volume', {
  summary: 'Persistent disks',
  prefix: 'vol',
  reconciled: true,
  states: ['pending', 'available', 'in-use', 'deleting', 'error'],
  spec: {
    size: sizeField,
    snapshot: immutable(z.string().optional().meta({ ref: 'snapshot', weak: true, description: 'Begin with the content of this snapshot' })),
    description: z.string().max(255).optional().meta({ description: 'Free text' }),
  },
  status: {
    instance: z.string().optional().meta({ description: 'Instance it is attached to' }),
    instanceId: z.string().optional().meta({ description: 'Id of that instance' }),
    path: z.string().optional().meta({ description: 'Where it is inside the instance' }),
    readOnly: z.boolean().optional().meta({ description: 'Whether the instance may only read it' }),
    sizeEnforced: z.boolean().optional().meta({ description: 'Whether the driver keeps it from growing over its size' }),
    usedBytes: z.int().optional().meta({ description: 'Bytes in use, where the driver can tell' }),
  },
  columns: ['name', 'size', 'state', 'instance', 'path', 'createdAt'],
  wide: ['id', 'sizeEnforced', 'usedBytes', 'snapshot', 'reason'],
  quota: { volumes: 1, volumeGiB: ({ size }) => size },
});

const allowRestart = z.boolean().default(false).meta({
  description: 'A running instance may be restarted if the driver needs that; its file system, address and metadata stay',
});

export const volumes = contract(volume, {
  ...crud(volume, {
    create: {
      input: { size: sizeField.optional().describe("Size, GiB; the snapshot's, or else 10, when absent") },
      examples: [
        ['volume create data --size 20', ''],
        ['volume create copy --snapshot nightly', ''],
      ],
    },
  }),
  resize: action(volume, {
    summary: 'Make a volume larger',
    async: true,
    input: {
      size: z
        .int()
        .min(1)
        .max(16_384)
        .meta({ description: 'New size, GiB', example: 20, cli: { char: 's' } }),
    },
    examples: [['volume resize data --size 40', '']],
  }),
  attach: action(volume, {
    summary: 'Attach a volume to an instance',
    async: true,
    input: {
      instance: z.string().min(1).meta({ ref: 'instance', description: 'Instance' }),
      path: Mount.shape.path.meta({ description: 'Absolute path inside the instance', example: '/data' }),
      readOnly: z.boolean().default(false).meta({ description: 'The instance may not write to it' }),
      allowRestart,
    },
    examples: [['volume attach data --instance web --path /data', '']],
  }),
  detach: action(volume, { summary: 'Detach a volume from its instance', async: true, input: { allowRestart }, examples: [['volume detach data', '']] }),
  snapshot: action(volume, {
    summary: 'Make a snapshot of a volume',
    async: true,
    input: { name: nameField.meta({ description: 'Name of the snapshot', example: 'nightly' }) },
    output: snapshot.output,
    examples: [['volume snapshot data --name nightly', '']],
  }),
  claim: action(volume, {
    summary: 'Mark as attached',
    internal: true,
    input: { instance: z.string(), instanceId: z.string(), path: z.string(), readOnly: z.boolean() },
  }),
  release: action(volume, { summary: 'Mark as free', internal: true, input: { instanceId: z.string() } }),
});
