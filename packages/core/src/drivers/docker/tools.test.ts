// What programs of the host say, as tenants may read it.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { run, withoutFolders } from './tools.ts';

test.each([
  ['losetup: /root/.local/share/thecloud/volumes/vol-1: failed to set up loop device', 'losetup: …/vol-1: failed to set up loop device'],
  ["EACCES: permission denied, open '/data/volumes/vol-1/data.img'", "EACCES: permission denied, open '…/data.img'"],
  ['mount: /dev/loop5 is not there', 'mount: …/loop5 is not there'],
  ['10.0.0.0/16 and 3/4 of it', '10.0.0.0/16 and 3/4 of it'],
])('%s', (said, told) => expect(withoutFolders(said)).toBe(told));

test('a program that fails does not tell where things lie', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'thecloud-test-'));
  try {
    const error: Error = await run('cat', [join(folder, 'missing')]).then(
      () => expect.fail('it succeeded'),
      (thrown: Error) => thrown,
    );
    expect(error.message).toContain('…/missing');
    expect(error.message).not.toContain(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
});
