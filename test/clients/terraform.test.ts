// Terraform keeps its state in a bucket, and a lock beside it, which is a write that must fail when somebody else has it.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ClientBench, clientMissing } from './bench.ts';

const missing = clientMissing('terraform');

describe.skipIf(missing !== undefined)(`terraform${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let bench: ClientBench;
  const terraform = (...words: string[]): Promise<string> =>
    bench.ok('terraform', ['-chdir=stack', ...words], { env: { CHECKPOINT_DISABLE: '1', TF_IN_AUTOMATION: '1' } });

  const stack = (value: string): void =>
    writeFileSync(
      bench.file('stack', 'main.tf'),
      `terraform {
  backend "s3" {
    bucket                      = "state"
    key                         = "env/prod.tfstate"
    region                      = "us-east-1"
    endpoints                   = { s3 = "${bench.endpoint}" }
    use_path_style              = true
    use_lockfile                = true
    encrypt                     = true
    skip_credentials_validation = true
    skip_metadata_api_check     = true
    skip_requesting_account_id  = true
  }
}
resource "terraform_data" "one" { input = "${value}" }
output "one" { value = terraform_data.one.output }
`,
    );

  beforeAll(async () => {
    bench = await ClientBench.start('terraform');
    await bench.daemon.client.bucket.create({ name: 'state', versioning: 'enabled' }, { tenant: 'terraform' });
    mkdirSync(bench.file('stack'));
  });
  afterAll(() => bench?.[Symbol.asyncDispose]());

  test('init, apply, change, and a lock that somebody else has', async () => {
    stack('first');
    await terraform('init', '-input=false', '-no-color');
    await terraform('apply', '-auto-approve', '-input=false', '-no-color');
    stack('second');
    await terraform('apply', '-auto-approve', '-input=false', '-no-color');
    expect((await terraform('output', '-raw', 'one')).trim()).toBe('second');
    expect(existsSync(bench.file('stack', 'terraform.tfstate'))).toBe(false);
    const { client } = bench.daemon;
    const { items } = await client.object.versions('state/env/prod.tfstate', {}, { tenant: 'terraform' });
    expect(items.filter(({ key, deleteMarker }) => key === 'env/prod.tfstate' && !deleteMarker)).toHaveLength(2);

    const lock = await client.object.put('state/env/prod.tfstate.tflock', { size: 2 }, { tenant: 'terraform' });
    lock.input.end('{}');
    await lock.result;
    stack('third');
    const refused = await bench.run('terraform', ['-chdir=stack', 'apply', '-auto-approve', '-input=false', '-no-color', '-lock-timeout=0s']);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('Error acquiring the state lock') });
    await client.object.delete('state/env/prod.tfstate.tflock', {}, { tenant: 'terraform' });
    await terraform('apply', '-auto-approve', '-input=false', '-no-color');
    expect((await terraform('output', '-raw', 'one')).trim()).toBe('third');
  });
});
