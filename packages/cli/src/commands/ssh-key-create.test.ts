// The key pair must be one that OpenSSH itself reads.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { keyPair } from './ssh-key-create.ts';

const openssh = spawnSync('ssh-keygen', ['-?']).error === undefined;

it.skipIf(!openssh)('makes pairs that ssh-keygen reads, the public half from the private one', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cloud-key-'));
  try {
    for (const comment of ['me@example', 'x', 'somebody with a long comment']) {
      const { publicKey, privateKey } = keyPair(comment);
      const file = join(folder, 'key');
      rmSync(file, { force: true });
      writeFileSync(file, privateKey, { mode: 0o600 });
      const { stdout, status } = spawnSync('ssh-keygen', ['-y', '-f', file], { encoding: 'utf8' });
      expect([status, stdout.trim()]).toEqual([0, publicKey]);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
