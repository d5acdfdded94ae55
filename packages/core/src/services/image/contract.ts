import { z } from 'zod';
import { action, channel, contract, crud, query, resource } from '../../kernel/contract.ts';
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
  description:
    "What the tenant has pulled or imported, which nobody else sees or changes, and the host's own images, which every tenant may use. One of the tenant's own goes before one of the host's of the same name.",
  prefix: 'img',
  reconciled: true,
  stored: true,
  spec: {},
  status: {
    source: z
      .enum(['pulled', 'imported', 'host'])
      .optional()
      .meta({ description: "How it came here; host: it is the host's, and only administrators of the installation delete it" }),
    references: z.array(z.string()).optional().meta({ description: 'Every name of the same content' }),
    digest: z.string().optional().meta({ description: 'Content digest' }),
    sizeBytes: z.int().optional().meta({ description: 'Size, bytes' }),
    architecture: z.string().optional().meta({ description: 'Processor architecture, such as amd64' }),
  },
  states: ['pending', 'available', 'deleting', 'error'],
  columns: ['name', 'source', 'state', 'sizeBytes', 'architecture', 'createdAt'],
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
  // For instances. They hold what they were made from: it stays while they do, whatever the name means by then.
  locate: query(image, {
    summary: 'Look what an image reference means to the tenant, or whether it may be fetched',
    internal: true,
    target: false,
    input: { reference: imageReference },
    output: z.object({ hostContent: z.string().optional() }),
  }),
  hold: action(image, {
    summary: 'Make sure that the image comes, and hold it for an instance',
    internal: true,
    target: false,
    input: {
      reference: imageReference,
      instance: z.string(),
      instanceId: z.string(),
      generation: z.int(),
      hostContent: z.string().optional(),
      gone: z.string().optional(),
    },
    output: z.object({}),
  }),
  coming: query(image, {
    summary: 'What an instance runs, or how far that is',
    internal: true,
    target: false,
    input: { instanceId: z.string() },
    output: z.object({
      content: z.string().optional(),
      imageId: z.string().optional(),
      progress: z.string().optional(),
      failure: z.string().optional(),
      asked: z.int().optional(),
    }),
  }),
  release: action(image, {
    summary: 'The instance is gone',
    internal: true,
    target: false,
    input: { instanceId: z.string() },
    output: z.object({}),
  }),
  adopt: action(image, {
    summary: 'Give imported content its name',
    internal: true,
    target: false,
    input: { id: z.string(), reference: imageReference, content: z.string(), digest: z.string(), sizeBytes: z.int(), architecture: z.string() },
  }),
});
