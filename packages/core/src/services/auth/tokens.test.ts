// Access tokens: what is taken for one, and what is not, however much it looks like one; and the life of the keys that sign them.
import { createHmac, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeJwt, decodeProtectedHeader, SignJWT } from 'jose';
import { describe, expect, test } from 'vitest';
import { faultOf } from '../../testing/bench.ts';
import { type People, people, SOURCE } from '../../testing/people.ts';

const ANN = 'ann@example.com';
const DAY = 24 * 60 * 60 * 1000;

const text = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const refused = async (b: People, token: string, why = token) => expect((await faultOf(b.core.authenticate(token, SOURCE))).code, why).toBe('unauthenticated');
const prune = async (b: People) => {
  // The hourly round, as it would come by itself.
  await b.clock.advance(61 * 60_000);
};
/** The key in force, as nobody outside the core has it. */
async function secretOf(b: People, kid: string): Promise<Buffer> {
  const { sealed } = (await b.db
    .selectFrom('signing_key' as never)
    .selectAll()
    .where('kid' as never, '=', kid as never)
    .executeTakeFirstOrThrow()) as { sealed: string };
  return Buffer.from(b.keyring.open('signing-key', {}, sealed, kid));
}

describe('an access token', () => {
  test('says who, which session, and until when, and nothing else', async () => {
    await using b = await people();
    const { id } = await b.person(ANN);
    const { accessToken } = await b.login(ANN);
    const now = b.clock.now() / 1000;
    expect(decodeProtectedHeader(accessToken)).toEqual({ alg: 'HS256', typ: 'JWT', kid: expect.any(String) });
    expect(decodeJwt(accessToken)).toEqual({
      iss: 'cloud-test',
      sub: id,
      sid: expect.stringMatching(/^ses-/),
      jti: expect.any(String),
      iat: now,
      exp: now + 900,
    });
    expect(await b.core.authenticate(accessToken, SOURCE)).toMatchObject({ id, credential: { kind: 'session', expiresAt: (now + 900) * 1000 } });
  });

  test('holds for a quarter of an hour to the millisecond, known before or not', async () => {
    await using b = await people();
    await b.person(ANN);
    const [seen, unseen] = [(await b.login(ANN)).accessToken, (await b.login(ANN)).accessToken];
    b.clock.jump(900_000 - 1);
    const held = await b.by(seen);
    await held.auth.whoami();
    b.clock.jump(1);
    await refused(b, seen);
    await refused(b, unseen);
    await held.auth.whoami();
    b.clock.jump(30 * DAY);
    expect(await faultOf(held.auth.whoami()), 'what it opened lives as long as its session').toMatchObject({ code: 'unauthenticated' });
  });

  test('forged in every usual way is refused', async () => {
    await using b = await people();
    await b.person(ANN);
    const { accessToken } = await b.login(ANN);
    const [head = '', body = '', signature = ''] = accessToken.split('.');
    const header = decodeProtectedHeader(accessToken);
    const claims = decodeJwt(accessToken);
    const kid = header.kid as string;
    const secret = await secretOf(b, kid);
    const sign = (h: unknown, c: unknown, key: string | Buffer = secret) => {
      const signed = `${text(h)}.${text(c)}`;
      return `${signed}.${createHmac('sha256', key).update(signed).digest('base64url')}`;
    };
    await b.core.authenticate(sign(header, { ...claims, jti: 'other' }), SOURCE);

    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const rs256 = await new SignJWT(claims).setProtectedHeader({ ...header, alg: 'RS256' }).sign(privateKey);
    const forged: Record<string, string> = {
      'alg none': `${text({ ...header, alg: 'none' })}.${body}.${signature}`,
      'alg none, no signature': `${text({ ...header, alg: 'none' })}.${body}.`,
      'alg None': sign({ ...header, alg: 'None' }, claims),
      'no alg': sign({ typ: 'JWT', kid }, claims),
      HS512: sign({ ...header, alg: 'HS512' }, claims),
      RS256: rs256,
      'RS256 said, HMAC with the public key': sign({ ...header, alg: 'RS256' }, claims, publicKey.export({ type: 'spki', format: 'pem' })),
      'another key': sign(header, claims, 'secret'),
      'empty key': sign(header, claims, ''),
      'wrong kid': sign({ ...header, kid: 'other' }, claims),
      'kid of a prototype': sign({ ...header, kid: '__proto__' }, claims),
      'kid no text': sign({ ...header, kid: [kid] }, claims),
      'no kid': sign({ alg: 'HS256' }, claims),
      crit: sign({ ...header, crit: ['x'], x: 1 }, claims),
      'tampered body': `${head}.${text({ ...claims, sub: 'usr-0000000000000000' })}.${signature}`,
      'tampered header': `${text({ ...header, x: 1 })}.${body}.${signature}`,
      'shortened signature': `${head}.${body}.${signature.slice(0, -2)}`,
      'doubled signature': `${head}.${body}.${signature}${signature}`,
      'no signature': `${head}.${body}.`,
      'another installation': sign(header, { ...claims, iss: 'cloud-other' }),
      'no issuer': sign(header, { ...claims, iss: undefined }),
      'no expiry': sign(header, { ...claims, exp: undefined }),
      'expiry as text': sign(header, { ...claims, exp: '9999999999' }),
      expired: sign(header, { ...claims, exp: b.clock.now() / 1000 }),
      'no session': sign(header, { ...claims, sid: undefined }),
      'body no object': sign(header, [claims]),
      'header no JSON': `x.${body}.${signature}`,
      'far too long': `${head}.${text({ ...claims, x: 'x'.repeat(5000) })}.${signature}`,
      'nobody of that name': sign(header, { ...claims, sub: 'usr-0000000000000000' }),
      'the local administrator': sign(header, { ...claims, sub: 'local' }),
      'the system': sign(header, { ...claims, sub: 'system' }),
      nothing: '',
      'three dots': '...',
    };
    for (const [how, token] of Object.entries(forged)) {
      await refused(b, token, how);
      await refused(b, token, `${how}, again`);
    }
    await b.core.authenticate(accessToken, SOURCE);
  });

  test('of another installation is refused, though the names are the same', async () => {
    await using one = await people();
    await using two = await people();
    await one.person(ANN);
    await two.person(ANN);
    await refused(two, (await one.login(ANN)).accessToken);
  });
});

describe('signing keys', () => {
  test('rotate: earlier tokens live on until they expire, or end at once', async () => {
    await using b = await people();
    await b.person(ANN);
    const first = await b.login(ANN);
    const { keyId } = await b.cloud.auth.rotateKeys({});
    await b.core.authenticate(first.accessToken, SOURCE);
    const second = await b.login(ANN);
    expect(decodeProtectedHeader(second.accessToken).kid).toBe(keyId);
    expect(decodeProtectedHeader(first.accessToken).kid).not.toBe(keyId);
    await b.core.authenticate(second.accessToken, SOURCE);

    await b.cloud.auth.rotateKeys({ revoke: true });
    await refused(b, first.accessToken);
    await refused(b, second.accessToken);
    expect(
      await b.db
        .selectFrom('signing_key' as never)
        .selectAll()
        .execute(),
    ).toHaveLength(1);
    const third = (await b.open('refresh', { refreshToken: second.refreshToken })) as { accessToken: string };
    await b.core.authenticate(third.accessToken, SOURCE);
  });

  test('are for administrators to rotate', async () => {
    await using b = await people();
    await b.person(ANN, 'admin');
    const ann = b.as(await b.principal(ANN));
    expect((await faultOf(ann.auth.rotateKeys({}))).code).toBe('forbidden');
    expect((await faultOf(b.open('rotateKeys', {}))).code).toBe('unauthenticated');
    for (const operation of ['hash', 'keepPassword', 'issueToken', 'endSessions', 'forgetUser']) {
      const input = { password: 'correct horse battery', userId: 'x', hash: 'x', principalId: 'x', email: 'x' };
      expect((await faultOf(b.call({ service: 'auth', operation, input }))).code, `${operation} is for services`).toBe('not_found');
    }
  });

  test('rotate by themselves after a month, and go when nothing that they signed lives', async () => {
    await using b = await people();
    await b.person(ANN);
    const kids = async () =>
      (
        (await b.db
          .selectFrom('signing_key' as never)
          .selectAll()
          .execute()) as { kid: string }[]
      ).map(({ kid }) => kid);
    await b.login(ANN);
    const [first] = await kids();
    await prune(b);
    expect(await kids()).toEqual([first]);
    b.clock.jump(30 * DAY);
    const { accessToken } = await b.login(ANN);
    await prune(b);
    await b.until(async () => (await kids()).length === 2);
    const next = await b.login(ANN);
    expect(decodeProtectedHeader(next.accessToken).kid).not.toBe(first);
    await prune(b);
    await b.until(async () => (await kids()).length === 1);
    await refused(b, accessToken);
    expect(await kids()).not.toContain(first);
  });

  test('lie sealed, and outlive a change of the master key and a restart', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'cloud-auth-'));
    const masterKey = { kind: 'local' } as const;
    const first = await people({ dataDir, masterKey });
    await first.person(ANN);
    const { accessToken, refreshToken } = await first.login(ANN);
    const secret = await secretOf(first, decodeProtectedHeader(accessToken).kid as string);
    await first.cloud.system.rotateMasterKey();
    await first.core.authenticate(accessToken, SOURCE);
    await first.close();
    for (const file of readdirSync(dataDir)) {
      const bytes = readFileSync(join(dataDir, file));
      for (const shape of [secret, secret.toString('base64'), secret.toString('base64url'), secret.toString('hex')])
        expect(bytes.includes(shape), file).toBe(false);
    }
    await using b = await people({ dataDir, masterKey, clock: first.clock });
    await b.core.authenticate(accessToken, SOURCE);
    await b.open('refresh', { refreshToken });
    rmSync(dataDir, { recursive: true });
  });
});
