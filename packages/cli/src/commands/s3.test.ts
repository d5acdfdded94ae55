// What is printed for shells must come out of them as it went in.
import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { environment, ready } from './s3.ts';

const nasty = `a'b"c$(touch /tmp/never)\`id\`\\ d;e\nf`;
const credentials = { endpoint: 'http://127.0.0.1:9000', region: 'us-east-1', accessKeyId: nasty, secretAccessKey: "it's\\'secret'", tenant: 'default' };

describe.each([
  ['sh', 'sh'],
  ['bash', 'sh'],
  ['zsh', 'sh'],
  ['fish', 'fish'],
] as const)('%s', (program, shell) => {
  it.skipIf(spawnSync(program, ['-c', 'true']).error !== undefined)('evaluates the lines to the values', () => {
    const print = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_ENDPOINT_URL_S3'].map((name) => `printf '%s|' "$${name}"`).join('; ');
    const { stdout } = spawnSync(program, ['-c', `${environment(credentials, shell)}${print}`], { encoding: 'utf8' });
    expect(stdout).toBe(`${nasty}|${credentials.secretAccessKey}|http://127.0.0.1:9000|`);
  });
});

it('says what each client needs', () => {
  const text = ready({ ...credentials, accessKeyId: 'AK', secretAccessKey: 'SK' }, false);
  for (const line of ['endpoint:    http://127.0.0.1:9000', '--host=127.0.0.1:9000', 's3:http://127.0.0.1:9000/', "access_key_id='AK'"])
    expect(text).toContain(line);
});
