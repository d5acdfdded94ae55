import { z } from 'zod';
import { contract, crud, immutable, resource } from '../../kernel/contract.ts';

export const sshKey = resource('ssh-key', {
  summary: 'Public SSH keys that instances accept',
  spec: {
    publicKey: immutable(
      z
        .string()
        .trim()
        .max(16_384)
        .meta({
          description: 'The line of a .pub file: type, base64 and comment',
          example: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8q0u8FzSGDLg8mXAnA8mVq1T9bD3Vbl0Fvq4vJ2m0Q me@example',
          cli: { file: true },
        }),
    ),
  },
  status: {
    type: z.string().meta({ description: 'Key algorithm' }),
    fingerprint: z.string().meta({ description: 'SHA256 fingerprint, as ssh-keygen -l prints it' }),
  },
  columns: ['name', 'type', 'fingerprint', 'createdAt'],
  wide: ['id'],
});

export const sshKeys = contract(
  sshKey,
  crud(sshKey, {
    create: {
      examples: [
        ['ssh-key create laptop --public-key @~/.ssh/id_ed25519.pub', ''],
        ['ssh-key create laptop --public-key -', 'from standard input'],
      ],
    },
  }),
);
