// Secrets are planted everywhere where somebody hands one to the cloud or is handed one; then everything that the cloud wrote or said to others is searched for them.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Log } from '../../kernel/log.ts';
import { faultOf } from '../../testing/bench.ts';
import { people, SOURCE } from '../../testing/people.ts';

const ANN = 'ann@example.com';

/** Every file below. */
const filesIn = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

test('none of them lies about in clear', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'cloud-planted-'));
  const said: string[] = [];
  const line = (fields: Record<string, unknown>, message: string) => void said.push(`${message} ${JSON.stringify(fields)}`);
  const log: Log = { debug: line, info: line, warn: line, error: line };
  const b = await people({ dataDir, log, masterKey: { kind: 'local' } });
  const planted = new Map<string, string>();
  const plant = (what: string, secret: string): string => {
    planted.set(what, secret);
    return secret;
  };
  let n = 0;
  const once = () => ({ idempotencyKey: `key-${++n}` });
  const open = async <T>(operation: string, input: unknown): Promise<T> =>
    (await b.core.invoke({ service: 'auth', operation, input, principal: undefined, source: SOURCE, idempotencyKey: `key-${++n}` })).value as T;
  const fails = async (what: Promise<unknown>) =>
    said.push(JSON.stringify(await faultOf(what).then(({ code, message, hint, details, stack }) => ({ code, message, hint, details, stack }))));
  const twice = async <T>(call: (options: { idempotencyKey: string }) => Promise<T>): Promise<T> => {
    const options = once();
    const first = await call(options);
    expect(await call(options)).toEqual(first);
    return first;
  };

  // Accounts and passwords.
  const first = plant('first password', 'Planted-first-password');
  await twice((options) => b.cloud.user.create({ name: ANN, password: first }, options));
  await b.cloud.tenantMember.add({ name: ANN, roles: ['admin'] });
  await fails(b.cloud.user.create({ name: ANN, password: plant('password of a conflict', 'Planted-conflict-password') }, once()));
  await fails(b.cloud.user.create({ name: 'x@example.com', password: plant('password too long', `Planted-${'long-'.repeat(20)}`) }));
  await fails(b.cloud.user.create({ name: plant('password in the wrong field', 'Planted password in the field of the address'), password: first } as never));
  await b.cloud.auth.configure({ registration: 'open' });
  const bobs = plant('registered password', 'Planted-registered-password');
  await open('register', { email: 'bob@example.com', password: bobs });
  await fails(open('register', { email: 'bob@example.com', password: bobs }));
  await fails(open('login', { email: ANN, password: plant('wrong password', 'Planted-wrong-password') }));
  await fails(open('login', { email: plant('password as address', 'Planted-password-as-address'), password: 'x' }));

  // Sessions.
  const session = await open<{ accessToken: string; refreshToken: string }>('login', { email: ANN, password: first });
  plant('access token', session.accessToken);
  plant('refresh token', session.refreshToken);
  const next = await open<{ accessToken: string; refreshToken: string }>('refresh', { refreshToken: session.refreshToken });
  plant('second access token', next.accessToken);
  plant('second refresh token', next.refreshToken);
  const ann = await b.by(next.accessToken);
  const second = plant('second password', 'Planted-second-password');
  await ann.auth.changePassword({ current: first, password: second }, once());
  await fails(ann.auth.changePassword({ current: plant('wrong current password', 'Planted-wrong-current'), password: second }, once()));
  const { token } = await twice((options) => b.cloud.user.resetPassword(ANN, {}, options));
  plant('one-time token', token);
  await fails(open('resetPassword', { email: ANN, token: plant('wrong one-time token', 'tcp_Planted-wrong-one-time-token'), password: second }));
  await open('resetPassword', { email: ANN, token, password: plant('third password', 'Planted-third-password') });
  const again = await b.by((await b.login(ANN, 'Planted-third-password')).accessToken);

  // Keys and accounts.
  const key = await twice((options) => again.apiKey.create({ name: 'k' }, options));
  plant('API key', key.key);
  const byKey = await b.by(key.key);
  await byKey.queue.create({ name: 'q' });
  const rotated = await twice((options) => again.apiKey.rotate('k', { grace: 60 }, options));
  plant('rotated API key', rotated.key);
  await b.core.authenticate(key.key, SOURCE);
  await b.cloud.serviceAccount.create({ name: 'ci', roles: ['viewer'] });
  const client = await twice((options) => b.cloud.serviceAccount.rotateSecret('ci', {}, options));
  plant('client secret', client.clientSecret);
  await open('clientToken', client);
  await fails(open('clientToken', { ...client, clientSecret: plant('wrong client secret', 'tcs_Planted-wrong-client-secret') }));
  await fails(b.core.authenticate(plant('wrong API key', `${key.key.slice(0, 21)}Planted-wrong-key-${'x'.repeat(25)}`), SOURCE));
  await fails(b.core.authenticate(plant('wrong token', `${session.accessToken.slice(0, -9)}Planted-x`), SOURCE));

  // Values.
  await twice((options) => again.secret.create({ name: 's', value: plant('secret value', 'Planted-secret-value') }, options));
  await again.secret.rotate('s', { value: plant('second secret value', 'Planted-second-secret-value') }, once());
  await fails(again.secret.create({ name: 's', value: plant('value of a conflict', 'Planted-value-of-a-conflict') }, once()));
  await again.secret.value('s');
  await again.auth.logout({ everywhere: true });
  await fails(open('refresh', { refreshToken: next.refreshToken }));
  await b.cloud.system.rotateMasterKey();

  // What is told to those who look.
  for (const told of [
    await b.cloud.audit.list({ limit: 1000 }),
    await b.cloud.audit.list({ limit: 1000, installation: true }),
    await b.cloud.event.list({ limit: 1000 }),
    await b.cloud.operation.list({ limit: 1000 }),
    await b.cloud.user.list(),
    await b.cloud.apiKey.list(),
    await b.cloud.serviceAccount.list(),
    await b.cloud.secret.list(),
    b.core.metrics(),
  ])
    said.push(JSON.stringify(told));
  expect(said.join('\n')).toContain('auth:login');

  /** Secrets of ours end in what nobody else has: also without their beginning. */
  const shapes = (secret: string): string[] => [secret, secret.slice(-40), Buffer.from(secret).toString('base64url'), Buffer.from(secret).toString('hex')];
  const search = (where: string, bytes: Buffer) => {
    for (const [what, secret] of planted) for (const shape of shapes(secret)) expect(bytes.includes(shape), `${what} in ${where}`).toBe(false);
  };
  search('what was said', Buffer.from(said.join('\n')));
  const files = () => filesIn(dataDir).filter((file) => file.includes('cloud.db') || !file.includes('master'));
  expect(files().length).toBeGreaterThan(0);
  for (const file of files()) search(file, readFileSync(file));
  await b.close();
  for (const file of files()) search(file, readFileSync(file));
  rmSync(dataDir, { recursive: true });
});
