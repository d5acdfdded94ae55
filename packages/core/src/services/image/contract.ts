import { z } from 'zod';
import { action, channel, contract, crud, resource } from '../../kernel/contract.ts';
import { splitWords } from './notation.ts';

/** As Docker and OCI registries write it: [host[:port]/]path[:tag][@digest]. */
export const imageReference = z
  .string()
  .max(512)
  .regex(
    /^(?:[a-zA-Z0-9.-]+(?::\d+)?\/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$/,
    'use an image reference such as debian:trixie or ghcr.io/acme/app:1',
  );

/** A program is given its arguments and variables as texts that end in a zero byte. */
export const withoutZero = z.string().refine((text) => !text.includes('\0'), 'a zero byte cannot be part of it');

/** A program and its arguments, as words or as one line. */
export const commandField = z
  .union([z.string(), z.array(z.string())])
  .transform((value, context) => (typeof value === 'string' ? splitWords(value, (message) => context.addIssue(message)) : value))
  .pipe(z.array(withoutZero).min(1));

export const image = resource('image', {
  summary: 'Images that instances start from',
  description: "The backend's image store, which all tenants share, and the pulls under way.",
  prefix: 'img',
  reconciled: true,
  stored: true,
  spec: {},
  status: {
    references: z.array(z.string()).optional().meta({ description: 'Every name of the same content' }),
    digest: z.string().optional().meta({ description: 'Content digest' }),
    sizeBytes: z.int().optional().meta({ description: 'Size, bytes' }),
    architecture: z.string().optional().meta({ description: 'Processor architecture, such as amd64' }),
  },
  states: ['pending', 'available', 'deleting', 'error'],
  columns: ['name', 'state', 'sizeBytes', 'architecture', 'createdAt'],
  wide: ['id', 'digest', 'reason'],
});

const standard = crud(image, { delete: { examples: [['image delete alpine:3.20', '']] } });
export const images = contract(image, {
  list: { ...standard.list, examples: [['image list', '']] },
  get: { ...standard.get, examples: [['image get busybox', '']] },
  delete: standard.delete,
  pull: action(image, {
    summary: 'Fetch an image from its registry',
    description: 'An image that is already present is not pulled again, unless --always.',
    target: false,
    async: true,
    input: {
      reference: imageReference.meta({ description: 'Image reference', example: 'debian:trixie', cli: { positional: true } }),
      always: z.boolean().default(false).meta({ description: 'Ask the registry even when the image is present' }),
    },
    examples: [['image pull debian:trixie', '']],
  }),
  import: channel(image, {
    summary: 'Load an image from a file',
    description: 'Takes a root file system as a tar archive, or an image archive as `docker save` writes it; gzip, bzip2, xz and zstd are understood.',
    target: false,
    input: {
      reference: imageReference.meta({ description: 'Name for the image', example: 'acme/base:1', cli: { positional: true } }),
      command: commandField
        .optional()
        .meta({ description: 'Command of a root file system image; split into words as a shell does, without a shell', example: 'httpd -f' }),
    },
    output: image.output,
    examples: [['image import acme/base:1 --file rootfs.tar.gz', '']],
  }),
});
